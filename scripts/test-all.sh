#!/bin/sh
# test-all.sh: every suite, the time of each, and one sum at the end. Called by `make test` with MAKE and JOBS.
# A suite that cannot even be built counts as one failure; the others still run.
set -u

case " ${MAKEFLAGS:-} " in
*jobserver*) ;;
*) MAKE="$MAKE -j$JOBS" ;;
esac
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0
times=
begin=$(date +%s)

# suite NAME COMMAND...: the command may leave "passed failed" in $out/NAME; if it does not, its exit code is one result
suite()
{
	name=$1
	shift
	echo
	echo "== $name"
	from=$(date +%s)
	if "$@"; then rc=0; else rc=1; fi
	if [ -s "$out/$name" ]; then
		read -r p f <"$out/$name"
		[ $rc = 0 ] || [ "$f" -gt 0 ] || f=1
	elif [ $rc = 0 ]; then
		p=1 f=0
	else
		p=0 f=1
	fi
	passed=$((passed + p))
	failed=$((failed + f))
	times="$times
$(printf '%-8s %5d passed %5d failed %6d s' "$name" "$p" "$f" $(($(date +%s) - from)))"
}

suite build $MAKE --no-print-directory all unit-bins
suite lint $MAKE --no-print-directory lint
suite unit $MAKE --no-print-directory test-unit SUM="$out/unit"
suite story $MAKE --no-print-directory test-story SUM="$out/story"
suite config $MAKE --no-print-directory test-config SUM="$out/config"
suite asan $MAKE --no-print-directory test-asan SUM="$out/asan"
suite fuzz $MAKE --no-print-directory fuzz SECONDS="${FUZZ_SECONDS:-3}" SUM="$out/fuzz"

echo
echo "== all suites"
echo "$times" | sed 1d
echo "in $(($(date +%s) - begin)) s"
echo "$passed passed, $failed failed"
[ $failed = 0 ]

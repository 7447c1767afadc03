#!/bin/sh
# fuzz.sh SECONDS SUMFILE JOBS TARGET...: runs each libFuzzer target for so long, JOBS at a time. Inputs that were found interesting
# are kept in build/fuzz/<name>/corpus for the next run; seeds come from tests/fuzz/corpus/<name>/. An input that crashes is left beside them.
set -eu

seconds=$1 sum=$2 jobs=$3
shift 3
begin=$(date +%s)

work_of() {
	name=${1##*/}
	echo "build/fuzz/${name#fuzz_}"
}

# Leaves `passed` beside its log when it did.
run() {
	target=$1
	work=$(work_of "$target")
	seeds=tests/fuzz/corpus/${work##*/}
	[ -d "$seeds" ] || seeds=
	mkdir -p "$work/corpus"
	rm -f "$work/passed"
	if ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 "$target" -max_total_time="$seconds" -timeout=10 \
		-rss_limit_mb=2048 -close_fd_mask=3 -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" $seeds </dev/null >"$work/log" 2>&1; then
		echo "ok    $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") runs"
		: >"$work/passed"
	else
		printf 'FAIL  %s\n%s\n      log and input: %s/\n' "$target" "$(tail -n 40 "$work/log" | sed 's/^/      | /')" "$work"
	fi
}

started=0
for target in "$@"; do
	run "$target" &
	started=$((started + 1))
	[ $((started % jobs)) != 0 ] || wait
done
wait
passed=0 failed=0
for target in "$@"; do
	if [ -e "$(work_of "$target")/passed" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "fuzz: $passed passed, $failed failed in $(($(date +%s) - begin)) s"
[ -z "$sum" ] || echo "$passed $failed" >"$sum"
[ $failed = 0 ]

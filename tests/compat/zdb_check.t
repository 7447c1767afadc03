#!/bin/bash
# Every damaged variant that a killed 0-db 2.0.7 left: what check calls repairable is repaired by --repair, the next check
# finds nothing more to repair and nothing lost that was not named before, and a third repair changes no file.
# The golden set lies beside the repository (../shared/vectors/golden, or GOLDEN=DIR); without it everything is skipped.
cd "$(dirname "$0")/../.." || exit 1
golden=${GOLDEN:-../shared/vectors/golden}
qsfs=${QSFS:-build/qsfs}
if [ ! -d "$golden" ] || ! command -v zstd >/dev/null; then
	echo "1..0 # skip no golden set or zstd"
	exit 0
fi
golden=$(realpath "$golden")
qsfs=$(realpath "$qsfs")
work=$(mktemp -d "${TMPDIR:-/tmp}/zdb_check.XXXXXX")
n=0
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

report() { # code, name
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' first repair second | head -20; fi
}

sums() { (cd "$1" && find . -name '[id][0-9]*' -type f | sort | xargs sha256sum); }

# What is lost, by namespace and file: offsets behind what was cut may be named anew, whole files may not.
lost() { sed -n 's/^lost: \([^:]*: [a-z]*[0-9]*\).*/\1/p' "$1" | sort -u; }

zstd -dc "$golden/zdb-crash.tar.zst" | tar xf -
for dir in zdb-crash/*.*; do
	variant=${dir##*/}
	before=$(sums "$dir")
	"$qsfs" zdb check "$dir" >first 2>&1
	code=$?
	[ "$before" = "$(sums "$dir")" ]
	report $? "$variant: check changes nothing"
	[ $code = 0 ] || [ $code = 1 ] || [ $code = 4 ]
	report $? "$variant: check ends with $code"
	"$qsfs" zdb check --repair "$dir" >repair 2>&1
	"$qsfs" zdb check "$dir" >second 2>&1
	code=$?
	! grep -q '^repairable' second && { [ $code = 0 ] || grep -q '^lost' second; }
	report $? "$variant: nothing is left to repair"
	comm -13 <(lost first) <(lost second) >new
	[ ! -s new ]
	report $? "$variant: nothing is lost that was not named before"
	before=$(sums "$dir")
	"$qsfs" zdb check --repair "$dir" >/dev/null 2>&1
	[ "$before" = "$(sums "$dir")" ]
	report $? "$variant: a second repair changes no file"
done
[ $n -gt 200 ]
report $? "all variants were there"
echo "1..$n"

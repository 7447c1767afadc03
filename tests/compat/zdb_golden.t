#!/bin/bash
# Stores written by 0-db 2.0.7: every answer, every file after a replay of their history, every damaged variant twice.
# The golden set lies beside the repository (../shared/vectors/golden, or GOLDEN=DIR); without it everything is skipped.
cd "$(dirname "$0")/../.." || exit 1
golden=${GOLDEN:-../shared/vectors/golden}
qsfs=${QSFS:-build/qsfs}
if [ ! -d "$golden" ] || ! command -v python3 >/dev/null || ! command -v zstd >/dev/null; then
	echo "1..0 # skip no golden set, python3 or zstd"
	exit 0
fi
golden=$(realpath "$golden")
qsfs=$(realpath "$qsfs")
work=$(mktemp -d "${TMPDIR:-/tmp}/zdb_golden.XXXXXX")
server=
n=0
cleanup() {
	[ -z "$server" ] || kill "$server" 2>/dev/null
	[ -n "$KEEP" ] || rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1

report() { # code, name
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' out | tail -5; fi
}

start() { # directory, mode; 1 when it refuses
	rm -f s
	"$qsfs" zdb --data "$1/data" --index "$1/index" --datasize 524288 --mode "$2" --socket "$work/s" >log 2>&1 &
	server=$!
	for _ in $(seq 600); do
		"$qsfs" zdb ping -s "$work/s" >/dev/null 2>&1 && return 0
		kill -0 "$server" 2>/dev/null || { server=; return 1; }
		sleep 0.05
	done
	return 1
}

stop() {
	kill "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	server=
}

verify() { python3 "$golden/verify_golden.py" "$@" >out 2>&1; }

for mode in user seq; do
	zstd -dc "$golden/zdb-$mode.tar.zst" | tar xf -
	for time in first second; do
		start "zdb-$mode" "$mode" && verify "$work/s" "$golden/zdb-$mode.manifest.jsonl"
		report $? "$mode: every answer, $time start"
		stop
	done
	# The closed files rewritten: all answers are the same, but those of DATA RAW, which name places in the files. Stopped, the
	# index of user keys is rewritten too, and then cursors differ.
	start "zdb-$mode" "$mode"
	"$qsfs" zdb compact -s "$work/s" --keep-history all --threshold 0 >out 2>&1
	[ $? = 3 ] && [ "$(grep -c "not compacted" out)" = 1 ] && grep -q "alpha: [1-9]" out
	report $? "$mode: compacted, but for the one in worm mode"
	verify "$work/s" "$golden/zdb-$mode.manifest.jsonl"
	grep -q " passed" out && ! grep FAIL out | grep -v "^FAIL dataraw" >/dev/null
	report $? "$mode: every answer, with its history, after it"
	stop
	"$qsfs" zdb compact --keep-history all --threshold 0 "zdb-$mode" >out 2>&1
	"$qsfs" zdb check "zdb-$mode" >out 2>&1
	report $? "$mode: whole afterwards"
	start "zdb-$mode" "$mode"
	verify "$work/s" "$golden/zdb-$mode.manifest.jsonl"
	grep -q " passed" out && ! grep FAIL out | grep -Ev "^FAIL (dataraw|history|keycur)" >/dev/null
	report $? "$mode: and with its index rewritten"
	stop
	start "replay-$mode" "$mode" &&
		verify "$work/s" "$golden/zdb-$mode.manifest.jsonl" --replay "zdb-$mode/ops.jsonl"
	report $? "$mode: replies to the recorded history"
	stop
	verify "$golden/zdb-$mode.manifest.jsonl" --files "replay-$mode"
	report $? "$mode: files after it"
done

# Where our rule differs: an active data file that lost everything the index names makes its namespace refused (the other
# namespaces are served), and records that the log holds behind a copied index are applied, because the log is the truth.
refused=' user.data-missing-current user.data-header-only seq.data-missing-current seq.data-header-only '
newer=' user.live-busy-index-first seq.live-busy-index-first '
zstd -dc "$golden/zdb-crash.tar.zst" | tar xf -
for dir in zdb-crash/*.*; do
	variant=${dir##*/}
	for probe in write check; do
		if start "$dir" "${variant%%.*}"; then
			verify "$work/s" "$golden/zdb-crash.manifest.jsonl" --variant "$variant" --probe $probe
			code=$?
			case "$refused" in *" $variant "*)
				grep -q "alpha" log && ! grep -q "must give an error.*value" out
				code=$?
				;;
			esac
			case "$newer" in *" $variant "*)
				! grep FAIL out | grep -v "must be readable got value" >/dev/null
				code=$?
				;;
			esac
			report $code "$variant, $probe"
			stop
		else
			report 1 "$variant: does not start"
		fi
	done
done
echo "1..$n"

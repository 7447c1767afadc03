#!/bin/bash
# A volume as its users meet it: size of the binary, memory when idle, time to the first byte, and how fast a tree goes in
# and comes back, beside the same copy onto the plain file system below. Medians of interleaved pairs.
set -u
cd "$(dirname "$0")/../.." || exit 1
QSFS=$PWD/build/qsfs
rounds=${ROUNDS:-3}
T=$(mktemp -d "${TMPDIR:-/tmp}/qsfs-bench.XXXXXX")
D=$T/vol
M=$T/mnt
mkdir "$M"

stop() {
	"$QSFS" down --data "$D" >/dev/null 2>&1
	umount -l "$M" 2>/dev/null
	rm -rf "$T"
}
trap stop EXIT
trap 'exit 1' INT TERM

now() { date +%s%N; }
median() { sort -n | awk '{v[NR]=$1} END {if (NR) print (NR % 2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
spread() { sort -n | awk '{v[NR]=$1} END {printf "%.3g to %.3g", v[1], v[NR]}'; }
row() { printf '%-58s %12s  %s\n' "$1" "$2" "$3"; }

# Seconds that a command takes.
seconds() {
	local a b
	a=$(now)
	"$@" >/dev/null 2>&1
	b=$(now)
	awk -v n=$((b - a)) 'BEGIN {printf "%.4f\n", n / 1e9}'
}

pss_kib() {
	local pid total=0 n
	for pid in "$@"; do
		n=$(awk '/^Pss:/ {print $2}' "/proc/$pid/smaps_rollup" 2>/dev/null)
		total=$((total + ${n:-0}))
	done
	echo "$total"
}

service_pid() { "$QSFS" status --json --data "$D" | jq -r ".services[] | select(.name==\"$1\") | .pid"; }

echo "volume: $(nproc) cores, $(uname -r), $rounds rounds"
row "what" "measured" "target"
row "stripped binary, MiB" "$(stat -Lc %s "$QSFS" | awk '{printf "%.2f", $1/1048576}')" "at most 2.2"

"$QSFS" up --data "$D" --mount "$M" >/dev/null || exit 1

# --- a tree in and out, beside the same on the file system below ------------------------------------------------
mkdir "$T/plain" "$T/src"
cp -a /usr/include /usr/share/perl "$T/src/" 2>/dev/null
head -c 134217728 /dev/urandom >"$T/src/random.bin"
mb=$(du -sm "$T/src" | cut -f1)
files=$(find "$T/src" -type f | wc -l)
: >"$T/in" && : >"$T/in.plain" && : >"$T/out" && : >"$T/out.plain"
for r in $(seq "$rounds"); do
	seconds sh -c "cp -a '$T/src' '$M/r$r' && sync -f '$M'" >>"$T/in"
	seconds sh -c "cp -a '$T/src' '$T/plain/r$r' && sync -f '$T/plain'" >>"$T/in.plain"
	echo 3 >/proc/sys/vm/drop_caches
	seconds sh -c "tar cf - -C '$M' 'r$r' | cat >/dev/null" >>"$T/out"
	echo 3 >/proc/sys/vm/drop_caches
	seconds sh -c "tar cf - -C '$T/plain' 'r$r' | cat >/dev/null" >>"$T/out.plain"
done
for d in in out; do
	a=$(median <"$T/$d")
	b=$(median <"$T/$d.plain")
	row "tree of $mb MB, $files files, $d: MB/s (spread of seconds)" "$(awk -v m="$mb" -v s="$a" 'BEGIN {printf "%.0f", m/s}')" \
		"$(spread <"$T/$d"); plain $(awk -v m="$mb" -v s="$b" 'BEGIN {printf "%.0f", m/s}') MB/s; ratio $(awk -v a="$a" -v b="$b" 'BEGIN {printf "%.2f", b/a}')"
done

row "sync --wait after it, s" "$(seconds "$QSFS" sync --wait --data "$D")" ""

# --- idle memory ---------------------------------------------------------------------------------------------
"$QSFS" down --data "$D" >/dev/null 2>&1
"$QSFS" up --data "$D" --mount "$M" >/dev/null || exit 1
zinit=$(sed -n 's/^pid = //p' "$D/up.toml")
total=0
for s in zdb zdbfs zstor; do
	n=$(pss_kib "$(service_pid $s)")
	total=$((total + n))
	row "idle PSS of $s, MiB" "$(awk -v n="$n" 'BEGIN {printf "%.1f", n/1024}')" ""
done
n=$(pss_kib "$zinit")
total=$((total + n))
row "idle PSS of zinit, MiB" "$(awk -v n="$n" 'BEGIN {printf "%.1f", n/1024}')" ""
row "idle PSS of the four together, MiB" "$(awk -v n="$total" 'BEGIN {printf "%.1f", n/1024}')" "at most 20"

# --- first byte -------------------------------------------------------------------------------------------------
: >"$T/first"
first=$(cd "$M" && find . -type f | head -n 1)
for r in $(seq "$rounds"); do
	"$QSFS" down --data "$D" >/dev/null 2>&1
	seconds sh -c "'$QSFS' up --data '$D' --mount '$M' && head -c 1 '$M/$first'" >>"$T/first"
done
row "first byte after up on an existing volume, s" "$(median <"$T/first")" "at most 2 ($(spread <"$T/first"))"

# Shared by the story tests: TAP output, bounded waits, and the vocabulary of a volume.
#
# A script sources this from the top of the tree. Conventions: assertions are `ok "sentence" command...` and
# `not_ok`; waits are `wait_until SECONDS command...`, never a sleep; every process that a test starts is ended by
# its pid; a failing test leaves its directory and says where.

QSFS=${QSFS:-$PWD/build/qsfs}
tap_n=0
tap_failed=0
tap_tmp=

[ -x "$QSFS" ] || {
	echo "Bail out! $QSFS is missing: run make first"
	exit 1
}

diag() { printf '# %s\n' "$*"; }
bail() {
	echo "Bail out! $*"
	exit 1
}
pass() {
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1"
}
fail() {
	tap_n=$((tap_n + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_n - $1"
}

# ok SENTENCE COMMAND...: the command must succeed; its output is shown only when it fails.
ok() {
	local what=$1 out rc
	shift
	out=$("$@" 2>&1 </dev/null)
	rc=$?
	if [ $rc -eq 0 ]; then
		pass "$what"
	else
		fail "$what"
		diag "exit $rc: $*"
		printf '%s\n' "$out" | tail -n 20 | sed 's/^/#   /'
	fi
	return $rc
}

not_ok() {
	local what=$1 out rc
	shift
	out=$("$@" 2>&1 </dev/null)
	rc=$?
	if [ $rc -ne 0 ]; then
		pass "$what"
	else
		fail "$what"
		diag "should have failed: $*"
		printf '%s\n' "$out" | tail -n 20 | sed 's/^/#   /'
	fi
	[ $rc -ne 0 ]
}

# refused SENTENCE CODE|any WORD COMMAND...: the command must fail with that exit code, within a minute, and its
# message must be about WORD.
refused() {
	local what=$1 code=$2 word=$3 out rc
	shift 3
	out=$("$@" 2>&1 </dev/null)
	rc=$?
	if [ $rc -ne 0 ] && [ $rc -ne 124 ] && { [ "$code" = any ] || [ "$rc" = "$code" ]; } &&
		printf '%s' "$out" | grep -qi -- "$word"; then
		pass "$what is refused (exit $rc)"
		printf '%s\n' "$out" | tail -n 1 | sed 's/^/#   /'
	else
		fail "$what is refused with exit $code and a word about $word"
		diag "exit $rc: $*"
		printf '%s\n' "$out" | tail -n 20 | sed 's/^/#   /'
	fi
}

skip_all() {
	echo "1..0 # SKIP $*"
	exit 0
}

done_testing() {
	echo "1..$tap_n"
	[ "$tap_failed" -eq 0 ]
	exit $?
}

# wait_until SECONDS COMMAND...: polls a condition, at most that long.
wait_until() {
	local limit=$1 end
	shift
	end=$(($(date +%s) + limit))
	while ! "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -ge "$end" ] && return 1
		sleep 0.1 # between two looks at the condition
	done
	return 0
}

need_root() { [ "$(id -u)" = 0 ] || skip_all "needs root"; }
need_fuse() { [ -c /dev/fuse ] || skip_all "needs /dev/fuse"; }
need_tool() { command -v "$1" >/dev/null || bail "$1 is missing: run make deps-test"; }

qsfs() { timeout 300 "$QSFS" "$@"; }
drop_caches() { { sync && echo 3 >/proc/sys/vm/drop_caches; } 2>/dev/null || :; }

# --- trees ----------------------------------------------------------------------------------------------------

# story_tree DIR MB FILES: gathers a real tree of at least that many megabytes and files from this machine.
story_tree() {
	local dir=$1 mb=$2 files=$3 src have_mb=0 have_files=0 sub
	mkdir -p "$dir"
	for src in /usr/include /usr/share /usr/lib/gcc /usr/lib/python3 /usr/lib/x86_64-linux-gnu /usr/bin /usr/lib; do
		[ -d "$src" ] || continue
		for sub in "$src"/*; do
			[ "$have_mb" -ge "$mb" ] && [ "$have_files" -ge "$files" ] && return 0
			# No single piece may blow the size up; a file that vanishes while it is copied does not count.
			[ "$(du -sm "$sub" 2>/dev/null | cut -f1)" -gt 120 ] && continue
			mkdir -p "$dir$src"
			cp -a "$sub" "$dir$src/" 2>/dev/null || :
			have_mb=$(du -sm "$dir" | cut -f1)
			[ "$have_mb" -ge "$mb" ] && have_files=$(find "$dir" -type f | wc -l)
		done
	done
	[ "$have_mb" -ge "$mb" ] && [ "$have_files" -ge "$files" ]
}

# tree_manifest DIR: every entry with type, mode, owner, mtime in ns and link target; every file with its checksum.
tree_manifest() {
	(
		cd "$1" || exit 1
		find . -mindepth 1 ! -type d -printf '%y %m %U:%G %T@ %s %n %l %P\n' | LC_ALL=C sort
		find . -mindepth 1 -type d -printf '%y %m %U:%G %T@ %P\n' | LC_ALL=C sort
		find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r b2sum -l 128
	)
}

# --- a volume -------------------------------------------------------------------------------------------------

# vol_cleanup_register TMP DATA MOUNT: whatever happens, nothing stays mounted or running.
vol_cleanup_register() {
	tap_tmp=$1
	tap_data=$2
	tap_mount=$3
	trap 'vol_cleanup' EXIT
	trap 'exit 1' INT TERM
}

# vol_begin NAME [MOUNT]: skips where a volume cannot be. T is the test's directory, D the volume's, M its mount point below T, not made.
vol_begin() {
	need_root
	need_fuse
	need_tool jq
	T=$(mktemp -d "${TMPDIR:-/tmp}/qsfs-$1.XXXXXX")
	D=$T/vol
	M=$T/${2:-mnt}
	vol_cleanup_register "$T" "$D" "$M"
}

vol_cleanup() {
	local d
	for d in "$tap_data" "$tap_tmp"/moved; do
		[ -d "$d" ] && vol_kill "$d"
	done
	umount -l "$tap_mount" 2>/dev/null
	if [ "$tap_failed" -eq 0 ] && [ "$tap_n" -gt 0 ]; then
		rm -rf "$tap_tmp"
	else
		diag "left for a look: $tap_tmp"
	fi
}

# Every process of the volume below DIR: those whose arguments or environment name it.
vol_pids() {
	local p
	for p in /proc/[0-9]*; do
		[ "${p#/proc/}" = "$$" ] && continue
		[ "$(readlink "$p/exe" 2>/dev/null)" = "$(readlink -f "$QSFS")" ] || continue
		tr '\0' '\n' <"$p/cmdline" 2>/dev/null | grep -qF "$1/" && echo "${p#/proc/}"
	done
}

# vol_kill DIR: SIGKILL for everything, supervisor first, so that nothing comes back.
vol_kill() {
	local pids i
	for i in 1 2 3; do
		pids=$(vol_pids "$1")
		[ -n "$pids" ] || return 0
		# shellcheck disable=SC2086
		kill -9 $pids 2>/dev/null
	done
	return 0
}

# node_lost DATA MOUNT: what is left of a node that lost its power for good: nothing running, nothing mounted.
node_lost() {
	vol_kill "$1"
	umount -l "$2" 2>/dev/null
	wait_until 10 sh -c "! mountpoint -q '$2'"
}

qsfs_json() { timeout 60 "$QSFS" status --json --data "$1" | jq -r "$2"; }
owed_nothing() { [ "$(qsfs_json "$1" .owed.files)" = 0 ]; }
owed_more_than() { [ "$(qsfs_json "$1" .owed.files)" -gt "$2" ]; }
mount_alive() { timeout 10 stat "$1/." >/dev/null && findmnt -no FSTYPE "$1" | grep -qx fuse.zdbfs; }

# zin DATA COMMAND...: the supervisor of the volume.
zin() {
	local d=$1
	shift
	timeout 60 "$QSFS" zinit -s "$(qsfs_json "$d" .paths.zinit)" "$@"
}
svc_pid() { qsfs_json "$1" ".services[] | select(.name==\"$2\") | .pid"; }
svc_ended() { [ "$(svc_pid "$1" "$2")" = 0 ]; }
svc_restarted() {
	local pid
	pid=$(svc_pid "$1" "$2")
	[ "${pid:-0}" -gt 0 ] && [ "$pid" != "$3" ] && [ "$(qsfs_json "$1" ".services[] | select(.name==\"$2\") | .state")" = Running ]
}

stores_hold_data() {
	local d
	for d in "$1"/backends/d*; do
		[ "$(du -sk "$d" | cut -f1)" -gt 1024 ] || return 1
	done
}

# sync_writer DIR LOG: writes small files for ever; a line "name checksum" goes to LOG only after fsync returned.
sync_writer() {
	local dir=$1 log=$2 i=0 sum
	: >"$log"
	# Once, while the volume is mounted: while it is not, the path does not exist and nothing can be written beside it.
	mkdir "$dir" || return
	while :; do
		i=$((i + 1))
		head -c $((RANDOM * 7 % 300000 + 1)) /dev/urandom >"$log.src" || return
		sum=$(b2sum -l 128 <"$log.src" | cut -d' ' -f1)
		if dd if="$log.src" of="$dir/f$i" bs=64k conv=fsync status=none 2>/dev/null; then
			echo "${dir##*/}/f$i $sum" >>"$log"
		else
			sleep 0.1 # the mount is away: try again
		fi
	done
}

# check_synced MOUNT LOG: every file that the log names is there and whole.
check_synced() {
	local name sum n=0
	while read -r name sum; do
		[ "$(b2sum -l 128 <"$1/$name" 2>/dev/null | cut -d' ' -f1)" = "$sum" ] || {
			echo "$name is not what was fsynced"
			return 1
		}
		n=$((n + 1))
	done <"$2"
	[ "$n" -gt 0 ] && echo "$n files"
}

# state_fingerprint DIR: names, sizes and content of everything below a volume's directory but its logs.
state_fingerprint() {
	(cd "$1" && find . \( -name log -o -name run -o -name lock \) -prune -o -type f -print0 | LC_ALL=C sort -z |
		xargs -0 -r b2sum -l 128 | b2sum -l 128)
}

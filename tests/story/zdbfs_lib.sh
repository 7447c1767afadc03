# A zdb and a zdbfs on it, for the story tests of the file system. Sourced after lib.sh; everything lies below $tap_tmp.

zdb_pid=
fs_pid=
mnt=
sock=

fs_setup() {
	[ "$(id -u)" = 0 ] && [ -w /dev/fuse ] || {
		echo "1..0 # SKIP needs root and /dev/fuse"
		exit 0
	}
	tap_tmp=${tap_tmp:-$(mktemp -d "${TMPDIR:-/tmp}/qsfs-fs.XXXXXX")}
	mnt=$tap_tmp/mnt
	sock=$tap_tmp/zdb.sock
	mkdir -p "$mnt" "$tap_tmp/data" "$tap_tmp/index"
	trap fs_teardown EXIT
}

fs_teardown() {
	[ -n "$fs_pid" ] && kill -9 "$fs_pid" 2>/dev/null
	[ -n "$zdb_pid" ] && kill -9 "$zdb_pid" 2>/dev/null
	wait 2>/dev/null
	while grep -q " $mnt fuse.zdbfs " /proc/mounts 2>/dev/null; do umount -l "$mnt" || break; done
	if [ "$tap_failed" = 0 ]; then
		rm -rf "$tap_tmp"
	else
		echo "# left for inspection: $tap_tmp"
	fi
}

zdb_up() {
	rm -f "$sock"
	"$QSFS" zdb --mode seq --data "$tap_tmp/data" --index "$tap_tmp/index" --socket "$sock" "$@" \
		>>"$tap_tmp/zdb.log" 2>&1 &
	zdb_pid=$!
	wait_until 30 test -S "$sock"
}

zdb_down() {
	kill "${1:--TERM}" "$zdb_pid" 2>/dev/null
	wait "$zdb_pid" 2>/dev/null
	zdb_pid=
}

is_mounted() { grep -q " $mnt fuse.zdbfs " /proc/mounts; }
is_serving() { grep -q "fuse: ready" "$tap_tmp/fs.out"; }

# fs_up [OPTIONS]: mounts and waits until it serves.
fs_up() {
	: >"$tap_tmp/fs.out"
	"$QSFS" zdbfs -o "unix=$sock,autons,ctl=$tap_tmp/ctl,stop_timeout=5s${1:+,$1}" "$mnt" >>"$tap_tmp/fs.out" \
		2>>"$tap_tmp/fs.log" &
	fs_pid=$!
	wait_until 60 is_serving
}

# Waits for the end of the file system's program; its exit code.
fs_wait() {
	wait "$fs_pid"
	local rc=$?
	fs_pid=
	return $rc
}

fs_check() { "$QSFS" zdbfs --fsck -o "unix=$sock" >"$tap_tmp/fsck.out" 2>&1; }
no_leaks() { grep -q "^0 errors, 0 records and 0 blocks without owner, cleanly left" "$tap_tmp/fsck.out"; }
gone() { ! is_mounted; }

# here SENTENCE COMMAND...: as ok, but in this shell, for commands that set variables or wait for our children.
here() {
	local what=$1 rc
	shift
	"$@" >"$tap_tmp/here.out" 2>&1 </dev/null
	rc=$?
	if [ $rc -eq 0 ]; then
		pass "$what"
	else
		fail "$what"
		diag "exit $rc: $*"
		tail -n 20 "$tap_tmp/here.out" "$tap_tmp/fs.log" 2>/dev/null | sed 's/^/#   /'
	fi
	return $rc
}

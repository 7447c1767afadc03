#!/bin/bash
# What `qsfs up` refuses: one clear line, a documented exit code, and nothing half-made left behind.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/lib.sh
vol_begin refusals
mkdir "$M"

untouched() { [ ! -e "$1" ]; }
lines_of() { "$@" 2>&1 </dev/null | wc -l; }

# --- the machine -----------------------------------------------------------------------------------------------
cp "$QSFS" "$T/qsfs" && chmod 755 "$T" "$T/qsfs"
refused "up by somebody who is not root" 1 "root" setpriv --reuid=65534 --regid=65534 --clear-groups "$T/qsfs" up --data "$D" --mount "$M"
refused "up without /dev/fuse" 1 "/dev/fuse" unshare -m sh -c \
	"mount -t tmpfs none /dev && '$QSFS' up --data '$D' --mount '$M'"
ok "nothing was made" untouched "$D"

# --- the mount point ---------------------------------------------------------------------------------------------
refused "a mount point that is missing" 7 "make the directory" qsfs up --data "$D" --mount "$T/none"
touch "$T/file"
refused "a mount point that is a file" 1 "not a directory" qsfs up --data "$D" --mount "$T/file"
mkdir "$T/full" && touch "$T/full/x"
refused "a mount point that is not empty" 1 "not empty" qsfs up --data "$D" --mount "$T/full"
mkdir "$T/busy" && mount -t tmpfs none "$T/busy"
refused "a mount point that is busy" 1 "busy" qsfs up --data "$D" --mount "$T/busy"
umount "$T/busy"
ok "one line is said" test "$(lines_of "$QSFS" up --data "$D" --mount "$T/none")" = 1
rm -f "$D/lock"
ok "nothing was made" sh -c "[ ! -d '$D/keys' ] && [ ! -d '$D/backends' ] && [ ! -d '$D/front' ]"

# --- the configuration -----------------------------------------------------------------------------------------
C=$T/qsfs.ini
config() {
	cat >"$C"
	chmod 600 "$C"
}
config <<-END
	[volume]
	data = $D
	mount = $M
	[coding]
	dta = 4
END
refused "an unknown key" 2 "dta" qsfs up -c "$C"
ok "with file and line" sh -c "'$QSFS' up -c '$C' 2>&1 | grep -q 'qsfs.ini:5'"
config <<-END
	[volume
	data = $D
END
refused "a broken line" 2 "qsfs.ini:1" qsfs up -c "$C"
config <<-END
	[volume]
	data = $D
	mount = $M
	[store.a]
	address = 127.0.0.1:1
END
refused "too few stores" 2 "need" qsfs up -c "$C"
refused "a configuration that is not there" 2 "none.ini" qsfs up -c "$T/none.ini"
refused "an option that is not known" 2 "--mout" qsfs up --mout x
refused "a verb that is not known" 127 "upp" qsfs upp

stores() {
	local i
	for i in 1 2 3; do printf '[store.d%s]\naddress = 127.0.0.1:%s\n' $i $((i)); done
	for i in 1 2 3; do printf '[metadata.m%s]\naddress = 127.0.0.1:%s\n' $i $((i + 10)); done
}
{
	printf '[volume]\ndata = %s\nmount = %s\n[coding]\ndata = 2\nparity = 1\nmetadata = 1\n' "$D" "$M"
	stores
} | config
refused "remote stores without a key" 6 "--new" qsfs up -c "$C"
ok "dry-run prints the derived configuration and makes nothing" sh -c "'$QSFS' up -n -c '$C' | grep -q minimal_shards && [ ! -d '$D/front' ]"
refused "stores that are all down, for a new volume" any "metadata" qsfs up --new -t 20s -c "$C"
ok "nothing half-made is left" sh -c "[ ! -d '$D/keys' ] && [ ! -d '$D/front' ]"
# One that says nothing: the service that makes the volume runs for a while, and fails.
exec 3< <(exec python3 -c "
import socket, time
store = socket.create_server(('127.0.0.1', 0))
print(store.getsockname()[1], flush=True)
time.sleep(300)")
silent=$!
read -r port <&3
sed "s/:11$/:$port/" "$C" >"$T/silent.ini" && chmod 600 "$T/silent.ini"
refused "a store that says nothing, for a new volume" any "metadata" qsfs up --new -c "$T/silent.ini"
ok "nothing half-made is left" sh -c "[ ! -d '$D/keys' ] && [ ! -d '$D/front' ]"
kill "$silent"
exec 3<&-
not_ok "nothing is mounted" mountpoint -q "$M"

# --- a volume that is up -----------------------------------------------------------------------------------------
ok "up" qsfs up --data "$D" --mount "$M"
refused "a second up of the same volume" 5 "up already" qsfs up --data "$D" --mount "$T/busy"
refused "state on a mounted volume" 1 "mounted volume" qsfs up --data "$M/inner" --mount "$T/busy"
refused "a volume at a mount point in use" any "busy" qsfs up --data "$T/other" --mount "$M"
not_ok "and nothing of it was made" test -d "$T/other/keys"

# --- a dead mount of ours ----------------------------------------------------------------------------------------
echo content >"$M/file"
ok "sync" qsfs sync --wait --data "$D"
vol_kill "$D"
ok "after SIGKILL of everything up works again, whatever was left mounted" qsfs up --data "$D" --mount "$M"
ok "and the file is there" grep -q content "$M/file"
ok "down" qsfs down --data "$D"
ok "down again is no error" qsfs down --data "$D"
refused "status of a volume that is down" 7 "down" qsfs status --data "$D"

# --- disk full ---------------------------------------------------------------------------------------------------
mkdir "$T/small" && mount -t tmpfs -o size=256k none "$T/small"
refused "a disk without room" any "space" qsfs up --data "$T/small/vol" --mount "$M"
not_ok "nothing is mounted" mountpoint -q "$M"
umount "$T/small"
done_testing

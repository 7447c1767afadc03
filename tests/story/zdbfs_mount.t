#!/bin/bash
# A volume on one zdb: mounted, filled, compared, left in every way, and every clear refusal.
. tests/story/lib.sh
. tests/story/zdbfs_lib.sh
fs_setup

tree=/usr/include
[ -d /usr/include/linux ] || tree=/usr/share/doc

# type, mode, owner, size of files, mtime with fraction, link target, checksum
manifest() {
	(cd "$1" && find . \( -type f -printf '%p %y %m %U:%G %s %T@ ' -exec sha256sum {} \; \) -o \
		\( -type l -printf '%p %y %m %U:%G %l\n' \) -o -printf '%p %y %m %U:%G\n' | sed 's/ \.\/[^ ]*$//' | LC_ALL=C sort)
}

# ---- clear refusals, before anything runs
refused "a server that is not there" 75 "meta namespace" "$QSFS" zdbfs -o "unix=$tap_tmp/none.sock" "$mnt"
zdb_up || bail "zdb does not start"
refused "a missing mount point" 1 "no such file" "$QSFS" zdbfs -o "unix=$sock,autons" "$tap_tmp/nothing"
: >"$tap_tmp/file"
refused "a file as mount point" 1 "not a directory" "$QSFS" zdbfs -o "unix=$sock,autons" "$tap_tmp/file"
refused "namespaces that are not there" 7 "namespace" "$QSFS" zdbfs -o "unix=$sock" "$mnt"
refused "an option that nobody knows" 1 "unknown option" "$QSFS" zdbfs -o "unix=$sock,autons,frobnicate" "$mnt"
ok "the first line is what deployment tools look for" sh -c "'$QSFS' zdbfs --version | head -1 | grep -q 'zdbfs v0.1.11'"

# ---- a tree goes in and is the same
here "mounts an empty volume" fs_up auto_unmount
ok "as fuse.zdbfs" is_mounted
refused "a second mount on the same place" 5 "already" "$QSFS" zdbfs -o "unix=$sock" "$mnt"
ok "copies a tree into it" sh -c "mkdir '$mnt/tree' && tar -C '$tree' -cf - . | tar -C '$mnt/tree' -xpf -"
manifest "$tree" >"$tap_tmp/want"
manifest "$mnt/tree" >"$tap_tmp/got"
ok "which is equal: $(wc -l <"$tap_tmp/want") entries" cmp "$tap_tmp/want" "$tap_tmp/got"
cat >"$tap_tmp/posix.py" <<'PY'
import os, sys, stat, fcntl, struct, errno
m = sys.argv[1]
p = m + '/x'
open(p, 'w').write('x')
os.setxattr(p, 'user.one', b'1' * 1000); os.setxattr(p, 'trusted.two', b'2')
assert sorted(os.listxattr(p)) == ['trusted.two', 'user.one'] and os.getxattr(p, 'user.one') == b'1' * 1000
os.removexattr(p, 'user.one')
try: os.getxattr(p, 'user.one'); sys.exit('still there')
except OSError as e: assert e.errno == errno.ENODATA
os.mkfifo(m + '/fifo'); os.mknod(m + '/null', 0o600 | stat.S_IFCHR, os.makedev(1, 3))
assert stat.S_ISFIFO(os.stat(m + '/fifo').st_mode) and os.stat(m + '/null').st_rdev == os.makedev(1, 3)
fd = os.open(m + '/sparse', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'end', 10 << 20)
assert os.lseek(fd, 0, os.SEEK_DATA) <= 10 << 20  # data that the kernel has not handed over yet is never a hole
assert os.pread(fd, 4, (10 << 20) - 2) == b'\0\0en'
os.close(fd)
fd = os.open(m, os.O_RDONLY)
b = fcntl.ioctl(fd, 0x80F04501, bytes(240)); s = struct.unpack('<30Q', b)
assert s[0] == 2 and s[1] > 0 and s[18] > 0, s
b = fcntl.ioctl(fd, 0x80084500, bytes(8)); assert struct.unpack('<Q', b)[0] > 1
os.chown(p, 70000, 4000000000); st = os.stat(p); assert (st.st_uid, st.st_gid) == (70000, 4000000000)
os.utime(p, ns=(-5 * 10**9 + 7, 2**33 * 10**9 + 8)); st = os.stat(p); assert (st.st_atime_ns, st.st_mtime_ns) == (-5 * 10**9 + 7, 2**33 * 10**9 + 8)
try: open(m + '/' + 'n' * 256, 'w'); sys.exit('256 bytes')
except OSError as e: assert e.errno == errno.ENAMETOOLONG
fd = os.open(m, os.O_TMPFILE | os.O_RDWR); os.write(fd, b'hidden'); os.link('/proc/self/fd/%d' % fd, m + '/shown', src_dir_fd=fd, follow_symlinks=True)
assert open(m + '/shown', 'rb').read() == b'hidden'
os.mkdir(m + '/many')
for i in range(3000): open(m + '/many/%d' % i, 'w').close()
n = 0
with os.scandir(m + '/many') as it:
    for e in it: os.unlink(e.path); n += 1
assert n == 3000 and os.listdir(m + '/many') == [], n
os.rmdir(m + '/many')
PY
ok "extended attributes, pipes, devices, holes, listing while removing" python3 "$tap_tmp/posix.py" "$mnt"

# ---- unmounted from outside, mounted again
ok "is unmounted from outside" umount "$mnt"
here "and ends with 0" fs_wait
ok "fsck finds no error" fs_check
ok "and nothing without owner, cleanly left" no_leaks
here "mounts again" fs_up
manifest "$mnt/tree" >"$tap_tmp/again"
ok "the tree is the same" cmp "$tap_tmp/want" "$tap_tmp/again"
ok "attributes too" python3 -c "
import os,sys
p='$mnt/x'; st=os.stat(p)
assert (st.st_uid, st.st_gid, st.st_mtime_ns) == (70000, 4000000000, 2**33*10**9+8) and os.listxattr(p)==['trusted.two']"

# ---- a stop while somebody holds the mount
exec 9<"$mnt/x"
kill -TERM "$fs_pid"
here "a stop while a file is open ends with 0" fs_wait
exec 9<&-
ok "and is no longer mounted" gone
ok "the holder was named" grep -q "is still used by" "$tap_tmp/fs.log"

# ---- killed: with the guard nothing stays behind, without it the next mount clears the way
here "mounts with a guard" fs_up auto_unmount
kill -9 "$fs_pid"
fs_wait
ok "after kill -9 the guard takes the mount away" wait_until 20 gone
here "mounts without a guard" fs_up
kill -9 "$fs_pid"
fs_wait
ok "after kill -9 a dead mount is left" is_mounted
here "which the next start takes away" fs_up
ok "everything is still there" test -f "$mnt/tree/$(cd "$tree" && find . -type f | head -1)"
ok "removes everything" sh -c "rm -rf '$mnt'/*"
kill -TERM "$fs_pid"
here "stops" fs_wait
ok "fsck" fs_check
ok "no leaks: all of it was given back" no_leaks

# ---- half a volume, a wrong password, a wrong mode
"$QSFS" zdbfs --fsck -o "unix=$sock" >/dev/null 2>&1
python3 - "$sock" <<'PY'
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile('rb')
def cmd(*a):
    s.sendall(b'*%d\r\n' % len(a) + b''.join(b'$%d\r\n%s\r\n' % (len(x), x) for x in [y if isinstance(y, bytes) else y.encode() for y in a])); return f.readline()
for ns in ('m2', 'd2'): cmd('NSNEW', ns)
cmd('SELECT', 'd2'); cmd('SET', '', b'ZDBFSD\1' + bytes(17))
for ns in ('m3', 'd3'): cmd('NSNEW', ns)
cmd('NSSET', 'm3', 'password', 'secret')
PY
refused "half a volume" 7 "half a volume" "$QSFS" zdbfs -o "unix=$sock,mn=m2,dn=d2,tn=t2,autons" "$mnt"
refused "a wrong password" 6 "meta namespace" "$QSFS" zdbfs -o "unix=$sock,mn=m3,dn=d3,ms=wrong" "$mnt"
done_testing

#!/bin/bash
# zinit as the first process of a machine: a Debian kernel in QEMU, an image that holds nothing but our binary and a
# static BusyBox for the services' scripts. Checked: mounts, host name, loopback, modules, control groups of version 2
# with their limits, ends of escaped processes, orphans, Ctrl-Alt-Del, power off, reboot, file systems clean afterwards.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/lib.sh
[ "$(uname -m)" = x86_64 ] || skip_all "the boot test knows x86_64 kernels only"
for tool in qemu-system-x86_64 cpio dpkg-deb apt-get; do
	command -v $tool >/dev/null || skip_all "$tool is missing: run make deps-test"
done

KEEP=build/boot
mkdir -p "$KEEP"

# package NAME: downloads it once and unpacks it below $KEEP/NAME.
package() {
	[ -d "$KEEP/$1.done" ] && return 0
	rm -rf "$KEEP/$1" && mkdir -p "$KEEP/$1" &&
		(cd "$KEEP/$1" && { timeout 300 apt-get download "$1" || { apt-get update && timeout 300 apt-get download "$1"; }; }) \
			>"$KEEP/$1.log" 2>&1 </dev/null &&
		dpkg-deb -x "$KEEP/$1"/*.deb "$KEEP/$1" && rm "$KEEP/$1"/*.deb && mkdir "$KEEP/$1.done"
}

kernel_package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$kernel_package" ] || skip_all "no kernel package linux-image-cloud-amd64 in apt's lists"
package "$kernel_package" || skip_all "the kernel package $kernel_package cannot be downloaded"
package busybox-static || skip_all "the package busybox-static cannot be downloaded"
KERNEL=$(ls "$KEEP/$kernel_package"/boot/vmlinuz-*)
BUSYBOX=$(find "$KEEP/busybox-static" -path "*bin/busybox" -type f | head -n 1)

T=$(mktemp -d "${TMPDIR:-/tmp}/zinit-boot.XXXXXX")
trap '[ "$tap_failed" -eq 0 ] && rm -rf "$T" || diag "left for a look: $T"' EXIT

# --- the image -------------------------------------------------------------------------------------------------
I=$T/image
mkdir -p "$I"/{bin,dev,etc/zinit,lib/modules,mnt,proc,root,sys,tmp}
mknod "$I/dev/console" c 5 1 2>/dev/null || skip_all "device nodes cannot be made (not root?)"
cp "$QSFS" "$I/init"
install -m 755 "$BUSYBOX" "$I/bin/busybox"
for name in sh sleep mount grep cat echo kill test ls ps sync hostname ip touch wc sed seq setsid true false mkdir readlink dmesg umount; do
	ln -s busybox "$I/bin/$name"
done
ln -s ../init "$I/bin/zinit"
echo bootbox >"$I/etc/hostname"
echo "FROM_ENVIRONMENT=yes" >"$I/etc/environment"
# A module that is built as one in this kernel, so that loading shows.
MODULE=
for name in dummy loop tun; do
	found=$(find "$KEEP/$kernel_package" -name "$name.ko*" | head -n 1)
	[ -n "$found" ] && MODULE=$name && cp "$found" "$I/lib/modules/" && echo "/lib/modules/$(basename "$found")" >"$I/etc/zinit/modules" && break
done
echo "/lib/modules/absent.ko" >>"$I/etc/zinit/modules"

unit() { cat >"$I/etc/zinit/$1.yaml"; }
unit limited <<X
exec: sleep 1000
memory_max: 32M
pids_max: 20
cpu_max: 50%
kill_mode: cgroup
X
unit escaper <<'X'
exec: sh -c 'setsid sleep 2001 & setsid sleep 2002 & exec sleep 2000'
kill_mode: cgroup
shutdown_timeout: 1
X
unit hog <<'X'
exec: sh -c 'x=a; while :; do x=$x$x; done'
memory_max: 16M
restart: never
oneshot: true
X
unit first <<'X'
exec: sh -c 'trap "echo STOPPED first; exit 0" TERM; while :; do sleep 0.2; done'
log: stdout
X
unit second <<'X'
exec: sh -c 'trap "sleep 0.5; echo STOPPED second; exit 0" TERM; while :; do sleep 0.2; done'
after: first
log: stdout
X
unit disk <<'X'
exec: sh -c 'mount -t tmpfs none /mnt && touch /mnt/x'
oneshot: true
X
cat >"$I/bin/check" <<'X'
#!/bin/sh
say() { echo "RESULT $1=$2"; }
say pid1 "$(readlink /proc/1/exe)"
say threads "$(ls /proc/1/task | wc -l)"
for at in /proc /sys /dev /dev/pts /dev/shm /run /tmp /sys/fs/cgroup; do
	grep -q " $at " /proc/mounts && say "mounted_$at" yes
done
say hostname "$(hostname)"
ip link show lo | grep -q UP && say lo up
say env "$FROM_ENVIRONMENT"
say module "$(grep -c . /proc/modules)"
zinit wait limited escaper first second disk --timeout 20s && say waited yes
say limits "$(zinit status limited | grep limits:)"
g=$(sed -n 's/^0:://p' /proc/$(zinit status limited | sed -n 's/^pid: //p')/cgroup)
say memory_max "$(cat /sys/fs/cgroup$g/memory.max)"
say pids_max "$(cat /sys/fs/cgroup$g/pids.max)"
say cpu_max "$(cat /sys/fs/cgroup$g/cpu.max)"
zinit wait hog --timeout 60s; say hog "$(zinit list | grep ^hog)"
zinit stop -w escaper
say escaped "$(ps | grep -c 'sleep 200[012]$')"
# Orphans: each shell leaves a child behind that ends a moment later as a child of the first process.
i=0; while [ $i -lt 300 ]; do sh -c 'sleep 0.3 & true'; i=$((i+1)); done
i=0; while ps -o stat,args | grep -q '^Z\|[s]leep 0.3' && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done
say zombies "$(ps -o stat,ppid | grep -c '^Z')"
setsid sleep 3000 &
X
chmod 755 "$I/bin/check"
unit check <<'X'
exec: /bin/check
oneshot: true
log: stdout
after: [disk]
X

# boot NAME LAST_COMMAND: runs the image; the console is in $T/NAME.log
boot() {
	sed -i '/^: last$/,$d' "$I/bin/check"
	printf ': last\n%s\n' "$2" >>"$I/bin/check"
	(cd "$I" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) | gzip -1 >"$T/image.gz"
	timeout -k 5 240 qemu-system-x86_64 -accel tcg -machine q35 -cpu max,-cx16 -smp 2 -m 512 -kernel "$KERNEL" \
		-initrd "$T/image.gz" -append "console=ttyS0 panic=-1 quiet mitigations=off" -nographic -no-reboot \
		</dev/null >"$T/$1.log" 2>&1
	local rc=$?
	tr -d '\r' <"$T/$1.log" >"$T/$1.txt"
	return $rc
}
says() { grep -qE "$2" "$T/$1.txt" || { tail -n 40 "$T/$1.txt"; false; }; }
before() { [ "$(grep -n "$2" "$T/$1.txt" | head -n 1 | cut -d: -f1)" -lt "$(grep -n "$3" "$T/$1.txt" | head -n 1 | cut -d: -f1)" ]; }

ok "the machine boots, runs its services and powers off by itself" boot off 'zinit poweroff'
ok "the first process is ours" says off 'RESULT pid1=/init$'
ok "it has one thread" says off 'RESULT threads=1$'
for at in /proc /sys /dev /dev/pts /dev/shm /run /tmp /sys/fs/cgroup; do
	ok "$at is mounted" says off "RESULT mounted_$at=yes"
done
ok "the host name is set" says off 'RESULT hostname=bootbox'
ok "the loopback interface is up" says off 'RESULT lo=up'
ok "services have the machine's environment" says off 'RESULT env=yes'
[ -n "$MODULE" ] && ok "the listed module is loaded" says off 'RESULT module=[1-9]'
ok "a missing module is one line" says off 'cannot open module /lib/modules/absent.ko'
ok "wait returns when services are ready" says off 'RESULT waited=yes'
ok "limits are by control groups of version 2" says off 'RESULT limits=.*memory: cgroup v2, cpu: cgroup v2, pids: cgroup v2, kill: cgroup'
ok "memory_max" says off 'RESULT memory_max=33554432'
ok "pids_max" says off 'RESULT pids_max=20'
ok "cpu_max" says off 'RESULT cpu_max=50000 100000'
ok "a service beyond its memory is killed, alone" says off 'RESULT hog=hog: .*SIGKILL'
ok "kill_mode cgroup ends what left the process group" says off 'RESULT escaped=0'
ok "orphans are reaped" says off 'RESULT zombies=0'
ok "the dependent stops first" before off 'STOPPED second' 'STOPPED first'
ok "mounted file systems are unmounted" sh -c "! grep -q 'cannot unmount /mnt' '$T/off.txt'"
ok "the power goes off" says off 'reboot: Power down'

ok "a machine that is told to reboot does" boot again 'zinit reboot'
ok "after an ordered stop" before again 'STOPPED second' 'STOPPED first'
ok "it restarts" says again 'reboot: Restarting system'

ok "Ctrl-Alt-Del" boot cad 'kill -INT 1'
ok "stops in order" before cad 'STOPPED second' 'STOPPED first'
ok "and restarts" says cad 'reboot: Restarting system'
done_testing

#!/bin/sh
# test-config.sh DIR: builds configurations that leave applets out, one after the other, in a tree of their own below DIR, and
# looks at what came out: exactly the chosen applets, each with its help. Called by `make test-config` with MAKE and JOBS.
# The objects stay in DIR, so that only the first run compiles the core.
set -eu

# one name a line; what `qsfs --list` says of its own name and aliases
chosen_of()
{
	case $1 in
	zdb) echo zdb ;;
	zinit) printf '%s\n' init zinit ;;
	without-fuse) printf '%s\n' create_namespaces hook hook.sh init qsfs wait_hooks zdb zinit zstor ;;
	esac
}

applets_of()
{
	case $1 in
	zdb | zinit) echo "$1" ;;
	without-fuse) echo 'hook qsfs wait_hooks zdb zinit zstor' ;;
	esac
}

# write_config NAME: .config in which only its applets are on
write_config()
{
	for room in applets/*/; do
		applet=$(basename "$room")
		switch=CONFIG_APPLET_$(echo "$applet" | tr a-z- A-Z_)
		case " $(applets_of "$1") " in
		*" $applet "*) echo "$switch=y" ;;
		*) echo "# $switch is not set" ;;
		esac
	done >.config
}

# A front door without a file system says so, before it makes anything.
refuses_a_volume()
{
	timeout 10 build/qsfs up --data "$PWD/volume" 2>&1 | grep -q 'a volume needs zdbfs, which this program was built without' &&
		[ ! -e volume ]
}

# check NAME: prints a sentence and returns 1 where the program is not what was chosen
check()
{
	$MAKE --no-print-directory all >make.log 2>&1 || { tail -20 make.log; echo "does not build"; return 1; }
	listed=$(build/qsfs --list | LC_ALL=C sort)
	[ "$listed" = "$(chosen_of "$1")" ] || { echo "holds: $listed"; return 1; }
	for applet in $(applets_of "$1"); do
		build/qsfs "$applet" --help >/dev/null || { echo "$applet --help fails"; return 1; }
	done
	[ "$1" != without-fuse ] || refuses_a_volume || { echo "'qsfs up' does not say that zdbfs is missing"; return 1; }
}

# the libraries are those of the tree itself
DEPS_CACHE=${DEPS_CACHE:-$PWD/build/deps}
export DEPS_CACHE
mkdir -p "$1"
for entry in applets core configs deps scripts Config.in Makefile tests VERSION; do
	ln -sfn "$PWD/$entry" "$1/$entry"
done
cd "$1"
passed=0 failed=0
for name in zdb zinit without-fuse; do
	write_config $name
	if said=$(check $name); then
		passed=$((passed + 1))
		echo "ok    $name: $(stat -Lc %s build/qsfs) bytes"
	else
		failed=$((failed + 1))
		echo "FAIL  $name: $said"
	fi
done
[ -z "${SUM:-}" ] || echo "$passed $failed" >"$SUM"
echo "config: $passed passed, $failed failed"
[ $failed = 0 ]

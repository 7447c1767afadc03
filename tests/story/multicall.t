#!/bin/bash
# One file, many programs: --list, --install, --version, unknown names, an applet by name and by first argument.
set -u
cd "$(dirname "$0")/../.." || exit 1
QSFS=${QSFS:-$PWD/build/qsfs}
QSFS=$(readlink -f "$QSFS")
T=$(mktemp -d "${TMPDIR:-/tmp}/qsfs-multicall.XXXXXX")
trap 'rm -rf "$T"' EXIT

n=0
check()
{
	local what=$1 rc
	shift
	n=$((n + 1))
	"$@" >"$T/output" 2>&1 </dev/null
	rc=$?
	[ $rc = 0 ] && { echo "ok $n - $what"; return; }
	echo "not ok $n - $what"
	echo "# exit $rc: $*"
	sed 's/^/# /' "$T/output"
}

# says CODE PATTERN COMMAND...: exits with CODE and prints exactly one line, which matches
says()
{
	local want=$1 pattern=$2 out rc
	shift 2
	out=$("$@" 2>&1)
	rc=$?
	echo "exit $rc: $out"
	[ $rc = "$want" ] && [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] && printf '%s\n' "$out" | grep -qE -- "$pattern"
}

every_name_is_linked()
{
	local dir=$1 name
	for name in $("$QSFS" --list); do
		[ "$(stat -L -c %d:%i "$dir/$name")" = "$(stat -c %d:%i "$2")" ] || { echo "$name is not a link"; return 1; }
	done
}

first=$("$QSFS" --list | grep -vx qsfs | head -n 1)
if [ -z "$first" ]; then
	echo "1..0 # skip no applet is configured"
	exit 0
fi

# --- what there is ----------------------------------------------------------------------------------------------------
check "--version is one line" says 0 '^qsfs [0-9]+\.[0-9]+\.[0-9]+$' "$QSFS" --version
check "--version --verbose names the libraries" bash -c "'$QSFS' --version --verbose | grep -q '^libsodium [0-9]'"
check "--list names no applet twice" bash -c "[ -z \"\$('$QSFS' --list | sort | uniq -d)\" ]"
check "--list -v explains every applet" bash -c "! '$QSFS' --list -v | awk 'NF < 2' | grep ."
check "every applet has a man page" bash -c "for a in \$('$QSFS' --list); do '$QSFS' --man \$a | grep -q '^.SH NAME' || exit 1; done"
check "every applet has a help text" bash -c "for a in \$('$QSFS' --list -v | awk '\$2 != \"=\" { print \$1 }'); do
	'$QSFS' \$a --help | grep -qi usage || { echo \$a; exit 1; }; done"
check "the completion script is a script" bash -c "'$QSFS' --completion | bash -n"

# --- names --------------------------------------------------------------------------------------------------------------
check "an unknown applet is one line and 127" says 127 "^qsfs: unknown .*'nosuchthing'.*--list'" "$QSFS" nosuchthing
cp "$QSFS" "$T/whatever"
check "an unknown name without arguments too" says 127 "^qsfs: unknown applet 'whatever'" "$T/whatever"
check "an unknown name still takes an applet as argument" bash -c "'$T/whatever' '$first' --help | grep -qi usage"
ln -s "$QSFS" "$T/$first"
check "an applet by the name of a link" bash -c "'$T/$first' --help | grep -qi usage"
check "an unknown option of the program itself" says 2 "unknown option '--lisst'" "$QSFS" --list --lisst

# --- links --------------------------------------------------------------------------------------------------------------
mkdir "$T/hard" "$T/soft" "$T/mixed"
cp "$QSFS" "$T/hard/qsfs"
check "--install makes hard links" "$T/hard/qsfs" --install "$T/hard"
check "every name is one" every_name_is_linked "$T/hard" "$T/hard/qsfs"
check "again, it changes nothing" says 0 '^0 links made' "$T/hard/qsfs" --install "$T/hard"
check "--install -s makes symbolic links" "$QSFS" --install -s "$T/soft"
check "they are symbolic" test -L "$T/soft/$first"
check "every name is one" every_name_is_linked "$T/soft" "$QSFS"
echo mine >"$T/mixed/$first"
"$QSFS" --install -s "$T/mixed" >"$T/said" 2>&1
rc=$?
check "a file of somebody else is kept: exit 3" test $rc = 3
check "and named" grep -q "cannot install $first: .*--force" "$T/said"
check "and whole" grep -qx mine "$T/mixed/$first"
check "--force replaces it" "$QSFS" --install -s --force "$T/mixed"
check "by a link" every_name_is_linked "$T/mixed" "$QSFS"
mkdir -p "$T/dir/$first"
"$QSFS" --install -s --force "$T/dir" >"$T/said" 2>&1
rc=$?
check "a directory is never replaced" test $rc = 3 -a -d "$T/dir/$first"
check "a missing directory is one line" says 1 "^qsfs: cannot install $T/none/" "$QSFS" --install -s "$T/none"
check "a missing argument is one line" says 2 "arguments are missing: DIR" "$QSFS" --install
ls -A "$T/hard" "$T/soft" "$T/mixed" >"$T/names"
check "nothing is left behind" bash -c "! grep part '$T/names'"

echo "1..$n"

#!/bin/sh
# verify.sh: compares the pins of the lock file with Debian's signed package index, in a private apt configuration (nothing of
# this machine's is changed). apt checks the signatures against Debian's archive keyring.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/mirror.sh"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f $keyring ] || die "cannot verify: $keyring is missing: install debian-archive-keyring"
work=$DEPS_TOP/build/deps-verify
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/parts" "$work/cache/archives/partial"
trap 'rm -rf "$work"' EXIT

suites=$(awk '!/^#/ && NF { print $3 }' "$DEPS_LOCK" | sort -u | tr '\n' ' ')
cat >"$work/parts/pins.sources" <<SOURCES
Types: deb-src
URIs: $(mirror_uri)
Suites: $suites
Components: main
Signed-By: $keyring
SOURCES
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/parts";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
APT::Get::List-Cleanup "0";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get update >"$work/log" 2>&1 && ! grep -qE '^(E|W): ' "$work/log" || { cat "$work/log" >&2; die "cannot read the signed index"; }

bad=0
for name in $(lock_names); do
	path=$(lock_field "$name" path)
	source=${path%/*}
	source=${source##*/}
	file=$(lock_field "$name" file)
	want="$file $(lock_field "$name" size) SHA256:$(lock_field "$name" sha256)"
	if apt-get source --print-uris "$source/$(lock_field "$name" suite)" 2>/dev/null | cut -d ' ' -f 2- | grep -qxF "$want"; then
		echo "ok    $name $(lock_field "$name" version): $file"
	else
		echo "FAIL  $name: the index does not list $file with this size and sha256"
		bad=1
	fi
done
exit $bad

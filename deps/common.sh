# Shared by the dependency scripts: where things are, and the lock file.
# shellcheck shell=sh
set -eu

DEPS_TOP=$(cd "$(dirname "$0")/.." && pwd)
DEPS_LOCK=$DEPS_TOP/deps/sources.lock

die()
{
	echo "deps: $*" >&2
	exit 1
}

# The cache holds downloads and finished sysroots; several work trees may share one.
DEPS_CACHE=${DEPS_CACHE:-$DEPS_TOP/build/deps}
mkdir -p "$DEPS_CACHE/dl"
DEPS_CACHE=$(cd "$DEPS_CACHE" && pwd)
DEPS_DL=$DEPS_CACHE/dl

# lock_names: every name in the lock file
lock_names()
{
	awk '!/^#/ && NF { print $1 }' "$DEPS_LOCK"
}

# lock_field NAME FIELD: version, suite, size, sha256, path or file of one source
lock_field()
{
	awk -v name="$1" -v field="$2" '
		$1 == name {
			f["version"] = $2; f["suite"] = $3; f["size"] = $4; f["sha256"] = $5; f["path"] = $6
			f["file"] = $6; sub(/.*\//, "", f["file"])
			print f[field]; found = 1
		}
		END { exit !found }' "$DEPS_LOCK" || die "cannot find $1 in $DEPS_LOCK"
}

# source_is_good NAME FILE: size and checksum are those of the lock file
source_is_good()
{
	[ -f "$2" ] && [ "$(stat -c %s "$2")" = "$(lock_field "$1" size)" ] &&
		echo "$(lock_field "$1" sha256)  $2" | sha256sum --check --status
}

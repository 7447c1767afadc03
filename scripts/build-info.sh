#!/bin/sh
# build-info.sh VERSION ARCH KIND AUTO_CONF: prints the header behind `qsfs --version --verbose`.
set -eu

echo '/* generated: what this build is made of */'
echo "#define QSFS_VERSION \"$1\""
echo "#define QSFS_ARCH \"$2\""
echo "#define QSFS_BUILD_KIND \"$3\""
echo "#define QSFS_CONFIGURATION \\"
sed 's/^CONFIG_//; s/["\\]/\\&/g; s/.*/	"&\\n" \\/' "$4"
echo '	""'
echo "#define QSFS_LIBRARIES \\"
with_msgpack=$(grep -c '^CONFIG_MSGPACK=y' "$4" || true)
awk -v msgpack="$with_msgpack" '
	/^#/ || !NF || $1 == "cmocka" || $1 == "musl-debian" { next }
	$1 == "msgpack" && !(msgpack + 0) { next }
	{ printf "\t\"%s %s\\n\" \\\n", $1, $2 }' deps/sources.lock
echo '	""'

#!/bin/sh
# registry.sh FILE...: prints the C file that lists every applet registered in these files, sorted by name.
set -eu

ids=$([ $# = 0 ] || sed -n 's/^APPLET_REGISTER(\([A-Za-z0-9_]*\)).*/\1/p' "$@" | LC_ALL=C sort)
twice=$(echo "$ids" | uniq -d)
[ -z "$twice" ] || { echo "registry: registered twice: $twice" >&2; exit 1; }

echo '/* generated from the rooms that are built */'
echo '#include "core/base/applet.h"'
echo
for id in $ids; do
	echo "extern const struct applet applet_$id;"
done
echo
echo 'const struct applet *const applet_registry[] = {'
for id in $ids; do
	echo "	&applet_$id,"
done
echo '	NULL,'
echo '};'
echo 'const size_t applet_registry_count = sizeof applet_registry / sizeof applet_registry[0] - 1;'

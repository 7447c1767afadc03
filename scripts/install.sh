#!/bin/sh
# install.sh BINARY DESTDIR PREFIX ROOTFS: binary, a link for every applet, man pages, completion, licences. ROOTFS=1 adds the
# overlay of a node's image (/init, units, configuration).
set -eu

binary=$1 dest=$2 prefix=$3 rootfs=$4
bin=$dest$prefix/bin
man=$dest$prefix/share/man/man8

mkdir -p "$bin" "$man" "$dest$prefix/share/bash-completion/completions" "$dest$prefix/share/doc/qsfs"
install -m 755 "$binary" "$bin/qsfs.new"
mv "$bin/qsfs.new" "$bin/qsfs"
"$bin/qsfs" --install "$bin"
for applet in $("$bin/qsfs" --list -v | awk '$2 != "=" { print $1 }'); do
	"$bin/qsfs" --man "$applet" >"$man/$applet.8"
done
"$bin/qsfs" --completion >"$dest$prefix/share/bash-completion/completions/qsfs"
for text in LICENSE NOTICE README.md docs/*.md; do
	[ ! -f "$text" ] || install -m 644 "$text" "$dest$prefix/share/doc/qsfs/"
done
if [ "$rootfs" = 1 ]; then
	[ -d rootfs-overlay ] || { echo "install: there is no rootfs-overlay here" >&2; exit 1; }
	cp -a rootfs-overlay/. "$dest/"
fi

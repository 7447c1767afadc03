#!/bin/sh
# fetch.sh NAME...: puts the named sources of the lock file into the download cache, verified.
#
# They come from DEPS_DIR (a directory with the files, for machines without a network), else from the Debian mirror that this
# machine's apt is configured for, by apt's own transport (its proxy settings, its certificates). Only the pinned checksum is
# trusted, so no package index is needed; `make deps-verify` compares the pins with the signed index.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/mirror.sh"

fetch_one()
{
	name=$1
	file=$(lock_field "$name" file)
	to=$DEPS_DL/$file
	source_is_good "$name" "$to" && return 0

	part=$to.part.$$
	rm -f "$part" "$part.FAILED"
	if [ -n "${DEPS_DIR:-}" ]; then
		[ -f "$DEPS_DIR/$file" ] || die "cannot take $file from DEPS_DIR=$DEPS_DIR: no such file"
		cp "$DEPS_DIR/$file" "$part"
	else
		[ -x /usr/lib/apt/apt-helper ] || die "cannot fetch $file: no apt here; put the files of deps/sources.lock into a directory and set DEPS_DIR="
		uri=$(mirror_uri)/pool/main/$(lock_field "$name" path)
		for try in 1 2 3; do
			/usr/lib/apt/apt-helper -o APT::Sandbox::User=root download-file "$uri" "$part" \
				"SHA256:$(lock_field "$name" sha256)" >"$part.log" 2>&1 && break
			[ $try = 3 ] && { grep -m 3 '^E:' "$part.log" >&2 || true; }
		done
		rm -f "$part.log"
	fi
	source_is_good "$name" "$part" || { rm -f "$part" "$part.FAILED"; die "cannot fetch $file: missing, or size or sha256 differ from deps/sources.lock"; }
	mv "$part" "$to"
	echo "deps: fetched $file"
}

for name in "$@"; do
	fetch_one "$name"
done

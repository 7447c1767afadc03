#!/bin/bash
# Volumes that the original wrote are read as it showed them. Needs the golden data beside the tree (or in GOLDEN_DIR).
. tests/story/lib.sh
. tests/story/zdbfs_lib.sh
golden=${GOLDEN_DIR:-$PWD/../shared/vectors/golden}
[ -f "$golden/zdbfs-volume.tar.zst" ] || { echo "1..0 # SKIP no golden data in $golden"; exit 0; }
fs_setup
ok "unpacks" sh -c "cd '$tap_tmp' && zstd -dc '$golden/zdbfs-volume.tar.zst' | tar xf -"
for variant in clean killed; do
	rm -rf "$tap_tmp/data" "$tap_tmp/index"
	mv "$tap_tmp/zdbfs-volume/$variant/data" "$tap_tmp/zdbfs-volume/$variant/index" "$tap_tmp"
	here "$variant: zdb starts" zdb_up --datasize 1048576
	if [ $variant = clean ]; then
		ok "$variant: fsck finds no error" fs_check
	fi
	here "$variant: mounts" fs_up auto_unmount
	ok "$variant: is as the original showed it" python3 "$golden/verify_golden.py" "$mnt" \
		"$golden/zdbfs-volume.manifest.jsonl" --variant $variant
	if [ $variant = clean ]; then
		ok "$variant: can be changed" sh -c "echo more >'$mnt/more' && mkdir '$mnt/dir' && mv '$mnt/more' '$mnt/dir/'"
	fi
	kill -TERM "$fs_pid"
	here "$variant: stops" fs_wait
	if [ $variant = clean ]; then
		ok "$variant: fsck finds no error" fs_check
	fi
	zdb_down
done
done_testing

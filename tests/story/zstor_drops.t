#!/bin/bash
# A namespace leaves the recovery points when it was deleted, and for no other reason: not since it cannot be loaded, and not since its
# files are gone.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
DATASIZE=524288
says() { v_zstor status | grep -q "$1"; } # points are tried every two seconds
v_new
v_new_volume
ok "values" v_fill zdbfs-data 150 6000 "$T/data"
ok "values of another one" v_fill zdbfs-meta 5 6000 "$T/meta"
ok "a recovery point" v_zstor sync

# --- a descriptor that cannot be read ------------------------------------------------------------------------------
flip() { printf "\\$1" | dd of="$V/front/index/zdbfs-data/zdb-namespace" bs=1 conv=notrunc status=none; }
version=$(head -c 1 "$V/front/index/zdbfs-data/zdb-namespace" | od -An -to1 | tr -d ' ')
v_zdb_stop
flip 377
ok "the server starts without it" v_zdb_start
ok "the other one changes" v_fill zdbfs-meta 5 6000 "$T/meta"
ok "there is no recovery point without it" wait_until 30 says "Namespace zdbfs-data is not available"
v_zdb_stop
flip "$version"
ok "it is mended" v_zdb_start
ok "a recovery point of all" v_zstor sync

# --- files that are gone -------------------------------------------------------------------------------------------
v_zdb_stop
mkdir "$T/kept"
mv "$V/front/index/zdbfs-data" "$T/kept/index"
mv "$V/front/data/zdbfs-data" "$T/kept/data"
ok "nor of a stopped server that lost one" wait_until 30 says "zdbfs-data is stored, was not deleted"
rm -rf "$V/front/index/zdbfs-data" "$V/front/data/zdbfs-data"
mv "$T/kept/index" "$V/front/index/zdbfs-data"
mv "$T/kept/data" "$V/front/data/zdbfs-data"
ok "they are back" v_zdb_start

# --- deleted ---------------------------------------------------------------------------------------------------------
new() { perl "$V_RESP" "$V/run/zdb.sock" CALL "$@" | grep -q OK; }
ok "one more" new NSNEW other
ok "values of it" v_fill other 5 6000 "$T/other"
ok "a recovery point of it" v_zstor sync
ok "it is deleted" new NSDEL other
ok "a recovery point without it" v_zstor sync
ok "the node is lost" v_lost
ok "values are there" v_verify zdbfs-data "$T/data"
ok "those of the other one, too" v_verify zdbfs-meta "$T/meta"
not_ok "what was deleted is not" v_verify other "$T/other"
done_testing

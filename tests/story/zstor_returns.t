#!/bin/bash
# Stores that were away and come back: what is owed to them is paid at once, whatever the next recovery point's time is, and
# however long the tries before have been put off.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
DATASIZE=524288
v_new
sed -i 's/^rpo = .*/rpo = "10m"/' "$V/zstor.toml" # no recovery point comes by itself while this runs
v_new_volume
is_down() { v_is "[.backends[] | select(.id == \"$1\") | .up] | first" false; }

# --- a metadata store -------------------------------------------------------------------------------------------
ok "values" v_fill zdbfs-data 20 60000 "$T/data"
ok "sync" v_zstor sync
v_store_stop m4
ok "m4 is missed" wait_until 30 is_down m4
ok "values while m4 is away" v_fill zdbfs-data 20 60000 "$T/data"
ok "a recovery point without m4" v_zstor sync
ok "the pieces of m4 are owed" v_over .owed.pieces 0
v_store_start m4
ok "m4 gets its pieces without another recovery point" wait_until 60 v_is .owed.files 0
done_testing

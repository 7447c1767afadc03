#!/bin/bash
# Stores that were away and come back: what is owed to them is paid at once, whatever the next recovery point's time is, and
# however long the tries before have been put off.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/lib.sh
. tests/story/zstor_lib.sh
need_tool jq
need_tool perl
T=$(mktemp -d "${TMPDIR:-/tmp}/qsfs-zreturns.XXXXXX")
trap 'v_stop_all; [ $tap_failed -gt 0 ] && diag "left in $T" || rm -rf "$T"' EXIT
DATASIZE=524288
v_new "$T/v"
sed -i 's/^rpo = .*/rpo = "10m"/' "$V/zstor.toml" # no recovery point comes by itself while this runs
v_new_volume
z() { "$QSFS" zstor -c "$V/zstor.toml" "$@"; }
is_down() { v_is "[.backends[] | select(.id == \"$1\") | .up] | first" false; }

# --- a metadata store -------------------------------------------------------------------------------------------
ok "values" v_fill zdbfs-data 20 60000 "$T/data"
ok "sync" z sync
v_store_stop m4
ok "m4 is missed" wait_until 30 is_down m4
ok "values while m4 is away" v_fill zdbfs-data 20 60000 "$T/data"
ok "a recovery point without m4" z sync
ok "the pieces of m4 are owed" v_over .owed.pieces 0
v_store_start m4
ok "m4 gets its pieces without another recovery point" wait_until 60 v_is .owed.files 0
done_testing

#!/bin/bash
# A namespace that is deleted and made anew between two recovery points: what has its name and numbers now is never mixed with what had
# them before, however much of it there is.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/story/zstor_lib.sh
DATASIZE=524288
v_new
sed -i 's/^rpo = .*/rpo = "10m"/' "$V/zstor.toml" # no recovery point but those that are asked for
v_new_volume
segments() { v_zstor list 2>/dev/null | grep -c '^segment '; }
anew() { # COUNT
	perl "$V_RESP" "$V/run/zdb.sock" CALL NSDEL zdbfs-meta && v_ns zdbfs-meta || return 1
	rm "$T/meta"
	v_fill zdbfs-meta "$1" 6000 "$T/meta"
}

ok "values" v_fill zdbfs-data 5 6000 "$T/data"
ok "of both namespaces" v_fill zdbfs-meta 5 6000 "$T/meta"
ok "sync" v_zstor sync
for n in 5 12 3 200; do # as many bytes as before, more, less, segments
	ok "deleted and made anew with $n values" anew $n
	ok "sync" v_zstor sync
	ok "the node is lost" v_lost
	ok "the new values come back" v_verify zdbfs-meta "$T/meta"
	ok "the other namespace is as it was" v_verify zdbfs-data "$T/data"
done
generation=$(v_state .volume.generation)
ok "deleted and made anew" anew 200
pid=$(cat "$V/run/zstor.mpid")
v_zstor_stop KILL # whether it has seen that or not
wait_until 20 sh -c "! kill -0 $pid" # `v_lost` started it in another shell, so it is not waited for
v_zstor_start
ok "sync" v_zstor sync
ok "a new generation was taken" test "$(v_state .volume.generation)" != "$generation"
ok "the node is lost" v_lost
ok "the new values come back" v_verify zdbfs-meta "$T/meta"
before=$(segments)
ok "deleted once more" anew 5
for i in 1 2 3 4 5 6; do
	v_zstor sync && v_fill zdbfs-data 1 100 "$T/data" || break
done
ok "six more points" test "$i" = 6
fewer() { [ "$(segments)" -le $((before - 2)) ]; }
ok "the segments of the deleted one go from the stores" wait_until 60 fewer
ok "the new values are there" v_verify zdbfs-meta "$T/meta"
ok "the other namespace is as it was" v_verify zdbfs-data "$T/data"
done_testing

#!/bin/bash
# zdb beside Debian's redis-server (appendonly everysec): rates, latencies, memory, start. ROUNDS=5, SCALE=1 (part of the operations).
# With ZDB_PEER=/path/to/zdb the original 0-db gets columns and rows of its own.
# Figures are medians of interleaved pairs; a ratio is ours / redis's in the same round. Needs redis-server and redis-tools.
set -u
cd "$(dirname "$0")/../.." || exit 1
for tool in redis-server redis-benchmark /usr/bin/python3; do
	command -v "$tool" >/dev/null || {
		echo "zdb bench: $tool is missing: run make deps-test"
		exit 0
	}
done
exec /usr/bin/python3 tests/bench/zdb.py "$@"

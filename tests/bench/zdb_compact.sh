#!/bin/bash
# Compaction: how fast it reads and what it gives back, and how long a GET waits meanwhile. MIB=256 (of data per row).
set -u
cd "$(dirname "$0")/../.." || exit 1
exec /usr/bin/python3 tests/bench/zdb_compact.py "$@"

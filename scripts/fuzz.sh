#!/bin/sh
# fuzz.sh SECONDS SUMFILE TARGET...: runs each libFuzzer target for so long. Inputs that were found interesting are kept in
# build/fuzz/<name>/corpus for the next run; seeds come from tests/fuzz/corpus/<name>/. An input that crashes is left beside them.
set -eu

seconds=$1 sum=$2
shift 2
passed=0 failed=0
begin=$(date +%s)
for target in "$@"; do
	name=${target##*/}
	name=${name#fuzz_}
	work=build/fuzz/$name
	mkdir -p "$work/corpus"
	seeds=
	[ ! -d "tests/fuzz/corpus/$name" ] || seeds=tests/fuzz/corpus/$name
	if ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 "$target" -max_total_time="$seconds" -timeout=10 \
		-rss_limit_mb=2048 -close_fd_mask=3 -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" $seeds </dev/null >"$work/log" 2>&1; then
		passed=$((passed + 1))
		echo "ok    $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") runs"
	else
		failed=$((failed + 1))
		echo "FAIL  $target"
		tail -n 40 "$work/log" | sed 's/^/      | /'
		echo "      log and input: $work/"
	fi
done
echo "fuzz: $passed passed, $failed failed in $(($(date +%s) - begin)) s"
[ -z "$sum" ] || echo "$passed $failed" >"$sum"
[ $failed = 0 ]

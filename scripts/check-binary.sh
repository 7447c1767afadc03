#!/bin/sh
# check-binary.sh FILE: what is shipped must start anywhere, as /init too: no interpreter, no shared library, position
# independent, relocations read-only, stack not executable.
set -eu

file=$1
fail()
{
	echo "check: $file: $*" >&2
	exit 1
}

program=$(LC_ALL=C readelf -hlW "$file")
dynamic=$(LC_ALL=C readelf -dW "$file")
echo "$program" | grep -q 'Type: *DYN' || fail "not position independent"
echo "$program" | grep -q INTERP && fail "wants an interpreter"
echo "$dynamic" | grep -q NEEDED && fail "wants shared libraries"
echo "$dynamic" | grep -q TEXTREL && fail "has text relocations"
echo "$program" | grep -q GNU_RELRO || fail "has no read-only relocations"
echo "$program" | grep 'GNU_STACK' | grep -q 'RW ' || fail "stack is executable or not marked"
echo "$program" | grep 'LOAD' | grep -q 'RWE' && fail "has a segment that is writable and executable"
exit 0

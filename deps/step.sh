#!/bin/sh
# step.sh NAME: fetches, unpacks and builds one library by its recipe; everything it says goes to $WORK/log/NAME.log.
. "$(dirname "$0")/common.sh"
. "$HERE/toolchain.sh"
set_toolchain "$SYS"

NAME=$1
LOG=$WORK/log/$NAME.log
start=$(date +%s)

sh "$HERE/fetch.sh" "$NAME"

# unpack NAME: fresh copy of a source tree in $WORK/src/NAME
unpack()
{
	archive=$DEPS_DL/$(lock_field "$1" file)
	source_is_good "$1" "$archive" || die "cannot use $archive: size or sha256 differ from deps/sources.lock"
	rm -rf "$WORK/src/$1"
	mkdir -p "$WORK/src/$1"
	tar -xf "$archive" -C "$WORK/src/$1" --strip-components=1
}

# compile "FLAGS" SOURCE...: compiles plain C and assembly files, in parallel within the jobs of the whole build, and adds the
# objects to OBJECTS. Objects get names from the whole path: base names are not unique.
OBJECTS=
compile()
{
	FLAGS=$1
	export FLAGS OPT
	shift
	new=
	: >objects.mk
	for source in "$@"; do
		object=$(echo "${source%.[cS]}" | tr / _).o
		printf '%s: %s\n\t@echo $@; $$CC $$OPT $$FLAGS -c $< -o $@\n' "$object" "$source" >>objects.mk
		new="$new $object"
	done
	echo "all: $new" >>objects.mk
	make -f objects.mk all
	OBJECTS="$OBJECTS $new"
}

# archive LIB: a static library in the prefix from OBJECTS
archive()
{
	rm -f "$SYS/lib/$1"
	$AR rcsD "$SYS/lib/$1" $OBJECTS
}

run_recipe()
{
	unpack "$NAME"
	cd "$WORK/src/$NAME"
	OPT="$OPT -ffile-prefix-map=$WORK/src/=deps/"
	. "$HERE/recipes/$NAME.sh"
}

# `set -e` does not act inside a condition, hence a shell of its own for the recipe.
set +e
(set -e; run_recipe) >"$LOG" 2>&1
rc=$?
set -e
[ $rc = 0 ] || { tail -n 20 "$LOG" >&2; die "cannot build $NAME: its log is $LOG"; }
echo "deps: built $NAME $(lock_field "$NAME" version) in $(($(date +%s) - start)) s"

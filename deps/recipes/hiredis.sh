# RESP client.
compile "" alloc.c net.c hiredis.c sds.c async.c read.c sockcompat.c
archive libhiredis.a
mkdir -p "$SYS/include/hiredis"
cp hiredis.h read.h sds.h alloc.h async.h "$SYS/include/hiredis/"

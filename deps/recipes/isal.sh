# Erasure code and checksums. CFLAGS and ASFLAGS must stay unset: they would drop the feature level that its makefile probes.
unset CFLAGS ASFLAGS
units="erasure_code crc mem raid"
case $ARCH in
x86_64) make -f Makefile.unx lib units="$units" CFLAGS_="$OPT" CC="$CC" AR="$AR" ;;
aarch64) make -f Makefile.unx lib units="$units" CFLAGS_aarch64="$OPT" arch=aarch64 host_cpu=aarch64 CC="$CC" AR="$AR" ;;
esac
cp bin/isa-l.a "$SYS/lib/libisal.a"
mkdir -p "$SYS/include/isa-l"
cp include/crc.h include/crc64.h include/erasure_code.h include/gf_vect_mul.h include/mem_routines.h include/raid.h \
	"$SYS/include/isa-l/"
for header in crc.h crc64.h erasure_code.h gf_vect_mul.h mem_routines.h raid.h; do
	echo "#include <isa-l/$header>"
done >"$SYS/include/isa-l.h"

# The C library. Debian's patches hold the iconv (CVE-2025-26519) and qsort fixes and renameat2: every one must apply.
sh "$HERE/fetch.sh" musl-debian
unpack musl-debian
while read -r patch; do
	case $patch in '' | \#*) continue ;; esac
	patch -s -p1 <"$WORK/src/musl-debian/patches/$patch"
done <"$WORK/src/musl-debian/patches/series"

# The wrapper does not exist yet, and musl wants neither stack protector nor LTO.
CC=${CROSS_COMPILE:-}gcc CROSS_COMPILE=${CROSS_COMPILE:-} CFLAGS="-O2 -pipe -ffunction-sections -fdata-sections" \
	./configure --prefix="$SYS" --disable-shared --disable-wrapper --target="$ARCH"
make
make install

# Kernel headers only: nothing of the host's C library may leak in.
case $ARCH in
"$(uname -m)") kernel=/usr/include asm=/usr/include/$(gcc -dumpmachine)/asm ;;
*) kernel=/usr/$ARCH-linux-gnu/include asm=$kernel/asm ;;
esac
cp -rL "$kernel/linux" "$kernel/asm-generic" "$kernel/mtd" "$SYS/include/"
cp -rL "$asm" "$SYS/include/asm"
write_toolchain "$SYS"

# HTTP server: plain requests over epoll, nothing else; built for size.
case $KIND in
musl) host=--host=$ARCH-linux-musl ;;
asan) host= ;;
esac
./configure $host --prefix="$SYS" --disable-shared --enable-static --with-pic --disable-doc --disable-examples --disable-tools \
	--disable-curl --disable-https --disable-bauth --disable-dauth --disable-postprocessor --disable-httpupgrade \
	--disable-cookie --enable-epoll=yes --enable-threads=posix --disable-nls CC="$CC" CFLAGS="$OPT -Os"
make -C src/microhttpd libmicrohttpd.la
cp src/microhttpd/.libs/libmicrohttpd.a "$SYS/lib/"
cp src/include/microhttpd.h "$SYS/include/"

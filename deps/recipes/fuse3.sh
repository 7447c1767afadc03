# FUSE. Its versioned symbols mean nothing in an archive. The prefix is compiled in, hence /usr and a DESTDIR.
quote_list()
{
	for word in "$@"; do
		printf "'%s'," "$word"
	done
}
cat >cross.ini <<CROSS
[binaries]
c = '$CC'
cpp = '/bin/false'
ar = '$AR'
strip = '$STRIP'
[host_machine]
system = 'linux'
cpu_family = '$ARCH'
cpu = '$ARCH'
endian = 'little'
[built-in options]
c_args = [$(quote_list $OPT -DHAVE_PTHREAD_SETNAME_NP)]
CROSS
[ "$KIND" = asan ] || echo "c_link_args = ['-static']" >>cross.ini
meson setup build --cross-file cross.ini --buildtype=plain --prefix=/usr --libdir=lib -Ddefault_library=static -Db_lundef=false \
	-Dutils=false -Dexamples=false -Dtests=false -Ddisable-mtab=true -Ddisable-libc-symbol-version=true
DESTDIR=$PWD/out ninja -C build -j2 install
cp out/usr/lib/libfuse3.a "$SYS/lib/"
cp out/usr/include/fuse3/*.h "$SYS/include/"

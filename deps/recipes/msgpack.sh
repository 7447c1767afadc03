# MessagePack, for an optional feature.
sed -e 's/@MSGPACK_ENDIAN_BIG_BYTE@/0/' -e 's/@MSGPACK_ENDIAN_LITTLE_BYTE@/1/' cmake/sysdep.h.in >include/msgpack/sysdep.h
cp cmake/pack_template.h.in include/msgpack/pack_template.h
sed -i -e 's/@MSGPACK_ENDIAN_BIG_BYTE@/0/' -e 's/@MSGPACK_ENDIAN_LITTLE_BYTE@/1/' include/msgpack/pack_template.h
compile "-Iinclude" src/*.c
archive libmsgpackc.a
cp -r include/msgpack include/msgpack.h "$SYS/include/"

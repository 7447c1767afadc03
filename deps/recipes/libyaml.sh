# YAML reader and writer, built for size.
compile '-Iinclude -DYAML_VERSION_MAJOR=0 -DYAML_VERSION_MINOR=2 -DYAML_VERSION_PATCH=5
	-DYAML_VERSION_STRING="0.2.5" -DYAML_DECLARE_STATIC -Os -w' src/*.c
archive libyaml.a
cp include/yaml.h "$SYS/include/"

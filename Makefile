# qsfs: one static binary. `make help` lists what can be made.
#
# Everything generated is below build/. KIND says for what: `musl` is what is shipped (build/<arch>/), `asan` is the same code
# and the same third-party sources built by clang with sanitizers for the tests (build/asan/).
ARCH    ?= $(shell uname -m)
KIND    ?= musl
VERSION := $(shell cat VERSION)
PREFIX  ?= /usr/local
DESTDIR ?=
V       ?= 0

comma := ,
BUILD := build
ifeq ($(KIND),musl)
OUT := $(BUILD)/$(ARCH)
else
OUT := $(BUILD)/$(KIND)
endif
GEN  := $(OUT)/generated
OBJ  := $(OUT)/obj
SYS  := $(OUT)/sysroot
SHOW := $(if $(filter 1,$(V)),,@)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-builtin-variables

# ---- configuration -------------------------------------------------------------------------------------------------------

NO_CONFIG_GOALS := clean distclean help deps deps-test deps-verify menuconfig defconfig savedefconfig %_defconfig fmt lint-rings
ifneq ($(filter-out $(NO_CONFIG_GOALS),$(or $(MAKECMDGOALS),all)),)
include $(GEN)/auto.conf
endif

# ---- rooms ---------------------------------------------------------------------------------------------------------------

upper = $(subst -,_,$(shell echo '$1' | tr a-z A-Z))
rooms_in = $(sort $(patsubst %/,%,$(dir $(wildcard $1/*/*.c))))

# A room without Config.in is always built, one with it if its switch is on.
enabled = $(if $(wildcard $1/Config.in),$(filter y,$(CONFIG_APPLET_$(call upper,$(notdir $1)))),y)

CORE_ROOMS   := $(call rooms_in,core)
APPLET_ROOMS := $(foreach room,$(call rooms_in,applets),$(if $(call enabled,$(room)),$(room)))

# room.mk names the files that depend on a switch: obj-$(CONFIG_FEATURE) += file.o. All others are always built.
define load_room
obj-y :=
obj-n :=
obj- :=
-include $1/room.mk
OFF_$1 := $$(patsubst %.o,$1/%.c,$$(filter-out $$(obj-y),$$(obj-n) $$(obj-)))
endef
$(foreach room,$(CORE_ROOMS) $(APPLET_ROOMS),$(eval $(call load_room,$(room))))
room_sources = $(filter-out $(OFF_$1),$(wildcard $1/*.c))

CORE_SRC   := $(foreach room,$(CORE_ROOMS),$(call room_sources,$(room)))
APPLET_SRC := $(foreach room,$(APPLET_ROOMS),$(call room_sources,$(room)))
MAIN_SRC   := $(wildcard applets/*.c)
# Tests are called after their room; those of a room that is switched off go with it.
OFF_ROOMS  := $(filter-out $(notdir $(APPLET_ROOMS)),$(notdir $(call rooms_in,applets)))
UNIT_SRC   := $(filter-out $(OFF_ROOMS:%=tests/unit/%_%.c),$(sort $(wildcard tests/unit/*.c)))
FUZZ_SRC   := $(sort $(wildcard tests/fuzz/fuzz_*.c))

CORE_OBJ   := $(CORE_SRC:%.c=$(OBJ)/%.o)
APPLET_OBJ := $(APPLET_SRC:%.c=$(OBJ)/%.o)
MAIN_OBJ   := $(MAIN_SRC:%.c=$(OBJ)/%.o) $(OBJ)/generated/registry.o
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(OUT)/tests/unit/%)
FUZZ_BIN   := $(FUZZ_SRC:tests/fuzz/%.c=$(OUT)/tests/fuzz/%)
CORE_LIB   := $(OUT)/libqsfs-core.a
APPLET_LIB := $(OUT)/libqsfs-applets.a

# ---- compilers and flags -------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wformat=2 -Wundef \
	-Wdate-time -Wno-format-truncation
CPPFLAGS_OUR := -I. -I$(GEN) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=317
CFLAGS_COMMON := -std=gnu11 -g -pipe -fPIE -ffunction-sections -fdata-sections -ffile-prefix-map=$(CURDIR)=.

# PARTIAL=1 links although functions are missing (calling one is a crash): for a tree in which rooms are still being built.
# The tests never do.
PARTIAL ?= 0
LINK_STRICT := $(if $(filter 1,$(PARTIAL)),-Wl$(comma)--warn-unresolved-symbols,-Wl$(comma)--fatal-warnings)

ifeq ($(KIND),musl)
CC := $(SYS)/bin/qcc
AR := $(CROSS_COMPILE)gcc-ar
HARDEN := -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero $(if $(filter x86_64,$(ARCH)),-fcf-protection)
# Nothing unwinds the stack at run time: debuggers find .debug_frame in the unstripped file, and the program is 5 % smaller.
CFLAGS_OUR := $(CFLAGS_COMMON) -O2 -fno-asynchronous-unwind-tables $(WARN) -Werror $(HARDEN)
LDFLAGS_OUR := -static-pie -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,-z,stack-size=1048576 $(LINK_STRICT)
LDLIBS_END :=
else
CC := clang
AR := ar
SANITIZE := -fsanitize=address,undefined -fno-sanitize=function
CPPFLAGS_OUR += -isystem $(SYS)/include
CFLAGS_OUR := $(CFLAGS_COMMON) -O1 -Wall -Wno-string-plus-int -fno-omit-frame-pointer $(SANITIZE) -fno-sanitize-recover=undefined -fsanitize=fuzzer-no-link
LDFLAGS_OUR := $(SANITIZE) -L$(SYS)/lib $(LINK_STRICT)
LDLIBS_END := -lpthread -lm
endif
LIBS := -lfuse3 -lmicrohttpd -lhiredis -lerasurecode -lisal -lzstd -lsodium -lmbedcrypto -lyaml -lyyjson -linih \
	$(if $(CONFIG_MSGPACK),-lmsgpackc) $(LDLIBS_END)

# ---- the program ---------------------------------------------------------------------------------------------------------

ifeq ($(KIND),musl)
all: $(BUILD)/qsfs
$(BUILD)/qsfs: $(OUT)/qsfs
	@ln -sfn $(ARCH)/qsfs $@
else
all: $(OUT)/qsfs
endif

# Objects, not archives: the link map then tells the rooms apart, and what is missing shows even where nobody calls it yet.
PROGRAM_OBJ := $(MAIN_OBJ) $(APPLET_OBJ) $(CORE_OBJ)

$(OUT)/qsfs.unstripped: $(PROGRAM_OBJ) $(OUT)/link-flags $(OUT)/rooms Makefile
	@echo '  LINK    $@'
	$(SHOW)$(CC) $(LDFLAGS_OUR) -Wl,-Map=$(OUT)/qsfs.map -o $@ $(PROGRAM_OBJ) $(LIBS)

ifeq ($(KIND),musl)
$(OUT)/qsfs: $(OUT)/qsfs.unstripped scripts/check-binary.sh
	$(SHOW)$(CROSS_COMPILE)strip -o $@.part $<
	$(SHOW)sh scripts/check-binary.sh $@.part
	$(SHOW)mv $@.part $@
	@echo "  BUILT   $@ $$(stat -c %s $@) bytes"
else
$(OUT)/qsfs: $(OUT)/qsfs.unstripped
	$(SHOW)ln -sf qsfs.unstripped $@
endif

# For the tests. Made anew, so that no object of a file that is gone or switched off stays inside; appended (q), because base
# names of different rooms may be equal.
$(CORE_LIB): $(CORE_OBJ) $(OUT)/rooms
$(APPLET_LIB): $(APPLET_OBJ) $(OBJ)/generated/registry.o $(OUT)/rooms
$(CORE_LIB) $(APPLET_LIB):
	@echo '  AR      $@'
	$(SHOW)rm -f $@
	$(SHOW)$(AR) qcsD $@ $(filter %.o,$^)

$(OBJ)/%.o: %.c $(OUT)/flags $(OUT)/sysroot.path | $(GEN)/autoconf.h $(GEN)/build_info.h
	@mkdir -p $(@D)
	@echo '  CC      $<'
	$(SHOW)$(CC) $(CPPFLAGS_OUR) $(CFLAGS_OUR) -MMD -MP -c $< -o $@

$(OBJ)/generated/%.o: $(GEN)/%.c $(OUT)/flags $(OUT)/sysroot.path
	@mkdir -p $(@D)
	$(SHOW)$(CC) $(CPPFLAGS_OUR) $(CFLAGS_OUR) -MMD -MP -c $< -o $@

-include $(CORE_OBJ:.o=.d) $(APPLET_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(UNIT_SRC:%.c=$(OBJ)/%.d)

# ---- what is generated ---------------------------------------------------------------------------------------------------

# update FILE: writes standard input to FILE if that changes it, so that nothing is rebuilt for nothing
update = { mkdir -p $(dir $1) && cat >$1.new && { cmp -s $1.new $1 && rm -f $1.new || mv $1.new $1; }; }

CONFIG_FILES := $(sort $(wildcard Config.in core/*/Config.in applets/*/Config.in))

$(BUILD)/Config.rooms: FORCE
	@sh scripts/kconfig.sh rooms $(CONFIG_FILES) | $(call update,$@)

$(GEN)/auto.conf: $(BUILD)/Config.rooms $(CONFIG_FILES) scripts/kconfig.sh
	@sh scripts/kconfig.sh generate $(GEN)

$(GEN)/autoconf.h: $(GEN)/auto.conf ;

# A new or vanished file, or a changed flag, shows in these.
$(OUT)/rooms: FORCE
	@echo $(CORE_SRC) $(APPLET_SRC) $(MAIN_SRC) | $(call update,$@)
$(OUT)/flags: FORCE
	@echo '$(CC) $(CPPFLAGS_OUR) $(CFLAGS_OUR)' | $(call update,$@)
$(OUT)/link-flags: FORCE
	@echo '$(LDFLAGS_OUR) $(LIBS)' | $(call update,$@)

$(GEN)/registry.c: FORCE
	@sh scripts/registry.sh $(APPLET_SRC) | $(call update,$@)
$(GEN)/build_info.h: FORCE
	@sh scripts/build-info.sh $(VERSION) $(ARCH) $(KIND) $(GEN)/auto.conf | $(call update,$@)

# ---- third-party libraries and host tools --------------------------------------------------------------------------------

DEPS_ENV = WITH_MSGPACK=$(if $(CONFIG_MSGPACK),1,0)

$(OUT)/sysroot.path: FORCE
	@sh scripts/host-tools.sh $(if $(filter asan,$(KIND)),asan,build)
	+@$(DEPS_ENV) sh deps/build.sh $(ARCH) $(KIND) $(SYS)
	@readlink $(SYS) | $(call update,$@)

deps:
	@sh scripts/host-tools.sh build
	+@sh deps/build.sh $(ARCH) musl $(BUILD)/$(ARCH)/sysroot
deps-test:
	@sh scripts/host-tools.sh build asan test
deps-verify:
	@sh deps/verify.sh

# ---- tests ---------------------------------------------------------------------------------------------------------------

include tests/tests.mk

# ---- the rest ------------------------------------------------------------------------------------------------------------

KCONFIG = sh scripts/kconfig.sh
menuconfig defconfig savedefconfig: $(BUILD)/Config.rooms
	@$(KCONFIG) $@
%_defconfig: $(BUILD)/Config.rooms
	@$(KCONFIG) use configs/$*

fmt:
	@clang-format -i $(wildcard core/*/*.[ch] applets/*.[ch] applets/*/*.[ch] tests/*/*.[ch] deps/shim/*.[ch])

lint: all
	@perl scripts/lint.pl $(OBJ)

size: all
	@perl scripts/size.pl $(OUT)/qsfs.map $(OUT)/qsfs

run: all
	@mkdir -p run/mnt
	$(BUILD)/qsfs up --data ./run/data --mount ./run/mnt --foreground

install: all
	@sh scripts/install.sh $(BUILD)/qsfs '$(DESTDIR)' '$(PREFIX)' '$(ROOTFS)'

clean:
	rm -rf $(BUILD)/$(ARCH) $(BUILD)/asan $(BUILD)/config $(BUILD)/qsfs $(BUILD)/Config.rooms
# The downloads and built libraries go too; .config stays.
distclean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^#: //p' Makefile tests/tests.mk

#: make                 build/qsfs, one static binary (third-party libraries are built on first use)
#: make run             build, start a volume in ./run and stay in the foreground; Ctrl-C drains and stops
#: make install         binary, links, man pages, completion; DESTDIR= PREFIX=/usr/local ROOTFS=1 (overlay of a node's image)
#: make menuconfig      choose applets and features; also: defconfig savedefconfig mini_defconfig
#: make deps            install missing host tools (root, apt) and build the third-party libraries
#: make deps-test       the same for what the tests need
#: make deps-verify     compare deps/sources.lock with Debian's signed package index
#: make size            bytes per room and per library
#: make lint fmt        rules of the house; clang-format
#: make clean distclean what was built; the cached libraries and downloads too
#:                      V=1 shows commands, DEPS_DIR=DIR takes sources from a directory, DEPS_CACHE=DIR shares the cache

FORCE:
.PHONY: all FORCE deps deps-test deps-verify menuconfig defconfig savedefconfig fmt lint size run install clean distclean help

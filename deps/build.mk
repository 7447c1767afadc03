# Order and parallelism of the dependency build; called by build.sh with ARCH, KIND, WORK, SYS in the environment.
# Every library is one recipe in recipes/, and needs the C library first in the musl build.
LIBS := inih hiredis zstd xxhash libsodium isal liberasurecode fuse3 libyaml yyjson microhttpd mbedtls cmocka
ifeq ($(WITH_MSGPACK),1)
LIBS += msgpack
endif
DONE := $(WORK)/done

all: $(addprefix $(DONE)/,$(LIBS))

ifeq ($(KIND),musl)
$(addprefix $(DONE)/,$(LIBS)): $(DONE)/musl
endif
# its shim calls ISA-L
$(DONE)/liberasurecode: $(DONE)/isal

# The longest ones first.
all: | $(DONE)/libsodium $(DONE)/microhttpd
$(DONE)/%: | $(DONE)
	+@sh $(HERE)/step.sh $* && touch $@

$(DONE):
	@mkdir -p $@

.PHONY: all
.DELETE_ON_ERROR:

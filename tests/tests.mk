# Tests. Included by the Makefile. Time budgets are for two cores.
#
#: make test            everything that must hold (20 min); ends with "N passed, N failed"
#: make test-unit       unit tests (2 min); T=zdb_engine: only those with this in their name
#: make test-story      whole programs (10 min): tests/{story,compat,posix,crash,boot}/*.t; T= as above
#: make test-asan       the unit tests under sanitizers (5 min, of which 3 for its libraries, once)
#: make test-config     builds of parts: zdb alone, zinit alone, all without FUSE (1 min the first time)
#: make fuzz            every fuzz target for SECONDS=10; T= as above
#: make asan            build/asan/qsfs, the program under sanitizers
#: make bench           tables of measured figures; never part of a test

JOBS    ?= $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),$(shell nproc))
SECONDS ?= 10
SUM     ?=
TIMEOUT ?= 300

selected    = $(if $(T),$(foreach x,$1,$(if $(findstring $(T),$(notdir $x)),$x)),$1)
STORY_TESTS := $(sort $(wildcard tests/story/*.t tests/compat/*.t tests/posix/*.t tests/crash/*.t tests/boot/*.t))
RUN_TESTS    = perl scripts/run-tests.pl -j $(JOBS) -l $(OUT)/test-logs $(if $(SUM),-s $(SUM))

# What unit tests put in place of the system (faults, a disk whose power can be cut); only what a test uses is linked.
SUPPORT_SRC := $(sort $(wildcard tests/unit/support/*.c))
SUPPORT_OBJ := $(SUPPORT_SRC:%.c=$(OBJ)/%.o)
SUPPORT_LIB := $(OUT)/tests/libsupport.a
-include $(SUPPORT_OBJ:.o=.d)

$(SUPPORT_LIB): $(SUPPORT_OBJ) $(OUT)/rooms
	@mkdir -p $(@D)
	@echo '  AR      $@'
	$(SHOW)rm -f $@
	$(SHOW)$(AR) rcsD $@ $(filter %.o,$^)

# A unit test is one file and one program; it sees every object of the tree but main.
$(OUT)/tests/unit/%: $(OBJ)/tests/unit/%.o $(APPLET_LIB) $(CORE_LIB) $(SUPPORT_LIB) $(OUT)/link-flags
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(SHOW)$(CC) $(LDFLAGS_OUR) -o $@ $< -Wl,--start-group $(SUPPORT_LIB) $(APPLET_LIB) $(CORE_LIB) -Wl,--end-group -lcmocka $(LIBS)

unit-bins: $(UNIT_BIN)

test-unit: $(call selected,$(UNIT_BIN))
	@$(RUN_TESTS) -t $(TIMEOUT) unit $^

test-story: all
	@QSFS='$(CURDIR)/$(BUILD)/qsfs' $(RUN_TESTS) -t 1200 story $(call selected,$(STORY_TESTS))

# Sanitizers: this makefile once more, with the other kind of build.
asan:
	+@$(MAKE) --no-print-directory KIND=asan all unit-bins

test-asan:
	+@ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(MAKE) --no-print-directory KIND=asan test-unit

test-config:
	+@MAKE='$(MAKE)' SUM='$(SUM)' sh scripts/test-config.sh $(BUILD)/config

# A fuzz target may include the .c file under test; what it defines itself is then not taken from the archives.
$(OUT)/tests/fuzz/%: $(OBJ)/tests/fuzz/%.o $(APPLET_LIB) $(CORE_LIB)
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(SHOW)$(CC) $(LDFLAGS_OUR) -fsanitize=fuzzer -o $@ $< -Wl,--start-group $(APPLET_LIB) $(CORE_LIB) -Wl,--end-group $(LIBS)

fuzz-bins: $(call selected,$(FUZZ_BIN))

fuzz:
	+@$(MAKE) --no-print-directory KIND=asan fuzz-bins
	@sh scripts/fuzz.sh $(SECONDS) '$(SUM)' $(JOBS) $(patsubst tests/fuzz/%.c,$(BUILD)/asan/tests/fuzz/%,$(call selected,$(FUZZ_SRC)))

test:
	@sh scripts/host-tools.sh build asan test
	+@MAKE='$(MAKE)' JOBS=$(JOBS) PARTIAL=0 sh scripts/test-all.sh

# Programs that measure: tables of their own, or requests for a server.
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
BENCH_BIN := $(BENCH_SRC:tests/bench/%.c=$(OUT)/tests/bench/%)
-include $(BENCH_SRC:%.c=$(OBJ)/%.d)

$(OUT)/tests/bench/%: $(OBJ)/tests/bench/%.o $(CORE_LIB) $(OUT)/link-flags
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(SHOW)$(CC) $(LDFLAGS_OUR) -o $@ $< -Wl,--start-group $(CORE_LIB) -Wl,--end-group $(LIBS)

bench: all $(BENCH_BIN)
	@for b in $(call selected,$(sort $(wildcard tests/bench/*.sh))); do \
		echo "== $$b"; QSFS='$(CURDIR)/$(BUILD)/qsfs' BENCH_BIN='$(CURDIR)/$(OUT)/tests/bench' bash $$b || exit 1; echo; done

-include $(FUZZ_SRC:%.c=$(OBJ)/%.d)
.PHONY: unit-bins fuzz-bins test-unit test-story asan test-asan test-config fuzz test bench
.SECONDARY: $(BENCH_SRC:%.c=$(OBJ)/%.o) $(UNIT_SRC:%.c=$(OBJ)/%.o) $(FUZZ_SRC:%.c=$(OBJ)/%.o)

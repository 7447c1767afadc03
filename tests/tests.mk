# Tests. Included by the Makefile.
#
#: make test            everything that must hold; ends with "N passed, N failed"
#: make test-unit       unit tests of one room: T=zdb_engine (a part of the file's name)
#: make test-story      whole programs: T=zinit

unit_selected = $(if $(T),$(foreach b,$(UNIT_BIN),$(if $(findstring $(T),$(notdir $b)),$b)),$(UNIT_BIN))

$(OUT)/tests/unit/%: $(OBJ)/tests/unit/%.o $(APPLET_LIB) $(CORE_LIB)
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(SHOW)$(CC) $(LDFLAGS_OUR) -o $@ $< -Wl,--start-group $(APPLET_LIB) $(CORE_LIB) -Wl,--end-group -lcmocka $(LIBS)

unit-bins: $(UNIT_BIN)

test-unit: $(unit_selected)
	@perl scripts/run-tests.pl $(RUN_OPTS) unit $(unit_selected)

.PHONY: unit-bins test-unit
.SECONDARY: $(UNIT_SRC:%.c=$(OBJ)/%.o)

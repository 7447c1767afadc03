/* Arbitrary text to the INI reader: a sound tree, equal to itself when it is read twice, or a refusal with its sentence. */
#include <stdint.h>

#include "tests/fuzz/fuzz_cfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cfg_node *root = parse_checked(CFG_INI, (const char *)data, size);
	struct cfg_node *again = parse_checked(CFG_INI, (const char *)data, size);

	must(cfg_equal(root, again));
	cfg_free(root);
	cfg_free(again);
	return 0;
}

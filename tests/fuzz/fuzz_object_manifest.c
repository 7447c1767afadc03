/* Manifests: arbitrary bytes. What decodes is encoded again as the same bytes; what does not is refused by name. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/object/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf again = BUF_INIT(MANIFEST_MAX_BYTES);
	struct manifest m, copy;
	const char *what = NULL;

	manifest_init(&m);
	manifest_init(&copy);
	if (manifest_decode(data, size, &m, &what) == 0) {
		if (manifest_copy(&copy, &m) != 0 || manifest_encode(&copy, &again) != 0 ||
		    again.len != size || memcmp(again.data, data, size) != 0)
			abort();
	} else if (!what || m.ns) {
		abort();
	}
	manifest_release(&copy);
	manifest_release(&m);
	buf_release(&again);
	return 0;
}

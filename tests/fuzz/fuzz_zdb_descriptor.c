/* Arbitrary bytes as a namespace's descriptor, and through the decoder: what is decoded encodes to the same bytes. */
#include "tests/fuzz/fuzz_zdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct descriptor desc;
	struct mark mark;
	struct sums sums;
	uint8_t b[DESC_MAX];
	struct fuzz_dir d;
	char path[160];

	if (desc_decode(&desc, data, size) == 0) {
		size_t n = desc_encode(b, &desc);

		must(n <= size && memcmp(b, data, 14) == 0 && memcmp(b + 15, data + 15, n - 15) == 0);
	}
	if (mark_decode(&mark, data, size) == 0) {
		mark_encode(b, &mark);
		must(size == MARK_SIZE);
	}
	(void)sums_decode(&sums, data, size);
	fuzz_begin(&d);
	snprintf(path, sizeof(path), "%s/default", d.index);
	put_file(path, "zdb-namespace", data, size);
	fuzz_use(&d);
	fuzz_end(&d);
	return 0;
}

/* Arbitrary bytes as the index file i0, beside a data file with two whole records. */
#include "tests/fuzz/fuzz_zdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t records[] = "\x01\x02\0\0\0\0\0\0\0\x07\x4f\x1e\x14\0\x01\0\0\0av1"
					 "\x01\x02\0\0\0\x1c\0\0\0\xf3\xbc\x4e\x07\0\x02\0\0\0av2";
	uint8_t log[DAT_HEADER + sizeof(records) - 1], index[IDX_HEADER];
	struct fuzz_dir d;
	char path[160];

	fuzz_begin(&d);
	dat_header_encode(log, 0, 0);
	memcpy(log + DAT_HEADER, records, sizeof(records) - 1);
	snprintf(path, sizeof(path), "%s/default", d.data);
	put_file(path, "d0", log, sizeof(log));
	snprintf(path, sizeof(path), "%s/default", d.index);
	if (size > 0 && data[0] < 2) { /* a good header saves the fuzzer from finding it */
		uint8_t *b = malloc(sizeof(index) + size);

		must(b != NULL);
		idx_header_encode(b, 0, (enum zdb_mode)data[0]);
		memcpy(b + sizeof(index), data + 1, size - 1);
		put_file(path, "i0", b, sizeof(index) + size - 1);
		free(b);
	} else {
		put_file(path, "i0", data, size);
	}
	fuzz_use(&d);
	fuzz_end(&d);
	return 0;
}

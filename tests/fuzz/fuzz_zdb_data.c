/*
 * Arbitrary bytes as the log of d0: behind an index that knows nothing of it, with a marker of ours (first byte odd) or
 * without one, in either mode.
 */
#include "tests/fuzz/fuzz_zdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t index[IDX_HEADER], *log;
	struct fuzz_dir d;
	char path[160];

	if (size < 1)
		return 0;
	fuzz_begin(&d);
	log = malloc(DAT_HEADER + size);
	must(log != NULL);
	dat_header_encode(log, 0, 0);
	memcpy(log + DAT_HEADER, data + 1, size - 1);
	idx_header_encode(index, 0, (data[0] & 2) != 0 ? ZDB_SEQ : ZDB_USER);
	snprintf(path, sizeof(path), "%s/default", d.data);
	put_file(path, "d0", log, DAT_HEADER + size - 1);
	snprintf(path, sizeof(path), "%s/default", d.index);
	put_file(path, "i0", index, sizeof(index));
	if ((data[0] & 1) != 0)
		must(zdb_restore_mark(path, 0) == 0);
	fuzz_use(&d);
	free(log);
	fuzz_end(&d);
	return 0;
}

/*
 * What we write is read by an independent reader (tests/compat/native_reader.py, Python, standard library only): the stores'
 * values are written to files as they are, and it opens them from docs/formats.md alone. Skipped where there is no python3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/support/object_rig.h"
#include "tests/unit/support/sys_test.h"

#include "core/base/file.h"
#include "core/base/hex.h"
#include "core/crypto/aead.h"
#include "core/crypto/crypto.h"

#define READER "tests/compat/native_reader.py"

static uint8_t bytes[400000];
static struct rig rig;

static void put_file(const char *dir, const char *name, const void *data, size_t len)
{
	char path[FILE_PATH_MAX];

	assert_int_equal(file_mkdir_p(dir, 0700), 0);
	assert_int_equal(file_join(path, sizeof(path), dir, name), 0);
	assert_int_equal(file_create_atomic(path, 0600, data, len), 0);
}

static void put_store(const char *top, const struct rig_store *s)
{
	char dir[FILE_PATH_MAX], name[2 * OBJ_KEY_MAX_BYTES + 1];

	assert_int_equal(file_join(dir, sizeof(dir), top, s->label), 0);
	assert_int_equal(file_mkdir_p(dir, 0700), 0);
	for (size_t v = 0; v < s->count; v++)
		put_file(dir, hex_encode(name, s->values[v].key, s->values[v].key_len), s->values[v].bytes,
			 s->values[v].len);
}

/* Stores an object and what a reader must get. */
static void store_object(const char *top, unsigned k, unsigned n, unsigned cipher, uint64_t number,
			 size_t size, bool packs)
{
	struct obj_geometry g = {.k = k, .n = n, .stripe_log2 = 16, .value_log2 = 17, .aead = cipher};
	struct obj_source source = obj_source_memory(bytes, size);
	char dir[FILE_PATH_MAX], name[64];
	struct obj_report report;
	struct record_state st;
	struct record rec;
	struct obj_id id;

	rig_fill(bytes, size, (uint32_t)(number * 31 + size), packs);
	assert_int_equal(obj_id_set(&id, rig.generation, OBJ_SEGMENT, number, "zdbfs-data", 10), 0);
	record_init(&rec);
	assert_int_equal(obj_write(rig.work, rig.keys, &id, &g, rig.data_list, &source, &rec, &report), 0);
	assert_int_equal(record_store(&rig.meta, rig.work, &rec, &st), 0);
	record_release(&rec);
	assert_int_equal(file_join(dir, sizeof(dir), top, "expect"), 0);
	snprintf(name, sizeof(name), "1.%llu.zdbfs-data", (unsigned long long)number);
	put_file(dir, name, bytes, size);
}

static int run_reader(const char *top)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("python3", "python3", READER, top, (char *)NULL);
		_exit(77);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void an_independent_reader_gets_the_same_bytes(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 17, 4096, 65535, 65536, 65537, 131072, 200001};
	const char *top = test_dir_new();
	char path[FILE_PATH_MAX];
	uint64_t number = 0;
	int code;

	(void)state;
	if (access(READER, R_OK) != 0)
		skip();
	rig_start_volume(&rig, 6, 2, 4);
	for (unsigned cipher = AEAD_AES256GCM; cipher <= AEAD_XCHACHA20; cipher++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			store_object(top, i % 2 ? 4 : 2, i % 2 ? 6 : 4, cipher, number++, sizes[i], false);
	store_object(top, 4, 6, AEAD_AES256GCM, number++, 150000, true);
	store_object(top, 1, 2, AEAD_XCHACHA20, number++, 150000, true);
	assert_int_equal(file_join(path, sizeof(path), top, "volume.key"), 0);
	assert_int_equal(keyring_save(rig.keys, path, true), 0);
	for (unsigned i = 0; i < 6; i++)
		put_store(top, &rig.data[i]);
	for (unsigned i = 0; i < 4; i++)
		put_store(top, &rig.metas[i]);
	code = run_reader(top);
	rig_stop(&rig);
	test_dir_remove(top);
	if (code == 77)
		skip(); /* no python3 */
	assert_int_equal(code, 0);
}

static int begin(void **state)
{
	(void)state;
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_independent_reader_gets_the_same_bytes),
	};

	return cmocka_run_group_tests_name("object_reader", tests, begin, NULL);
}

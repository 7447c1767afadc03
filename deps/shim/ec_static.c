/*
 * The backends that are linked in: liberasurecode asks for them by library and symbol name. A library that is not in the table
 * cannot be opened, which liberasurecode reports as "backend not available".
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "erasure_code.h"

void init_liberasurecode_rs_vand(int k, int m);
void deinit_liberasurecode_rs_vand(void);
int *make_systematic_matrix(int k, int m);
void free_systematic_matrix(int *matrix);
int liberasurecode_rs_vand_encode();
int liberasurecode_rs_vand_decode();
int liberasurecode_rs_vand_reconstruct();

void *ec_static_open(const char *soname, int flags);
void *ec_static_symbol(void *handle, const char *name);
int ec_static_close(void *handle);
char *ec_static_error(void);

struct linked_symbol {
	const char *so_prefix; /* prefix of the shared object's name; its address is the handle */
	const char *name;
	void *address;
};

#define ISAL(symbol)                                                                                         \
	{                                                                                                    \
		"libisal", #symbol, (void *)(uintptr_t)symbol                                                \
	}
#define RS_VAND(symbol)                                                                                      \
	{                                                                                                    \
		"liberasurecode_rs_vand", #symbol, (void *)(uintptr_t)symbol                                 \
	}

static const struct linked_symbol linked[] = {
	ISAL(ec_encode_data),
	ISAL(ec_init_tables),
	ISAL(gf_gen_rs_matrix),
	ISAL(gf_gen_cauchy1_matrix),
	ISAL(gf_invert_matrix),
	ISAL(gf_mul),
	RS_VAND(init_liberasurecode_rs_vand),
	RS_VAND(deinit_liberasurecode_rs_vand),
	RS_VAND(make_systematic_matrix),
	RS_VAND(free_systematic_matrix),
	RS_VAND(liberasurecode_rs_vand_encode),
	RS_VAND(liberasurecode_rs_vand_decode),
	RS_VAND(liberasurecode_rs_vand_reconstruct),
};

#define LINKED_COUNT (sizeof linked / sizeof linked[0])

void *ec_static_open(const char *soname, int flags)
{
	(void)flags;
	for (size_t i = 0; soname && i < LINKED_COUNT; i++)
		if (!strncmp(soname, linked[i].so_prefix, strlen(linked[i].so_prefix)))
			return (void *)(uintptr_t)linked[i].so_prefix;
	return NULL;
}

void *ec_static_symbol(void *handle, const char *name)
{
	for (size_t i = 0; handle && i < LINKED_COUNT; i++)
		if (!strcmp(handle, linked[i].so_prefix) && !strcmp(name, linked[i].name))
			return linked[i].address;
	return NULL;
}

int ec_static_close(void *handle)
{
	(void)handle;
	return 0;
}

char *ec_static_error(void)
{
	static char text[] = "backend not linked into this program";

	return text;
}

/*
 * mem: allocation through a table that tests replace. No pools, no statistics: those belong to the rooms that need them.
 */
#include "core/base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"

static void *libc_zalloc(size_t size)
{
	return calloc(1, size);
}

static void *libc_aligned(size_t align, size_t size)
{
	void *ptr = NULL;
	int rc = posix_memalign(&ptr, align, size);

	if (rc) {
		errno = rc;
		return NULL;
	}
	return ptr;
}

const struct mem_ops mem_table_libc = {
	.alloc = malloc,
	.zalloc = libc_zalloc,
	.realloc = realloc,
	.aligned = libc_aligned,
	.free = free,
};

const struct mem_ops *mem_table = &mem_table_libc;

/* malloc(0) may be NULL; here NULL always means that there is no memory. */
static size_t at_least_one(size_t size)
{
	return size ? size : 1;
}

void *mem_alloc(size_t size)
{
	return mem_table->alloc(at_least_one(size));
}

void *mem_calloc(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return mem_table->zalloc(at_least_one(bytes));
}

void *mem_realloc(void *ptr, size_t size)
{
	return mem_table->realloc(ptr, at_least_one(size));
}

void *mem_realloc_array(void *ptr, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return mem_realloc(ptr, bytes);
}

void *mem_aligned(size_t align, size_t size)
{
	return mem_table->aligned(align, at_least_one(size));
}

void mem_free(void *ptr)
{
	mem_table->free(ptr);
}

void *mem_dup(const void *data, size_t len)
{
	void *copy = mem_alloc(len);

	if (copy && len)
		memcpy(copy, data, len);
	return copy;
}

char *mem_strdup(const char *text)
{
	return mem_dup(text, strlen(text) + 1);
}

char *mem_strndup(const char *text, size_t max)
{
	size_t len = strnlen(text, max);
	char *copy = mem_alloc(len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

static char *fmt_v(const char *format, va_list ap)
{
	va_list again;
	char *text = NULL;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, format, ap);
	if (len >= 0)
		text = mem_alloc((size_t)len + 1);
	if (text)
		vsnprintf(text, (size_t)len + 1, format, again);
	va_end(again);
	return text;
}

char *mem_fmt(const char *format, ...)
{
	va_list ap;
	char *text;

	va_start(ap, format);
	text = fmt_v(format, ap);
	va_end(ap);
	return text;
}

void mem_wipe(void *data, size_t len)
{
	if (data && len)
		explicit_bzero(data, len);
}

void mem_free_wiped(void *data, size_t len)
{
	mem_wipe(data, len);
	mem_free(data);
}

static void *or_die(void *ptr)
{
	if (!ptr)
		die(1, "out of memory");
	return ptr;
}

void *xmem_calloc(size_t count, size_t size)
{
	return or_die(mem_calloc(count, size));
}

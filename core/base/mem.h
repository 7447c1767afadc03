/*
 * mem: allocation that can be made to fail.
 *
 * Everything in core/ and in the applets allocates through these functions, so that a test can fail the n-th
 * allocation. Memory from here is released with mem_free() only; memory from a library (strdup, yyjson) with the
 * library's own function. Thread-safe.
 */
#ifndef CORE_BASE_MEM_H
#define CORE_BASE_MEM_H

#include <stddef.h>

struct mem_ops {
	void *(*alloc)(size_t size);
	void *(*zalloc)(size_t size);
	void *(*realloc)(void *ptr, size_t size);
	void *(*aligned)(size_t align, size_t size);
	void (*free)(void *ptr);
};

extern const struct mem_ops *mem_table;     /* the table in use; set by tests only */
extern const struct mem_ops mem_table_libc; /* the default */

/*
 * Each returns NULL when there is no memory (errno is ENOMEM). A size of 0 gives a pointer that may only be freed.
 * mem_calloc and mem_realloc_array return NULL when count * size overflows. mem_calloc zeroes; mem_realloc keeps the
 * old block when it fails. mem_aligned: `align` is a power of two of at least sizeof(void *).
 */
void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *mem_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *mem_realloc(void *ptr, size_t size) __attribute__((alloc_size(2)));
void *mem_realloc_array(void *ptr, size_t count, size_t size) __attribute__((alloc_size(2, 3)));
void *mem_aligned(size_t align, size_t size) __attribute__((malloc, alloc_size(2)));
void mem_free(void *ptr);

/* Copies: of `len` bytes, of a string, of at most `max` characters of a string (always terminated), of a formatted text. */
void *mem_dup(const void *data, size_t len);
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t max);
char *mem_fmt(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Zeroes memory that held a secret; the compiler does not remove it. mem_free_wiped: wipes, then frees; NULL is fine. */
void mem_wipe(void *data, size_t len);
void mem_free_wiped(void *data, size_t len);

/*
 * For start-up code and one-shot commands only: the same, but prints "who: out of memory" and exits with 1 instead of
 * returning NULL. Never call these where a daemon's loop can reach them.
 */
void *xmem_calloc(size_t count, size_t size);

#endif

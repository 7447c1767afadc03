/*
 * Stands in for <dlfcn.h> while liberasurecode is compiled: its backends are linked into the program, not loaded, so opening
 * one is a search in a constant table (ec_static.c).
 */
#ifndef EC_STATIC_DLFCN_H
#define EC_STATIC_DLFCN_H

#define RTLD_LAZY  1
#define RTLD_LOCAL 0

void *ec_static_open(const char *soname, int flags);
void *ec_static_symbol(void *handle, const char *name);
int ec_static_close(void *handle);
char *ec_static_error(void);

#define dlopen  ec_static_open
#define dlsym   ec_static_symbol
#define dlclose ec_static_close
#define dlerror ec_static_error

#endif

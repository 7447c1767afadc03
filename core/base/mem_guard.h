/*
 * mem_guard: reading mapped files without dying of them.
 *
 * A page of a mapped file that cannot be brought (the disk fails, somebody has cut the file) raises SIGBUS where it is read. Inside a
 * guarded run that is an answer, not the end of the process.
 */
#ifndef CORE_BASE_MEM_GUARD_H
#define CORE_BASE_MEM_GUARD_H

#include <stdbool.h>

/*
 * Takes the process's SIGBUS: to be called before threads start, and after whoever else wants that signal has taken it. A fault outside
 * a guarded run, and a SIGBUS that somebody sends, go to the handler that was there before, or do what they did by default. Calling
 * it again changes nothing. 0 or a negative code.
 */
int mem_guard_install(void);

/*
 * Calls fn(ctx). False: a page could not be read, and fn was left at that point; what it had written until then stays as it is.
 * Any thread that does not block SIGBUS; runs may be nested. fn must hold nothing then: no lock, no memory, no descriptor of its own.
 */
bool mem_guard_run(void (*fn)(void *ctx), void *ctx);

#endif

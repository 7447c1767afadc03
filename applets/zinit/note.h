/*
 * note: the supervisor's own log lines, in the original's form: "zinit: LEVEL (module) message" on standard output and,
 * as PID 1 of a machine, also in the kernel's log. Also the last lines of `zinit log` name them.
 */
#ifndef ZINIT_NOTE_H
#define ZINIT_NOTE_H

#include <stdbool.h>

#include "core/base/log.h"

/* Lines go to standard output, and with is_kernel to /dev/kmsg too (when that can be opened). */
void note_init(bool is_debug, bool is_kernel);

/* Never blocks, never fails: a line that cannot be written is dropped and counted by core/base/log. */
void note(enum log_level level, const char *module, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define note_err(module, ...)   note(LOG_LEVEL_ERR, module, __VA_ARGS__)
#define note_warn(module, ...)  note(LOG_LEVEL_WARN, module, __VA_ARGS__)
#define note_info(module, ...)  note(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define note_debug(module, ...) note(LOG_LEVEL_DEBUG, module, __VA_ARGS__)

#endif

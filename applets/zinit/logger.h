/*
 * logger: log files with rotation.
 *
 * A file may lie on a dead mount or a full disk, and a write to it may never return; so the supervisor hands lines to a
 * child of its own program (`zinit logger`) through a pipe. When the pipe is full the service's output is left in its
 * own pipe for up to a second, so that load loses no line; after that lines are dropped from the file (never from the
 * ring) and counted in it.
 */
#ifndef ZINIT_LOGGER_H
#define ZINIT_LOGGER_H

#include "applets/zinit/sup.h"

/* Makes what `log: file` or `log_file` need; nothing for other units. 0 or a negative errno. */
int logger_new(struct service *service);
void logger_free(struct service *service);

/* Hands over one line. */
void logger_line(struct logger *logger, const struct ring_line *line, const void *data);

/* One of our children has ended: whether it was a logger. It is started again when there is something to write. */
bool logger_reaped(struct sup *sup, pid_t pid);

/* No more lines: loggers write what they have and end. */
void logger_close_all(struct sup *sup);

/*
 * The child's program: appends standard input to `path`, and at max_size bytes renames it to path.1 (older ones to
 * path.2 ... path.keep), always between lines. Returns the exit code.
 */
int logger_main(const char *path, uint64_t max_size, unsigned keep);

#endif

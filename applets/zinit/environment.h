/*
 * environment: the machine's /etc/environment, as the original reads it.
 */
#ifndef ZINIT_ENVIRONMENT_H
#define ZINIT_ENVIRONMENT_H

/*
 * Each line is trimmed; blank lines and lines that begin with '#' are skipped; the name ends at the first '='; no quotes
 * are removed; a line without '=' gives an empty value. Returns an array ended by NULL (free it with
 * environment_free), or NULL when there is no such file or no memory: services then start without it.
 */
char **environment_load(const char *path);
void environment_free(char **environment);

#endif

/*
 * fdstore: see fdstore.h.
 */
#include "applets/zinit/fdstore.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/base/str.h"

struct fdstore {
	uint32_t count;
	int fds[FDSTORE_MAX];
	char names[FDSTORE_MAX][FDSTORE_NAME_MAX + 1];
	char env_count[32], env_names[FDSTORE_MAX * (FDSTORE_NAME_MAX + 1) + 24];
};

int fdstore_new(struct service *s)
{
	if (s->unit->fdstore_max == 0)
		return 0;
	s->fdstore = mem_calloc(1, sizeof(*s->fdstore));
	return s->fdstore ? 0 : -ENOMEM;
}

void fdstore_clear(struct service *s)
{
	if (!s->fdstore)
		return;
	for (uint32_t i = 0; i < s->fdstore->count; i++)
		close(s->fdstore->fds[i]);
	s->fdstore->count = 0;
}

void fdstore_free(struct service *s)
{
	fdstore_clear(s);
	mem_free(s->fdstore);
	s->fdstore = NULL;
}

void fdstore_add(struct service *s, const char *name, int fd)
{
	struct fdstore *store = s->fdstore;

	if (!store || store->count >= s->unit->fdstore_max) {
		close(fd);
		return;
	}
	store->fds[store->count] = fd;
	/* Names are separated by colons in LISTEN_FDNAMES. */
	if (!*name || strchr(name, ':') || str_copy(store->names[store->count], FDSTORE_NAME_MAX + 1, name))
		str_copy(store->names[store->count], FDSTORE_NAME_MAX + 1, "stored");
	store->count++;
}

void fdstore_remove(struct service *s, const char *name)
{
	struct fdstore *store = s->fdstore;
	uint32_t kept = 0;

	if (!store)
		return;
	for (uint32_t i = 0; i < store->count; i++) {
		if (strcmp(store->names[i], name) == 0) {
			close(store->fds[i]);
			continue;
		}
		store->fds[kept] = store->fds[i];
		if (kept != i)
			memcpy(store->names[kept], store->names[i], sizeof(store->names[kept]));
		kept++;
	}
	store->count = kept;
}

int fdstore_prepare(struct service *s, struct proc *proc, int env)
{
	struct fdstore *store = s->fdstore;
	size_t len;

	if (!store || store->count == 0)
		return 0;
	len = (size_t)snprintf(store->env_names, sizeof(store->env_names), "LISTEN_FDNAMES=");
	for (uint32_t i = 0; i < store->count && proc->fd_count < PROC_FDS_MAX; i++) {
		proc->fds[proc->fd_count++] = (struct proc_fd){(int)(3 + i), store->fds[i]};
		len += (size_t)snprintf(store->env_names + len, sizeof(store->env_names) - len, "%s%s",
					i ? ":" : "", store->names[i]);
	}
	snprintf(store->env_count, sizeof(store->env_count), "LISTEN_FDS=%u", store->count);
	proc->extra_env[env] = store->env_count;
	proc->extra_env[env + 1] = store->env_names;
	proc->has_listen_pid = true;
	return 2;
}

uint32_t fdstore_count(const struct service *s)
{
	return s->fdstore ? s->fdstore->count : 0;
}

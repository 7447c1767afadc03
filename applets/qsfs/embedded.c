#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "applets/qsfs/embedded.h"
#include "applets/qsfs/stores_ini.h"
#include "core/base/err.h"
#include "core/base/file.h"
#include "core/base/hex.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/str.h"
#include "core/crypto/crypto.h"

#define PASSWORD_BYTES 24
#define PORT_MIN       10240u
#define PORT_TRIES     200

/* A bound socket keeps the port ours until all ports are chosen. 0 = any. The descriptor, or a negative errno. */
static int port_take(uint16_t want, uint16_t *got)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_port = htons(want), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, rc = 0;

	if (fd < 0)
		return -errno;
	/* As a server would: a port in TIME_WAIT is free. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		rc = -errno;
	if (rc) {
		close(fd);
		return rc;
	}
	*got = ntohs(a.sin_port);
	return fd;
}

/* The first port that the kernel gives to outgoing connections. */
static uint32_t first_ephemeral(void)
{
	unsigned first = 32768;
	char *text = NULL;

	if (file_read_all("/proc/sys/net/ipv4/ip_local_port_range", 64, &text, NULL) == 0 &&
	    sscanf(text, "%u", &first) != 1)
		first = 32768;
	mem_free(text);
	return first;
}

/*
 * A free port that no outgoing connection can get: a store that is away for a moment (or all of a volume that is down) finds it
 * free again. Any port where there are few such ones. As port_take().
 */
static int port_new(uint16_t *got)
{
	uint32_t count = first_ephemeral(), number;
	int fd = -EADDRINUSE;

	count = count > PORT_MIN ? count - PORT_MIN : 0;
	for (int i = 0; fd == -EADDRINUSE && i < PORT_TRIES && count >= 1024; i++) {
		if (crypto_random(&number, sizeof(number)) != 0)
			break;
		fd = port_take((uint16_t)(PORT_MIN + number % count), got);
	}
	return fd == -EADDRINUSE ? port_take(0, got) : fd;
}

static void store_address(struct volume_store *s)
{
	snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", s->port);
}

/* Gives every store a port: the one it has, when that is free, else a new one. Counts the changes in *changed. */
static int ports_choose(struct volume *v, unsigned *changed)
{
	int fds[VOLUME_STORES_MAX], rc = 0;
	size_t n;

	*changed = 0;
	for (n = 0; rc == 0 && n < v->store_count; n++) {
		struct volume_store *s = &v->stores[n];
		uint16_t before = s->port;

		fds[n] = before ? port_take(before, &s->port) : -EADDRINUSE;
		if (fds[n] < 0)
			fds[n] = port_new(&s->port);
		rc = fds[n] < 0 ? fds[n] : 0;
		*changed += s->port != before;
		store_address(s);
	}
	while (n > 0) {
		if (fds[--n] >= 0)
			close(fds[n]);
	}
	return rc;
}

static int password_make(struct volume_store *s)
{
	uint8_t random[PASSWORD_BYTES];
	int rc = crypto_random(random, sizeof(random));

	if (rc == 0)
		hex_encode(s->password, random, sizeof(random));
	crypto_wipe(random, sizeof(random));
	return rc;
}

static int store_make_dirs(const struct volume *v, const struct volume_store *s)
{
	char path[VOLUME_PATH + 96];
	int rc;

	snprintf(path, sizeof(path), "%s/%s", v->backends, s->id);
	rc = file_mkdir_p(path, 0700);
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/%s/admin", v->backends, s->id);
		rc = file_write_atomic(path, 0600, s->password, strlen(s->password));
	}
	return rc;
}

static int ini_write(const struct volume *v)
{
	char *text = NULL, path[VOLUME_PATH + 32];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int rc = out ? 0 : -ENOMEM;

	if (out) {
		fputs("# The stores of this volume when nothing else is configured. Written by qsfs up.\n",
		      out);
		for (size_t i = 0; i < v->store_count; i++)
			fprintf(out, "\n[%s.%s]\nport = %u\npassword = %s\n",
				v->stores[i].is_meta ? "metadata" : "store", v->stores[i].id,
				v->stores[i].port, v->stores[i].password);
		if (fclose(out) != 0)
			rc = -ENOMEM;
	}
	snprintf(path, sizeof(path), "%s/backends.ini", v->backends);
	if (rc == 0)
		rc = file_write_atomic(path, 0600, text, len);
	if (text)
		crypto_wipe(text, len);
	free(text);
	return rc;
}

int embedded_create(struct volume *v)
{
	unsigned changed;
	int rc = 0;

	v->store_count = EMBEDDED_DATA_STORES + EMBEDDED_META_STORES;
	for (size_t i = 0; rc == 0 && i < v->store_count; i++) {
		struct volume_store *s = &v->stores[i];

		s->is_meta = i >= EMBEDDED_DATA_STORES;
		snprintf(s->id, sizeof(s->id), "%c%zu", s->is_meta ? 'm' : 'd',
			 s->is_meta ? i - EMBEDDED_DATA_STORES + 1 : i + 1);
		/* Each stands alone, as a group of its own would in a real deployment. */
		str_copy(s->group, sizeof(s->group), s->id);
		str_copy(s->ns, sizeof(s->ns), "default");
		rc = password_make(s);
		if (rc == 0)
			rc = store_make_dirs(v, s);
	}
	if (rc == 0)
		rc = ports_choose(v, &changed);
	if (rc == 0)
		rc = ini_write(v);
	if (rc)
		log_code(rc, "cannot make the stores below %s", v->backends);
	return rc;
}

int embedded_load(struct volume *v)
{
	char path[VOLUME_PATH + 32];
	int rc;

	snprintf(path, sizeof(path), "%s/backends.ini", v->backends);
	rc = file_exists(path);
	if (rc == 0)
		return -ENOENT;
	if (rc > 0)
		rc = stores_ini_load(path, v);
	for (size_t i = 0; rc == 0 && i < v->store_count; i++) {
		str_copy(v->stores[i].group, sizeof(v->stores[i].group), v->stores[i].id);
		str_copy(v->stores[i].ns, sizeof(v->stores[i].ns), "default");
		store_address(&v->stores[i]);
	}
	return rc;
}

int embedded_check_ports(struct volume *v)
{
	unsigned changed;
	int rc = ports_choose(v, &changed);

	if (rc == 0 && changed) {
		log_info("%u ports of the stores were taken by others: new ones were chosen", changed);
		rc = ini_write(v);
	}
	if (rc)
		log_code(rc, "cannot choose ports for the stores below %s", v->backends);
	return rc;
}

/*
 * zdb_app: what the files of the applet share.
 */
#ifndef APPLETS_ZDB_ZDB_APP_H
#define APPLETS_ZDB_ZDB_APP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/applet.h"
#include "core/base/file.h"
#include "core/net/client.h"
#include "core/zdbd/zdbd.h"

/* Exit codes of the program that we replace: everything that goes wrong is 1, a stop by signal 128 + its number. */
#define ZDB_EXIT_FAILED 1

struct zdb_conf {
	const char *data, *index, *listen, *socket, *hook, *admin, *admin_file, *logfile, *spool;
	int mode; /* enum zdb_mode */
	uint64_t datasize;
	int64_t port, maxsize, synctime_s, rotate_s, clients, ready_fd;
	int fsync; /* enum zdbd_fsync */
	uint64_t hook_grace_ms, hook_limit_ms, missing_limit_ms, init_limit_ms;
	struct opt_list temps;
	bool dualnet, protect, sync, secure, background, verbose, dump, recover, prefix_commands,
		ready_exit_0, version;
};

/* Serves until a signal or STOP. Returns the exit code. `password` is the admin password or NULL. */
int zdb_serve(const struct zdb_conf *conf, const char *password);
/* The admin password, first line of its file, or NULL after a message. Free with mem_free_wiped(). */
char *zdb_read_password(const char *path);
/* Options for the engine alone. */
void zdb_engine_options(const struct zdb_conf *conf, struct zdb_options *out);
/* --dump, --recover. */
int zdb_dump_all(const struct zdb_conf *conf, const char *password);
int zdb_recover_all(const struct zdb_conf *conf);
/* Options of the server. `password` as above. */
void zdb_server_options(const struct zdb_conf *conf, const char *password, struct zdbd_options *out);

int zdb_verb_ping(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
int zdb_verb_check(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
int zdb_verb_dump(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);
int zdb_verb_compact(const struct applet *self, const struct verb *verb, void *ctx, int argc, char **argv);

extern const struct opt zdb_ping_options[], zdb_check_options[], zdb_dump_options[], zdb_compact_options[];

/* One line about wrong usage of a verb that its table cannot express. Returns the exit code. */
int zdb_misused(const struct applet *self, const struct verb *verb, const char *what);

/* The exit code of a verb that could not open its directories. */
int zdb_open_exit(int err);

/* Where the server is that a verb asks. `socket` may be NULL. What is wrong with the usage, or NULL. */
const char *zdb_find_server(struct client_addr *addr, const char *socket, const char *host, int64_t port);

/* Where the files are that a verb works on: options, else below the one DIR. Answers as above. */
struct zdb_roots {
	char data[FILE_PATH_MAX], index[FILE_PATH_MAX];
};
const char *zdb_find_roots(struct zdb_roots *r, const char *data, const char *index,
			   const struct opt_args *args);

#endif

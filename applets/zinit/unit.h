/*
 * unit: one service's configuration as a flat, position-independent block.
 *
 * A unit file is read by a short-lived child (unit_load.h), which hands the block back through a pipe; the
 * supervisor checks it with unit_is_sound() and keeps it as it is. Texts are offsets from the start of the block,
 * so that nothing has to be rebuilt, and nothing that a parser did can reach PID 1 but these checked bytes.
 */
#ifndef ZINIT_UNIT_H
#define ZINIT_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#define UNIT_MAGIC     0x7a756e32u
#define UNIT_BYTES_MAX (256u << 10) /* of one block, and of one unit file */
#define UNIT_NAME_MAX  200
#define UNIT_LIMIT_MAX 16

enum unit_log {
	UNIT_LOG_RING,
	UNIT_LOG_STDOUT,
	UNIT_LOG_NONE,
	UNIT_LOG_FILE, /* ring and file */
};

enum unit_restart {
	UNIT_RESTART_ALWAYS,
	UNIT_RESTART_ON_FAILURE,
	UNIT_RESTART_NEVER,
};

enum unit_kill {
	UNIT_KILL_GROUP,   /* the process group */
	UNIT_KILL_CGROUP,  /* also whatever left the group */
	UNIT_KILL_PROCESS, /* the main process alone */
};

enum unit_notify {
	UNIT_NOTIFY_NONE,
	UNIT_NOTIFY_FD, /* a newline on descriptor notify_fd */
	UNIT_NOTIFY_SD, /* READY=1 on the socket in $NOTIFY_SOCKET */
};

/* `count` strings, each ended by NUL, from `off` on; count 0 = none. */
struct unit_text {
	uint32_t off, count;
};

struct unit_limit {
	int32_t resource; /* RLIMIT_* */
	uint32_t pad;
	uint64_t value; /* UINT64_MAX = unlimited */
};

struct unit {
	uint32_t magic, size;
	struct unit_text name, path;
	struct unit_text exec, test, health, drain; /* words */
	struct unit_text after, requires;           /* names */
	struct unit_text env;                       /* NAME=value */
	struct unit_text dir, user, group, log_file;
	uint64_t shutdown_timeout_ms;
	uint64_t restart_delay_ms, restart_max_delay_ms;
	uint64_t start_timeout_ms; /* 0 = none */
	uint64_t test_interval_ms, test_timeout_ms;
	uint64_t health_interval_ms;
	uint64_t memory_max, pids_max; /* 0 = none */
	uint64_t log_max_size;
	uint64_t capabilities;         /* set of bits; meaningful with has_capabilities */
	uint32_t cpu_max_percent;      /* of one processor; 0 = none */
	uint32_t restart_limit, retry; /* restart_limit 0 = none */
	uint32_t log_keep, fdstore_max;
	int32_t stop_signal, reload_signal; /* reload_signal 0 = none */
	int32_t umask;                      /* -1 = inherited */
	int32_t notify_fd;
	uint32_t limit_count;
	struct unit_limit limits[UNIT_LIMIT_MAX];
	uint8_t log, restart, kill_mode, notify;
	uint8_t is_oneshot;
	uint8_t has_restart_delay; /* restart_delay was given: it holds for the first restart too */
	uint8_t has_test_interval; /* test_interval was given: no quick first tries */
	uint8_t has_capabilities;
	uint8_t is_exec_broken; /* exec cannot be split into words: Failure when started */
	uint8_t is_test_broken;
};

/* Whether a block of `size` bytes may be used: every number in range, every text inside and terminated. */
bool unit_is_sound(const struct unit *unit, uint32_t size);

/* The only, or first, string of a text; NULL when there is none. */
static inline const char *unit_str(const struct unit *unit, struct unit_text text)
{
	return text.count ? (const char *)unit + text.off : 0;
}

/* The string after `at` of the same text. */
const char *unit_str_next(const char *at);

/*
 * Signals by name: "SIGTERM", any letter case, with SIG. 0 = no such signal. The name of a number: "SIGTERM", or
 * "SIG35" in `buf` (16 bytes) for one without a name.
 */
int unit_signal_number(const char *name);
const char *unit_signal_name(int signo, char *buf);

#endif

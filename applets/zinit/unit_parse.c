/*
 * unit_parse: every key of a unit file, as one table of rows (name, reader, where its value goes).
 *
 * The rules are those of the original as measured (which scalars it takes for a bool, a number or a string), except
 * where it refuses what its own documentation shows: null stands for the default, and a single word for a list of one.
 */
#include "applets/zinit/unit_parse.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "core/base/mem.h"
#include "core/base/str.h"

#include "applets/zinit/caps.h"
#include "applets/zinit/words.h"

struct parse {
	struct buf *out;
	struct unit u; /* copied to the front of `out` at the end */
	unit_warn_fn *warn;
	void *warn_ctx;
	bool is_strict;
	bool is_ini; /* no lists in that syntax: words separated by commas or blanks */
	struct err_text *err;
};

struct key {
	const char *name;
	int (*read)(struct parse *p, const struct cfg_node *node, const struct key *key);
	size_t off;                 /* of the field in struct unit */
	const char *const *choices; /* read_choice */
	size_t given_off;           /* a uint8_t that is set when the key was given; 0 = none */
	uint64_t max;
};

#define FIELD(p, key, type) (*(type *)(void *)((char *)&(p)->u + (key)->off))

static bool is_null(const struct cfg_node *node)
{
	return node->kind == CFG_SCALAR && node->scalar == CFG_NULL;
}

/* Appends one string with its NUL to the block and counts it in `text`. */
static int text_add(struct parse *p, struct unit_text *text, const char *s, size_t len)
{
	int rc;

	if (text->count == 0)
		text->off = (uint32_t)p->out->len;
	rc = buf_append(p->out, s, len);
	if (rc == 0)
		rc = buf_append_byte(p->out, 0);
	if (rc == 0)
		text->count++;
	return rc;
}

static int scalar_text(struct parse *p, const struct cfg_node *node, const char **text)
{
	if (node->kind != CFG_SCALAR || !node->text)
		return cfg_error(node, p->err, "a single value is expected");
	if (strlen(node->text) != node->text_len)
		return cfg_error(node, p->err, "a NUL byte is not allowed");
	*text = node->text;
	return 0;
}

static int read_str(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	struct unit_text *field = &FIELD(p, key, struct unit_text);
	const char *text;
	int rc = scalar_text(p, node, &text);

	if (rc || !*text)
		return rc;
	return text_add(p, field, text, strlen(text));
}

/*
 * A command line. An exec or test that cannot be split is not an error of the file, as in the original: the service
 * fails when it is started. In the keys that the original does not have it is an error at once.
 */
static int read_words(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	struct unit_text *field = &FIELD(p, key, struct unit_text);
	const char *text;
	size_t used;
	char *words;
	int count, rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	if (!*text)
		return 0;
	words = mem_alloc(strlen(text) + 1);
	if (!words)
		return -ENOMEM;
	count = words_split(text, strlen(text), words, &used);
	if (count <= 0 && !key->given_off) {
		rc = cfg_error(node, p->err, count == 0 ? "no command" : "unbalanced quotes");
	} else if (count <= 0) {
		*((uint8_t *)&p->u + key->given_off) = 1;
		if (p->warn) {
			struct err_text sentence;

			cfg_error(node, &sentence, count == 0 ? "no command" : "unbalanced quotes");
			p->warn(p->warn_ctx, sentence.text);
		}
	} else {
		field->off = (uint32_t)p->out->len;
		rc = buf_append(p->out, words, used);
		field->count = (uint32_t)count;
	}
	mem_free(words);
	return rc;
}

/* A scalar where a list is expected: one element; in the INI syntax, which has no lists, as many as there are words. */
static int read_list_scalar(struct parse *p, const struct cfg_node *node, struct unit_text *field)
{
	const char *text;
	int rc = scalar_text(p, node, &text);

	if (rc || !p->is_ini)
		return rc ? rc : text_add(p, field, text, strlen(text));
	while (rc == 0 && *(text += strspn(text, ", \t"))) {
		size_t len = strcspn(text, ", \t");

		rc = text_add(p, field, text, len);
		text += len;
	}
	return rc;
}

static int read_list(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	struct unit_text *field = &FIELD(p, key, struct unit_text);
	const char *text;
	int rc;

	if (node->kind == CFG_SCALAR)
		return read_list_scalar(p, node, field);
	if (node->kind != CFG_LIST)
		return cfg_error(node, p->err, "a list is expected");
	cfg_each(node, it)
	{
		rc = scalar_text(p, it, &text);
		if (rc == 0)
			rc = text_add(p, field, text, strlen(text));
		if (rc)
			return rc;
	}
	return 0;
}

static int read_env(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	struct unit_text *field = &FIELD(p, key, struct unit_text);

	if (node->kind != CFG_MAP)
		return cfg_error(node, p->err, "a map of names to values is expected");
	cfg_each(node, it)
	{
		const char *text = "";
		char *pair;
		int rc = is_null(it) ? 0 : scalar_text(p, it, &text);

		if (rc)
			return rc;
		pair = mem_fmt("%s=%s", it->key, text);
		if (!pair)
			return -ENOMEM;
		rc = text_add(p, field, pair, strlen(pair));
		mem_free(pair);
		if (rc)
			return rc;
	}
	return 0;
}

static int read_bool(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;
	int rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	/* Only the plain lower-case words: "yes" or "True" would silently mean false to the original's users. */
	if (node->scalar == CFG_STRING || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
		return cfg_error(node, p->err, "true or false is expected");
	FIELD(p, key, uint8_t) = text[0] == 't';
	return 0;
}

static int plain_u64(struct parse *p, const struct cfg_node *node, uint64_t max, uint64_t *value)
{
	const char *text;
	int rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	if (node->scalar == CFG_STRING || str_parse_u64(text, value) != 0)
		return cfg_error(node, p->err, "a plain non-negative number is expected");
	if (*value > max)
		return cfg_error(node, p->err, "at most %llu is possible", (unsigned long long)max);
	return 0;
}

static int read_seconds(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	uint64_t seconds = 0;
	int rc = plain_u64(p, node, UINT64_MAX, &seconds);

	/* A century is for ever, and leaves room for sums of milliseconds. */
	FIELD(p, key, uint64_t) = (seconds < 3155760000u ? seconds : 3155760000u) * 1000;
	return rc;
}

static int read_u64(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	return plain_u64(p, node, key->max ? key->max : UINT64_MAX, &FIELD(p, key, uint64_t));
}

static int read_u32(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	uint64_t value = 0;
	int rc = plain_u64(p, node, key->max ? key->max : UINT32_MAX, &value);

	FIELD(p, key, uint32_t) = (uint32_t)value;
	return rc;
}

static int read_duration(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;
	uint64_t ms;
	int rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	if (str_parse_duration(text, &ms) != 0)
		return cfg_error(node, p->err, "a time such as 250ms, 5s, 2m is expected");
	FIELD(p, key, uint64_t) = ms;
	if (key->given_off)
		*((uint8_t *)&p->u + key->given_off) = 1;
	return 0;
}

static int read_size(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;
	int rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	if (str_parse_size(text, &FIELD(p, key, uint64_t)) != 0)
		return cfg_error(node, p->err, "a size such as 64M or 1G is expected");
	return 0;
}

static int read_percent(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;
	uint64_t value;
	size_t len;
	int rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	len = strlen(text);
	if (len > 0 && text[len - 1] == '%')
		len--;
	if (str_parse_u64_n(text, len, &value) != 0 || value == 0 || value > 100000)
		return cfg_error(node, p->err, "per cent of one processor, such as 50%%, is expected");
	FIELD(p, key, uint32_t) = (uint32_t)value;
	return 0;
}

static int read_choice(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;
	int rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	for (uint8_t i = 0; key->choices[i]; i++) {
		if (strcmp(text, key->choices[i]) == 0) {
			FIELD(p, key, uint8_t) = i;
			return 0;
		}
	}
	return cfg_error(node, p->err, "'%s' is not one of its words", text);
}

static int read_log(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	/* The original's documentation shows `log: null` for no log; nothing at all means the default. */
	if (is_null(node)) {
		if (node->text && node->text_len > 0)
			p->u.log = UNIT_LOG_NONE;
		return 0;
	}
	if (node->text && strcmp(node->text, "null") == 0) {
		p->u.log = UNIT_LOG_NONE;
		return 0;
	}
	return read_choice(p, node, key);
}

static int signal_of(struct parse *p, const struct cfg_node *node, int *signo)
{
	const char *text;
	int rc = scalar_text(p, node, &text);

	if (rc)
		return rc;
	*signo = unit_signal_number(text);
	if (*signo == 0)
		return cfg_error(node, p->err, "'%s' is not a signal (EINVAL: Invalid argument)", text);
	return 0;
}

static int unknown_key(struct parse *p, const struct cfg_node *node, const char *nearest)
{
	struct err_text sentence;

	cfg_error(node, &sentence, nearest ? "unknown key (did you mean '%s'?)" : "unknown key%s",
		  nearest ? nearest : "");
	if (p->is_strict)
		return err_set(p->err, -E_CONFIG, "%s", sentence.text);
	if (p->warn)
		p->warn(p->warn_ctx, sentence.text);
	return 0;
}

static int read_signal(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	static const char *const known[] = {"stop", "reload"};

	(void)key;
	if (node->kind != CFG_MAP)
		return cfg_error(node, p->err, "a map with the key 'stop' is expected");
	cfg_each(node, it)
	{
		int rc;

		if (strcmp(it->key, "stop") == 0)
			rc = is_null(it) ? 0 : signal_of(p, it, &p->u.stop_signal);
		else if (strcmp(it->key, "reload") == 0)
			rc = is_null(it) ? 0 : signal_of(p, it, &p->u.reload_signal);
		else
			rc = unknown_key(p, it, str_nearest(it->key, known, 2));
		if (rc)
			return rc;
	}
	return 0;
}

static int read_notify(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;
	uint64_t fd;
	int rc = scalar_text(p, node, &text);

	(void)key;
	if (rc)
		return rc;
	if (strcmp(text, "sd") == 0) {
		p->u.notify = UNIT_NOTIFY_SD;
		return 0;
	}
	if (!str_starts(text, "fd:") || str_parse_u64(text + 3, &fd) != 0 || fd < 3 || fd > 1023)
		return cfg_error(node, p->err, "'sd' or 'fd:N' with N from 3 to 1023 is expected");
	p->u.notify = UNIT_NOTIFY_FD;
	p->u.notify_fd = (int32_t)fd;
	return 0;
}

static int read_umask(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;
	uint64_t mask;
	int rc = scalar_text(p, node, &text);

	(void)key;
	if (rc)
		return rc;
	if (str_parse_u64_base(text, 8, &mask) != 0 || mask > 0777)
		return cfg_error(node, p->err, "an octal mask such as 022 is expected");
	p->u.umask = (int32_t)mask;
	return 0;
}

static int read_limits(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	static const struct {
		const char *name;
		int resource;
	} limits[] = {
		{"nofile", RLIMIT_NOFILE},     {"core", RLIMIT_CORE},   {"memlock", RLIMIT_MEMLOCK},
		{"nproc", RLIMIT_NPROC},       {"stack", RLIMIT_STACK}, {"as", RLIMIT_AS},
		{"data", RLIMIT_DATA},         {"fsize", RLIMIT_FSIZE}, {"cpu", RLIMIT_CPU},
		{"rtprio", RLIMIT_RTPRIO},     {"nice", RLIMIT_NICE},   {"sigpending", RLIMIT_SIGPENDING},
		{"msgqueue", RLIMIT_MSGQUEUE},
	};
	enum { LIMITS = sizeof(limits) / sizeof(limits[0]) };

	(void)key;
	if (node->kind != CFG_MAP)
		return cfg_error(node, p->err, "a map of limits is expected");
	cfg_each(node, it)
	{
		struct unit_limit *slot = &p->u.limits[p->u.limit_count];
		const char *text;
		size_t i = 0;
		int rc = scalar_text(p, it, &text);

		if (rc)
			return rc;
		while (i < LIMITS && strcmp(limits[i].name, it->key) != 0)
			i++;
		if (i == LIMITS) {
			rc = unknown_key(p, it, NULL);
			if (rc)
				return rc;
			continue;
		}
		slot->resource = limits[i].resource;
		if (strcmp(text, "unlimited") == 0 || strcmp(text, "infinity") == 0)
			slot->value = UINT64_MAX;
		else if (str_parse_size(text, &slot->value) != 0)
			return cfg_error(it, p->err, "a number or 'unlimited' is expected");
		p->u.limit_count++;
	}
	return 0;
}

static int read_caps(struct parse *p, const struct cfg_node *node, const struct key *key)
{
	const char *text;

	(void)key;
	p->u.has_capabilities = 1;
	if (node->kind == CFG_SCALAR) {
		int bit;
		int rc = scalar_text(p, node, &text);

		if (rc)
			return rc;
		bit = caps_bit(text);
		if (strcmp(text, "none") == 0)
			return 0;
		if (bit < 0)
			return cfg_error(node, p->err, "'%s' is not a capability", text);
		p->u.capabilities |= UINT64_C(1) << bit;
		return 0;
	}
	if (node->kind != CFG_LIST)
		return cfg_error(node, p->err, "a list of capabilities is expected");
	cfg_each(node, it)
	{
		int rc = scalar_text(p, it, &text);
		int bit = rc ? -1 : caps_bit(text);

		if (rc)
			return rc;
		if (bit < 0)
			return cfg_error(it, p->err, "'%s' is not a capability", text);
		p->u.capabilities |= UINT64_C(1) << bit;
	}
	return 0;
}

static const char *const log_words[] = {"ring", "stdout", "none", "file", NULL};
static const char *const restart_words[] = {"always", "on-failure", "never", NULL};
static const char *const kill_words[] = {"group", "cgroup", "process", NULL};

#define AT(field) offsetof(struct unit, field)

static const struct key keys[] = {
	{.name = "exec", .read = read_words, .off = AT(exec), .given_off = AT(is_exec_broken)},
	{.name = "test", .read = read_words, .off = AT(test), .given_off = AT(is_test_broken)},
	{.name = "oneshot", .read = read_bool, .off = AT(is_oneshot)},
	{.name = "shutdown_timeout", .read = read_seconds, .off = AT(shutdown_timeout_ms)},
	{.name = "after", .read = read_list, .off = AT(after)},
	{.name = "signal", .read = read_signal},
	{.name = "log", .read = read_log, .off = AT(log), .choices = log_words},
	{.name = "env", .read = read_env, .off = AT(env)},
	{.name = "dir", .read = read_str, .off = AT(dir)},
	{.name = "requires", .read = read_list, .off = AT(requires)},
	{.name = "restart", .read = read_choice, .off = AT(restart), .choices = restart_words},
	{.name = "restart_delay",
	 .read = read_duration,
	 .off = AT(restart_delay_ms),
	 .given_off = AT(has_restart_delay)},
	{.name = "restart_max_delay", .read = read_duration, .off = AT(restart_max_delay_ms)},
	{.name = "restart_limit", .read = read_u32, .off = AT(restart_limit)},
	{.name = "retry", .read = read_u32, .off = AT(retry)},
	{.name = "start_timeout", .read = read_duration, .off = AT(start_timeout_ms)},
	{.name = "test_interval",
	 .read = read_duration,
	 .off = AT(test_interval_ms),
	 .given_off = AT(has_test_interval)},
	{.name = "test_timeout", .read = read_duration, .off = AT(test_timeout_ms)},
	{.name = "health", .read = read_words, .off = AT(health)},
	{.name = "health_interval", .read = read_duration, .off = AT(health_interval_ms)},
	{.name = "notify", .read = read_notify},
	{.name = "kill_mode", .read = read_choice, .off = AT(kill_mode), .choices = kill_words},
	{.name = "drain", .read = read_words, .off = AT(drain)},
	{.name = "user", .read = read_str, .off = AT(user)},
	{.name = "group", .read = read_str, .off = AT(group)},
	{.name = "umask", .read = read_umask},
	{.name = "limits", .read = read_limits},
	{.name = "memory_max", .read = read_size, .off = AT(memory_max)},
	{.name = "cpu_max", .read = read_percent, .off = AT(cpu_max_percent)},
	{.name = "pids_max", .read = read_u64, .off = AT(pids_max)},
	{.name = "capabilities", .read = read_caps},
	{.name = "log_file", .read = read_str, .off = AT(log_file)},
	{.name = "log_max_size", .read = read_size, .off = AT(log_max_size)},
	{.name = "log_keep", .read = read_u32, .off = AT(log_keep), .max = 1000},
	{.name = "fdstore", .read = read_u32, .off = AT(fdstore_max), .max = 64},
};

enum { KEY_COUNT = sizeof(keys) / sizeof(keys[0]) };

static int read_key(struct parse *p, const struct cfg_node *node)
{
	const char *names[KEY_COUNT];

	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].name, node->key) == 0) {
			if (is_null(node) && keys[i].read != read_log)
				return 0;
			return keys[i].read(p, node, &keys[i]);
		}
		names[i] = keys[i].name;
	}
	return unknown_key(p, node, str_nearest(node->key, names, KEY_COUNT));
}

static void set_defaults(struct unit *u)
{
	u->magic = UNIT_MAGIC;
	u->shutdown_timeout_ms = 10000;
	u->restart_delay_ms = 100;
	u->restart_max_delay_ms = 30000;
	u->test_interval_ms = 2000;
	u->test_timeout_ms = 10000;
	u->health_interval_ms = 30000;
	u->log_max_size = 1u << 20;
	u->log_keep = 5;
	u->stop_signal = 15;
	u->umask = -1;
	u->log = UNIT_LOG_RING;
}

int unit_parse(const struct cfg_node *root, const char *name, const char *path, bool is_strict,
	       struct buf *out, unit_warn_fn *warn, void *ctx, struct err_text *err)
{
	struct parse p = {.out = out, .warn = warn, .warn_ctx = ctx, .is_strict = is_strict, .err = err};
	int rc;

	p.is_ini = str_ends(path, ".ini");
	set_defaults(&p.u);
	if (root->kind != CFG_MAP)
		return cfg_error(root, err, "a map of keys is expected");
	rc = buf_append_zero(out, sizeof(struct unit));
	if (rc == 0)
		rc = text_add(&p, &p.u.name, name, strlen(name));
	if (rc == 0)
		rc = text_add(&p, &p.u.path, path, strlen(path));
	if (rc)
		return err_set(err, rc, "%s: %s", path, err_str(rc));
	cfg_each(root, it)
	{
		err->text[0] = '\0';
		rc = read_key(&p, it);
		if (rc)
			return err->text[0] ? rc : err_set(err, rc, "%s:%u: %s", path, it->line, err_str(rc));
	}
	if (p.u.exec.count == 0 && !p.u.is_exec_broken)
		return err_set(err, -E_CONFIG, "%s: missing exec directive", path);
	/* The store's descriptors begin at 3, and its socket is the one that readiness is told on. */
	if (p.u.fdstore_max && p.u.notify == UNIT_NOTIFY_FD)
		return err_set(err, -E_CONFIG, "%s: fdstore needs 'notify: sd' or no notify", path);
	if (p.u.log_file.count && p.u.log == UNIT_LOG_RING)
		p.u.log = UNIT_LOG_FILE;
	p.u.size = (uint32_t)out->len;
	memcpy(out->data, &p.u, sizeof(p.u));
	return 0;
}

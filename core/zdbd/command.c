/*
 * command: the table of commands, and the checks that are the same for all: name, permission, number of words.
 *
 * The order of rows is upstream's: with --prefix-commands the first row that begins with the given word wins. Extensions come last.
 */
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "core/base/clock.h"
#include "core/zdbd/zdbd_int.h"

const struct command commands[] = {
	{"*", 0, 0, cmd_any},
	{"WAIT", 0, 0, cmd_wait},
	{"MIRROR", 0, F_ADMIN, cmd_mirror},
	{"MASTER", 0, F_ADMIN, cmd_master},
	{"PING", 0, 0, cmd_ping},
	{"TIME", 0, 0, cmd_time},
	{"AUTH", 0, F_SECRET, cmd_auth},
	{"HOOKS", 0, F_ADMIN, cmd_hooks},
	{"INDEX", 2, F_ADMIN | F_MINIMUM, cmd_index},
	{"DATA", 2, F_ADMIN | F_MINIMUM, cmd_data_raw},
	{"SET", 0, 0, cmd_set},
	{"SETX", 0, 0, cmd_set},
	{"GET", 2, F_EXACT, cmd_get},
	{"MGET", 0, 0, cmd_mget},
	{"DEL", 0, 0, cmd_del},
	{"EXISTS", 2, F_EXACT, cmd_exists},
	{"CHECK", 2, F_EXACT, cmd_check},
	{"SCAN", 0, 0, cmd_scan},
	{"SCANX", 0, 0, cmd_scan},
	{"RSCAN", 0, 0, cmd_rscan},
	{"KSCAN", 0, 0, cmd_kscan},
	{"HISTORY", 0, 0, cmd_history},
	{"KEYCUR", 2, F_EXACT, cmd_keycur},
	{"LENGTH", 2, F_EXACT, cmd_length},
	{"KEYTIME", 2, F_EXACT, cmd_keytime},
	{"INFO", 0, 0, cmd_info},
	{"STOP", 0, 0, cmd_stop},
	{"DBSIZE", 0, 0, cmd_dbsize},
	{"NSNEW", 2, F_ADMIN | F_EXACT, cmd_nsnew},
	{"NSDEL", 2, F_ADMIN | F_EXACT, cmd_nsdel},
	{"NSLIST", 0, 0, cmd_nslist},
	{"NSSET", 4, F_ADMIN | F_EXACT, cmd_nsset},
	{"NSINFO", 2, F_EXACT, cmd_nsinfo},
	{"NSJUMP", 0, F_ADMIN, cmd_nsjump},
	{"SELECT", 0, F_SECRET, cmd_select},
	{"RELOAD", 2, F_ADMIN | F_EXACT, cmd_reload},
	{"FLUSH", 0, 0, cmd_flush},
	/* extensions */
	{"SYNC", 0, 0, cmd_sync},
	{"GETRANGE", 4, F_EXACT, cmd_getrange},
	{"BATCH", 0, 0, cmd_batch},
	{"EVICT", 4, F_ADMIN | F_EXACT, cmd_evict},
	{"CUT", 0, F_ADMIN, cmd_cut},
	{"SPOOL", 3, F_ADMIN | F_EXACT, cmd_spool},
	{"STORED", 3, F_ADMIN | F_EXACT, cmd_stored},
	{"COMPACT", 0, F_ADMIN, cmd_compact},
};

const size_t commands_count = sizeof(commands) / sizeof(commands[0]);

#define SLOTS 128

static unsigned name_hash(const uint8_t *name, size_t len)
{
	unsigned h = (unsigned)len;
	size_t i;

	/* letters in either case give the same value */
	for (i = 0; i < len && i < 16; i++)
		h = h * 31 + (name[i] & 0xdfu);
	return (h ^ h >> 7) % SLOTS;
}

void command_index_build(struct zdbd *d)
{
	size_t i;

	_Static_assert(sizeof(commands) / sizeof(commands[0]) < SLOTS / 2, "the table of slots is too small");
	memset(d->command_slots, 0, sizeof(d->command_slots));
	for (i = 0; i < commands_count; i++) {
		unsigned slot = name_hash((const uint8_t *)commands[i].name, strlen(commands[i].name));

		while (d->command_slots[slot])
			slot = (slot + 1) % SLOTS;
		d->command_slots[slot] = (uint8_t)(i + 1);
	}
}

const struct command *command_find(const struct zdbd *d, const uint8_t *word, size_t len)
{
	unsigned slot = name_hash(word, len);
	size_t i;

	for (; d->command_slots[slot]; slot = (slot + 1) % SLOTS) {
		const struct command *row = &commands[d->command_slots[slot] - 1];

		if (resp_word_is(word, len, row->name))
			return row;
	}
	if (!d->opt.prefix_commands)
		return NULL;
	for (i = 0; i < commands_count; i++)
		if (strlen(commands[i].name) >= len &&
		    strncasecmp(commands[i].name, (const char *)word, len) == 0)
			return &commands[i];
	return NULL;
}

/* Number of words and empty ones. */
static bool words_fit(struct call *call)
{
	const struct command *row = call->command;
	size_t i;

	if ((row->flags & F_EXACT) && call->w.argc != row->words) {
		reply_error(call->c, "Unexpected arguments");
		return false;
	}
	if ((row->flags & F_MINIMUM) && call->w.argc < row->words) {
		reply_error(call->c, "Missing arguments");
		return false;
	}
	if (!(row->flags & (F_EXACT | F_MINIMUM)))
		return true;
	for (i = 1; i < call->w.argc; i++) {
		if (ARG_LEN(call, i) == 0) {
			reply_error(call->c, "Invalid argument");
			return false;
		}
	}
	return true;
}

/* A client whose namespace was removed is told so and cut, whatever it asks. */
static bool attached(struct client *c)
{
	if (zdb_ns_alive(c->ns))
		return true;
	reply_error(c, "Your active namespace is not available anymore (probably removed).");
	client_close_after(c);
	return false;
}

static bool permitted(struct call *call)
{
	return !(call->command->flags & F_ADMIN) || admin_only(call->c);
}

/* The last word of a replicating client is the owner of the command. */
static void take_owner(struct client *c, struct words *w)
{
	char text[24];
	size_t len = w->argv[w->argc - 1].len;

	if (len >= sizeof(text))
		len = sizeof(text) - 1;
	memcpy(text, w->base + w->argv[w->argc - 1].off, len);
	text[len] = '\0';
	c->owner = (uint64_t)loose_integer((const uint8_t *)text, len);
	w->argc--;
}

enum verdict command_run(struct client *c, const struct words *given)
{
	struct zdbd *d = c->d;
	struct call call = {.d = d, .c = c, .w = *given};
	bool first = !c->op.command;
	enum verdict verdict;

	if (first) {
		c->owner = c->id;
		if (c->master && call.w.argc > 1)
			take_owner(c, &call.w);
		call.command = command_find(d, ARG(&call, 0), ARG_LEN(&call, 0));
		d->stats.commands++;
		if (!attached(c))
			return DONE;
		if (!call.command) {
			d->stats.failed++;
			reply_error(c, "Command not supported");
			return DONE;
		}
		if (!list_is_empty(&d->mirrors) && !(call.command->flags & F_SECRET))
			mirror_command(c, &call.w);
		if (!permitted(&call) || !words_fit(&call))
			goto done;
	} else {
		if (c->master && call.w.argc > 1)
			call.w.argc--;
		call.command = c->op.command;
	}
	c->op.command = call.command;
	verdict = call.command->fn(&call);
	if (verdict == BLOCKED && !c->dead)
		return BLOCKED;
done:
	if (!c->dead)
		command_done(c, call.command);
	return DONE;
}

/* ------------------------------------------------------------------------------------------------- helpers */

bool admin_only(struct client *c)
{
	if (c->admin)
		return true;
	c->d->stats.unauthorized++;
	reply_error(c, "Permission denied");
	return false;
}

bool may_read(struct client *c)
{
	struct zdb_props props;

	zdb_ns_props(c->ns, &props);
	if (props.lock != ZDB_FROZEN)
		return true;
	reply_error(c, "Namespace is temporarily frozen (read-write disabled)");
	return false;
}

bool may_write(struct client *c)
{
	struct zdb_props props;

	if (!c->writable) {
		reply_error(c, "Namespace is in read-only mode");
		return false;
	}
	zdb_ns_props(c->ns, &props);
	if (props.lock == ZDB_UNLOCKED)
		return true;
	reply_error(c, props.lock == ZDB_FROZEN ? "Namespace is temporarily frozen (read-write disabled)"
						: "Namespace is temporarily locked (read-only)");
	return false;
}

bool password_equal(const uint8_t *given, size_t given_len, const char *kept, size_t kept_len)
{
	uint8_t a[256] = {0}, b[256] = {0};
	bool equal;

	if (given_len > sizeof(a) || kept_len > sizeof(b))
		return false;
	memcpy(a, given, given_len);
	memcpy(b, kept, kept_len);
	equal = sodium_memcmp(a, b, sizeof(a)) == 0 && given_len == kept_len;
	mem_wipe(a, sizeof(a));
	mem_wipe(b, sizeof(b));
	return equal;
}

int64_t loose_integer(const uint8_t *data, size_t len)
{
	bool minus = false;
	uint64_t n = 0, most = INT64_MAX;
	size_t i = 0;

	while (i < len && (data[i] == ' ' || (data[i] >= '\t' && data[i] <= '\r')))
		i++;
	if (i < len && (data[i] == '-' || data[i] == '+'))
		minus = data[i++] == '-';
	most += minus;
	for (; i < len && data[i] >= '0' && data[i] <= '9'; i++) {
		uint64_t digit = (uint64_t)(data[i] - '0');

		n = n > (most - digit) / 10 ? most : n * 10 + digit;
	}
	return (int64_t)(minus ? 0 - n : n);
}

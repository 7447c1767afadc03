/*
 * cmd_ns: namespaces. SELECT NSNEW NSDEL NSLIST NSINFO NSSET NSJUMP RELOAD FLUSH.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/net/sha1.h"
#include "core/zdbd/zdbd_int.h"

#define PROPERTY_MAX        256
#define VALUE_MAX           63
#define SELECT_PASSWORD_MAX 255

/* A name ends at its first NUL. */
static size_t name_len(struct call *call, size_t i)
{
	return strnlen((const char *)ARG(call, i), ARG_LEN(call, i));
}

static bool names_default(struct call *call, size_t i)
{
	return name_len(call, i) == strlen(ZDB_DEFAULT) &&
	       memcmp(ARG(call, i), ZDB_DEFAULT, strlen(ZDB_DEFAULT)) == 0;
}

/* The namespace that word i names; NULL after the reply. `unknown` is the text for one that is not there. */
static struct zdb_ns *find(struct call *call, size_t i, const char *unknown)
{
	struct zdb_ns *ns;

	if (ARG_LEN(call, i) > ZDB_NAME_MAX) {
		reply_error(call->c, "Namespace too long");
		return NULL;
	}
	ns = zdb_ns_find(call->d->eng, (const char *)ARG(call, i), name_len(call, i));
	if (!ns)
		reply_error(call->c, unknown);
	return ns;
}

/* ---------------------------------------------------------------------------------------------------- SELECT */

static bool secure_word(struct call *call, size_t i)
{
	size_t len = ARG_LEN(call, i);

	if (resp_word_is(ARG(call, i), len, "SECURE"))
		return true;
	/* any prefix of it, as the original reads it */
	return call->d->opt.prefix_commands && len > 0 && len < 6 &&
	       strncasecmp((const char *)ARG(call, i), "SECURE", len) == 0;
}

/* Checks the answer to a challenge. NULL = right, else the error. */
const char *challenge_error(struct client *c, const uint8_t *hash, size_t len, const char *password,
			    size_t password_len)
{
	char text[SELECT_PASSWORD_MAX + 1], expected[41];
	bool equal;

	if (!c->challenge[0])
		return "No CHALLENGE requested, secure authentication not available";
	if (len != 40)
		return "Invalid hash length";
	if (password_len > SELECT_PASSWORD_MAX)
		return "Access denied";
	memcpy(text, password, password_len);
	text[password_len] = '\0';
	sha1_challenge(expected, c->challenge, text);
	equal = password_equal(hash, len, expected, 40);
	mem_wipe(text, sizeof(text));
	mem_wipe(expected, sizeof(expected));
	return equal ? NULL : "Access denied";
}

/* NULL = may enter, *writable says how; else the error. */
static const char *select_check(struct call *call, const struct zdb_props *p, bool *writable)
{
	*writable = true;
	if (p->password_len == 0)
		return NULL;
	switch (call->w.argc) {
	case 2:
		*writable = false;
		return p->is_public ? NULL : "Namespace protected and private";
	case 3:
		if (ARG_LEN(call, 2) > SELECT_PASSWORD_MAX)
			return "Password too long";
		return password_equal(ARG(call, 2), ARG_LEN(call, 2), p->password, p->password_len)
			       ? NULL
			       : "Access denied";
	case 4:
		if (!secure_word(call, 2))
			return "Only SECURE extra method supported";
		return challenge_error(call->c, ARG(call, 3), ARG_LEN(call, 3), p->password, p->password_len);
	default:
		return "Too many arguments";
	}
}

enum verdict cmd_select(struct call *call)
{
	struct zdb_props props;
	struct zdb_ns *ns;
	const char *error;
	bool writable;

	if (call->w.argc < 2) {
		reply_error(call->c, "Invalid argument");
		return DONE;
	}
	ns = find(call, 1, "Namespace not found");
	if (!ns)
		return DONE;
	zdb_ns_props(ns, &props);
	error = select_check(call, &props, &writable);
	if (error) {
		reply_error(call->c, error);
		return DONE;
	}
	client_enter(call->c, ns);
	call->c->writable = writable;
	reply_ok(call->c);
	return DONE;
}

/* -------------------------------------------------------------------------------------- making and removing */

enum verdict cmd_nsnew(struct call *call)
{
	struct zdb_ns *ns;
	const char *name = (const char *)ARG(call, 1);
	int err;

	if (ARG_LEN(call, 1) > ZDB_NAME_MAX) {
		reply_error(call->c, "Namespace too long");
		return DONE;
	}
	if (zdb_ns_find(call->d->eng, name, name_len(call, 1))) {
		reply_error(call->c, names_default(call, 1) ? "This name is not allowed"
							    : "This namespace is not available");
		return DONE;
	}
	if (drops_settle(call->d, false)) { /* it may be one that was dropped just now */
		reply_error(call->c, "Could not create namespace");
		return DONE;
	}
	err = zdb_ns_create(call->d->eng, name, name_len(call, 1), &ns);
	if (err == -EINVAL)
		reply_error(call->c, "This name is not allowed");
	else if (err == -EEXIST)
		reply_error(call->c, "This namespace is not available");
	else if (err)
		reply_error(call->c, "Could not create namespace");
	else
		reply_ok(call->c);
	return DONE;
}

/*
 * The engine does not remove, reload or empty a namespace while a sync, a compaction or a proof of it runs. True: none runs. False: the command
 * is blocked and comes again.
 */
static bool quiesce(struct client *c, struct zns *z)
{
	if (compaction_runs(c->d, z->ns)) {
		compaction_stop(c->d);
		c->awaits_compaction = true;
		c->block = BLOCK_JOB;
		return false;
	}
	if (zdb_ns_is_proving(z->ns)) {
		c->awaits_proof = true;
		c->block = BLOCK_JOB;
		return false;
	}
	if (!z->sync)
		return true;
	sync_then_again(c, z, false);
	return false;
}

enum verdict cmd_nsdel(struct call *call)
{
	struct client *c = call->c;
	struct zdb_ns *ns;
	struct drop drop;
	struct zns *z;
	int err, told = 0;

	if (ARG_LEN(call, 1) > ZDB_NAME_MAX) {
		reply_error(c, "Namespace too long");
		return DONE;
	}
	if (names_default(call, 1)) {
		reply_error(c, "Cannot remove default namespace");
		return DONE;
	}
	ns = find(call, 1, "This namespace doesn't exists");
	if (!ns)
		return DONE;
	if (ns == c->ns) {
		reply_error(c, "Cannot remove namespace you're currently using.");
		return DONE;
	}
	z = zns_of(call->d, ns);
	if (z && !quiesce(c, z))
		return BLOCKED;
	zdb_ns_ref(ns);
	err = drop_begin(call->d, ns, &drop);
	if (!err) {
		err = zdb_ns_delete(ns);
		if (!err)
			zns_free(z);
		told = drop_end(call->d, ns, &drop);
	}
	zdb_ns_unref(ns);
	err = err ? err : told;
	if (err)
		reply_error(c, "Could not delete this namespace");
	else
		reply_ok(c);
	return DONE;
}

enum verdict cmd_nslist(struct call *call)
{
	struct zdb_ns *ns = NULL;

	reply_array(call->c, zdb_ns_count(call->d->eng));
	while ((ns = zdb_ns_next(call->d->eng, ns)))
		reply_text(call->c, zdb_ns_name(ns));
	return DONE;
}

enum verdict cmd_reload(struct call *call)
{
	struct client *c = call->c;
	struct zdb_ns *ns = find(call, 1, "Namespace not found");
	struct zns *z;
	int err;

	if (!ns)
		return DONE;
	z = zns_of(call->d, ns);
	if (z && !quiesce(c, z))
		return BLOCKED;
	err = zdb_ns_reload(ns);
	if (err) {
		log_err("cannot reload namespace=%s: %s", zdb_ns_name(ns), err_str(err));
		reply_error(c, "Internal Error");
		return DONE;
	}
	reply_ok(c);
	return DONE;
}

/* Is what this namespace holds kept elsewhere too, so that emptying it needs an admin and a new generation? */
static bool is_stored(const struct zdbd *d, struct zdb_ns *ns)
{
	return (d->opt.hook || d->spool) && !ns_is_temp(d, zdb_ns_name(ns));
}

enum verdict cmd_flush(struct call *call)
{
	struct client *c = call->c;
	struct zdb_props props;
	struct zns *z = zns_of(call->d, c->ns);
	struct drop drop;
	int err, told = 0;

	zdb_ns_props(c->ns, &props);
	if (props.is_public || props.password_len == 0) {
		reply_error(c, "Flushing public namespace denied");
		return DONE;
	}
	if (!may_write(c))
		return DONE;
	if (props.worm) {
		reply_error(c, "Namespace is protected by worm mode");
		return DONE;
	}
	if (is_stored(call->d, c->ns) && !admin_only(c))
		return DONE;
	if (z && !quiesce(c, z))
		return BLOCKED;
	err = drop_begin(call->d, c->ns, &drop);
	if (!err) {
		err = zdb_ns_flush(c->ns);
		told = drop_end(call->d, c->ns, &drop);
	}
	err = err ? err : told;
	if (err) {
		log_err("cannot flush namespace=%s: %s", zdb_ns_name(c->ns), err_str(err));
		reply_error(c, "Internal Error");
		return DONE;
	}
	if (z)
		dirty_forget(z);
	reply_ok(c);
	return DONE;
}

enum verdict cmd_nsjump(struct call *call)
{
	int err;

	if (sync_before_rotation(call->c))
		return BLOCKED;
	err = zdb_jump(call->c->ns);
	if (err) {
		log_err("cannot rotate namespace=%s: %s", zdb_ns_name(call->c->ns), err_str(err));
		reply_error(call->c, "Cannot write data right now");
	} else {
		call->c->wrote = true;
		reply_ok(call->c);
	}
	return DONE;
}

/* ----------------------------------------------------------------------------------------------------- NSSET */

static bool value_is(struct call *call, const char *text)
{
	return ARG_LEN(call, 3) == strlen(text) && memcmp(ARG(call, 3), text, strlen(text)) == 0;
}

static bool value_starts_with_one(struct call *call)
{
	return ARG_LEN(call, 3) > 0 && ARG(call, 3)[0] == '1';
}

/* NULL = done. */
static const char *set_mode(struct call *call, struct zdb_ns *ns)
{
	int err;

	if (call->d->opt.mode != ZDB_MIXED)
		return "This server instance is configured to use a single runtime mode";
	if (zdb_ns_is_used(ns))
		return "Cannot change mode of used namespace";
	if (!value_is(call, "user") && !value_is(call, "seq"))
		return "Invalid property value (expected: user, seq)";
	err = zdb_ns_set_mode(ns, value_is(call, "seq") ? ZDB_SEQ : ZDB_USER);
	if (err == -EBUSY)
		return "Cannot change mode of used namespace";
	return err ? "Internal Error" : NULL;
}

static const char *set_property(struct call *call, struct zdb_ns *ns, const char *property)
{
	const uint8_t *value = ARG(call, 3);
	size_t len = ARG_LEN(call, 3);
	int err;

	if (strcmp(property, "mode") == 0)
		return set_mode(call, ns);
	if (strcmp(property, "lock") == 0 || strcmp(property, "freeze") == 0) {
		enum zdb_lock on = property[0] == 'l' ? ZDB_LOCKED : ZDB_FROZEN;

		return zdb_ns_set_lock(ns, value_starts_with_one(call) ? on : ZDB_UNLOCKED) ? "Internal Error"
											    : NULL;
	}
	if (strcmp(zdb_ns_name(ns), ZDB_DEFAULT) == 0)
		return "Cannot update default namespace";
	if (strcmp(property, "maxsize") == 0)
		err = zdb_ns_set_maxsize(ns, (uint64_t)loose_integer(value, len));
	else if (strcmp(property, "password") == 0)
		err = value_is(call, "*") ? zdb_ns_set_password(ns, NULL, 0)
					  : zdb_ns_set_password(ns, (const char *)value,
								strnlen((const char *)value, len));
	else if (strcmp(property, "public") == 0)
		err = zdb_ns_set_public(ns, value_starts_with_one(call));
	else if (strcmp(property, "worm") == 0)
		err = zdb_ns_set_worm(ns, value_starts_with_one(call));
	else
		return "Invalid property";
	return err ? "Internal Error" : NULL;
}

enum verdict cmd_nsset(struct call *call)
{
	char property[PROPERTY_MAX + 1];
	struct zdb_ns *ns;
	const char *error;

	if (ARG_LEN(call, 1) > ZDB_NAME_MAX) {
		reply_error(call->c, "Namespace too long");
		return DONE;
	}
	if (ARG_LEN(call, 2) > PROPERTY_MAX || ARG_LEN(call, 3) > VALUE_MAX) {
		reply_error(call->c, "Argument too long");
		return DONE;
	}
	ns = find(call, 1, "Namespace not found");
	if (!ns)
		return DONE;
	memcpy(property, ARG(call, 2), ARG_LEN(call, 2));
	property[ARG_LEN(call, 2)] = '\0';
	error = set_property(call, ns, property);
	if (error)
		reply_error(call->c, error);
	else
		reply_ok(call->c);
	return DONE;
}

/* ---------------------------------------------------------------------------------------------------- NSINFO */

#define MIB 1048576.0

static const char *yes(bool on)
{
	return on ? "yes" : "no";
}

static void info_space(struct buf *b, const struct zdb_props *p, const struct zdb_ns_info *i,
		       struct zdb_ns *ns)
{
	struct zdb_space space = {0};

	if (p->maxsize)
		buf_append_fmt(
			b, "space_available: %llu\n",
			(unsigned long long)(p->maxsize > i->data_size ? p->maxsize - i->data_size : 0));
	if (zdb_ns_space(ns, &space))
		space = (struct zdb_space){0}; /* unknown shows as full: nobody plans with it */
	buf_append_fmt(b, "index_disk_freespace_bytes: %llu\nindex_disk_freespace_mb: %.2f\n",
		       (unsigned long long)space.index_free, (double)space.index_free / MIB);
	buf_append_fmt(b, "data_disk_freespace_bytes: %llu\ndata_disk_freespace_mb: %.2f\n",
		       (unsigned long long)space.data_free, (double)space.data_free / MIB);
}

/* The directory of a file's path, at the end of a line. */
static void info_path(struct buf *b, const char *label, const char *path)
{
	const char *slash = strrchr(path, '/');

	buf_append_fmt(b, "%s: %.*s\n", label, slash ? (int)(slash - path) : 0, path);
}

static void info_admin(struct buf *b, const struct zdb_ns_info *i, struct zdb_ns *ns)
{
	char path[4096];
	uint32_t at, end;

	zdb_ns_data_path(ns, i->data_current_id, path, sizeof(path));
	info_path(b, "data_path", path);
	buf_append_fmt(b, "data_active: %s\n", path);
	zdb_ns_index_path(ns, i->data_current_id, path, sizeof(path));
	info_path(b, "index_path", path);
	buf_append_fmt(b, "index_active: %s\n", path);
	buf_append_fmt(b, "data_current_id: %u\ndata_current_offset: %u\n", i->data_current_id,
		       i->data_current_offset);
	if (zdb_compact_progress(ns, &at, &end))
		buf_append_fmt(b, "compacting: %u of %u\n", at, end);
}

/* Fields, order and units are upstream's. */
static void info_text(struct buf *b, struct client *c, struct zdb_ns *ns)
{
	struct zdb_props p;
	struct zdb_ns_info i;

	zdb_ns_props(ns, &p);
	zdb_ns_info(ns, &i);
	buf_append_fmt(
		b, "# namespace\nname: %s\nentries: %llu\npublic: %s\nworm: %s\nlocked: %s\npassword: %s\n",
		zdb_ns_name(ns), (unsigned long long)i.entries, yes(p.is_public), yes(p.worm),
		yes(p.lock != ZDB_UNLOCKED), yes(p.password_len > 0));
	buf_append_fmt(b, "data_size_bytes: %llu\ndata_size_mb: %.2f\ndata_limits_bytes: %llu\n",
		       (unsigned long long)i.data_size, (double)i.data_size / MIB,
		       (unsigned long long)p.maxsize);
	buf_append_fmt(b, "index_size_bytes: %llu\nindex_size_kb: %.2f\n", (unsigned long long)i.index_size,
		       (double)i.index_size / 1024.0);
	/* the bytes of the little-endian counter, read as a big-endian number */
	buf_append_fmt(b, "next_internal_id: 0x%08llx\nmode: %s\n",
		       (unsigned long long)__builtin_bswap64(i.next_id),
		       zdb_ns_mode(ns) == ZDB_SEQ ? "sequential" : "userkey");
	buf_append_fmt(
		b, "stats_index_io_errors: %llu\nstats_index_io_error_last: %lld\nstats_index_faults: 0\n",
		(unsigned long long)i.index_io_errors, (long long)i.index_io_error_last);
	buf_append_fmt(b,
		       "stats_data_io_errors: %llu\nstats_data_io_error_last: %lld\nstats_data_faults: 0\n",
		       (unsigned long long)i.data_io_errors, (long long)i.data_io_error_last);
	info_space(b, &p, &i, ns);
	if (c->master && p.password_len)
		buf_append_fmt(b, "password_raw: %.*s\n", (int)p.password_len, p.password);
	if (c->admin)
		info_admin(b, &i, ns);
}

enum verdict cmd_nsinfo(struct call *call)
{
	struct zdb_ns *ns = find(call, 1, "Namespace not found");
	struct buf text = BUF_INIT(32u << 10);

	if (!ns)
		return DONE;
	info_text(&text, call->c, ns);
	reply_bulk(call->c, text.data, text.len);
	buf_release_wiped(&text);
	return DONE;
}

/* Recovery points on the stores: publishing one, finding the newest (native format, section 7). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/mem.h"
#include "core/object/restore.h"

struct slots {
	struct record rec[MANIFEST_SLOTS];
	struct record_state state[MANIFEST_SLOTS];
	bool found[MANIFEST_SLOTS];
};

static void slots_release(struct slots *s)
{
	for (unsigned i = 0; i < MANIFEST_SLOTS; i++)
		record_release(&s->rec[i]);
}

static uint64_t sequence_of(const struct record_state *state)
{
	return state->version / RECORD_MANIFEST_STEP;
}

/* Reads the records of all four slots. OBJ_FOUND: at least one; OBJ_ABSENT: none, with authority. */
static enum obj_answer read_slots(struct meta *meta, struct obj_work *w, uint64_t generation, struct slots *s,
				  int *code, char *why)
{
	enum obj_answer all = OBJ_ABSENT;

	for (unsigned i = 0; i < MANIFEST_SLOTS; i++) {
		enum obj_answer answer;
		struct obj_id id;

		*code = obj_id_set(&id, generation, OBJ_MANIFEST, i, NULL, 0);
		answer = record_read(meta, w, &id, &s->rec[i], &s->state[i], code);
		if (answer == OBJ_UNKNOWN) {
			snprintf(why, OBJ_WHY_BYTES,
				 "whether manifest slot %u of generation %llx holds a newer recovery point "
				 "is unknown%s%s",
				 i, (unsigned long long)generation, *code ? ": " : "",
				 *code ? err_str(*code) : "");
			return OBJ_UNKNOWN;
		}
		s->found[i] = answer == OBJ_FOUND;
		if (answer == OBJ_FOUND)
			all = OBJ_FOUND;
	}
	return all;
}

static int read_manifest(struct obj_work *w, const struct record *rec, const struct obj_stores *stores,
			 uint64_t generation, uint64_t sequence, struct manifest *m, char *why)
{
	struct buf bytes = BUF_INIT(MANIFEST_MAX_BYTES);
	struct obj_sink sink = obj_sink_buf(&bytes);
	const char *what = NULL;
	int rc = obj_read(w, rec, stores, &sink, NULL, why);

	if (rc == 0)
		rc = manifest_decode(bytes.data, bytes.len, m, &what);
	if (rc == 0 && (m->generation != generation || m->sequence != sequence)) {
		manifest_release(m);
		what = "generation or sequence";
		rc = -E_CORRUPT;
	}
	if (rc == -E_CORRUPT) {
		snprintf(why, OBJ_WHY_BYTES, "wrong %s", what ? what : "content");
		rc = -EIO;
	}
	buf_release(&bytes);
	return rc;
}

/* The newest slot that was not tried yet, or -1. */
static int newest_slot(const struct slots *s)
{
	int best = -1;

	for (unsigned i = 0; i < MANIFEST_SLOTS; i++)
		if (s->found[i] && (best < 0 || s->state[i].version > s->state[best].version))
			best = (int)i;
	return best;
}

/* Reads manifests from the newest down until one reads whole. */
static enum obj_answer read_newest(struct obj_work *w, const struct obj_stores *stores, uint64_t generation,
				   struct slots *s, struct manifest *m, int *code, char *why)
{
	char cause[OBJ_WHY_BYTES], skipped[OBJ_WHY_BYTES] = "";
	int slot;

	while ((slot = newest_slot(s)) >= 0) {
		uint64_t sequence = sequence_of(&s->state[slot]);

		*code = read_manifest(w, &s->rec[slot], stores, generation, sequence, m, cause);
		if (*code == 0) {
			memcpy(why, skipped, OBJ_WHY_BYTES);
			return OBJ_FOUND;
		}
		snprintf(skipped, sizeof(skipped), "recovery point %llu: %.180s",
			 (unsigned long long)sequence, cause[0] ? cause : err_str(*code));
		if (*code != -EIO)
			break;
		s->found[slot] = false;
	}
	memcpy(why, skipped, OBJ_WHY_BYTES);
	return OBJ_UNKNOWN;
}

static enum obj_answer find_in(struct meta *meta, struct obj_work *w, const struct obj_stores *stores,
			       uint64_t generation, struct manifest *m, int *code, char *why)
{
	enum obj_answer answer;
	struct slots *s = mem_calloc(1, sizeof(*s));

	if (!s) {
		*code = -ENOMEM;
		return OBJ_UNKNOWN;
	}
	answer = read_slots(meta, w, generation, s, code, why);
	if (answer == OBJ_FOUND)
		answer = read_newest(w, stores, generation, s, m, code, why);
	slots_release(s);
	mem_free(s);
	return answer;
}

enum obj_answer restore_find_manifest(struct meta *meta, struct obj_work *w, const struct obj_stores *stores,
				      const struct restore_options *options, struct manifest *m, int *code,
				      char *why)
{
	char own[OBJ_WHY_BYTES];
	enum obj_answer answer;

	why = why ? why : own;
	*why = 0;
	*code = 0;
	answer = find_in(meta, w, stores, options->generation, m, code, why);
	if (answer != OBJ_UNKNOWN && !options->accept_older && options->known > 0 &&
	    (answer == OBJ_ABSENT || m->sequence < options->known)) {
		snprintf(why, OBJ_WHY_BYTES,
			 "the stores were rolled back: recovery point %llu was published, they show %llu",
			 (unsigned long long)options->known,
			 (unsigned long long)(answer == OBJ_ABSENT ? 0 : m->sequence));
		manifest_release(m);
		*code = -ESTALE;
		return OBJ_UNKNOWN;
	}
	if (answer == OBJ_ABSENT && options->base != 0 && options->base != options->generation)
		answer = find_in(meta, w, stores, options->base, m, code, why);
	return answer;
}

/* The version that makes this sequence the newest of its slot. */
static int next_version(const struct manifest *m, enum obj_answer answer, int code,
			const struct record_state *state, uint64_t *version)
{
	*version = m->sequence * RECORD_MANIFEST_STEP;
	if (answer == OBJ_UNKNOWN &&
	    code != -E_CORRUPT) /* a damaged record must not block its slot for ever */
		return code == -ENOMEM ? code : -EAGAIN;
	if (state->version_high / RECORD_MANIFEST_STEP > m->sequence)
		return -ESTALE;
	if (state->version_high >= *version)
		*version = state->version_high + 1;
	return 0;
}

int restore_publish(struct meta *meta, struct obj_work *w, const struct manifest *m,
		    const struct obj_geometry *g, struct obj_store *const *stores, struct record *old,
		    struct record_state *state, char *why)
{
	struct buf bytes = BUF_INIT(MANIFEST_MAX_BYTES);
	enum obj_answer answer;
	struct obj_source source;
	struct obj_report report;
	struct record rec;
	struct obj_id id;
	uint64_t version;
	char own[OBJ_WHY_BYTES];
	int rc;

	why = why ? why : own;
	*why = 0;
	record_init(&rec);
	record_release(old);
	rc = manifest_encode(m, &bytes);
	if (rc == -EINVAL)
		snprintf(why, OBJ_WHY_BYTES, "impossible manifest: %s", manifest_wrong(m));
	if (rc == 0)
		rc = obj_id_set(&id, m->generation, OBJ_MANIFEST, m->sequence % MANIFEST_SLOTS, NULL, 0);
	if (rc != 0)
		goto out;
	answer = record_read(meta, w, &id, old, state, &rc);
	rc = next_version(m, answer, rc, state, &version);
	if (rc != 0) {
		snprintf(why, OBJ_WHY_BYTES, "what its slot holds is %s",
			 rc == -ESTALE ? "newer" : obj_answer_text(answer));
		goto out;
	}
	source = obj_source_memory(bytes.data, bytes.len);
	rc = obj_write(w, meta->keys, &id, g, stores, &source, &rec, &report);
	if (rc != 0) {
		snprintf(why, OBJ_WHY_BYTES, "cannot store the manifest: %s", err_str(rc));
		goto out;
	}
	/* After a failed write some stores may show the record: its shards stay. */
	rc = record_write(meta, w, &rec, version, state);
	if (rc != 0)
		snprintf(why, OBJ_WHY_BYTES, "cannot store the manifest's record: %s", err_str(rc));
out:
	if (rc != 0)
		record_release(old);
	record_release(&rec);
	buf_release(&bytes);
	return rc;
}

/*
 * kv_mem: a sequential store in memory, with the numbering of a real one, for tests and for trying out a mount.
 *
 * With `record` it also keeps every change and every SYNC in order, so that a test can build the store that a crash at
 * any moment would have left: of each role a prefix of its changes, at least up to its last SYNC.
 */
#ifndef ZDBFS_KV_MEM_H
#define ZDBFS_KV_MEM_H

#include "applets/zdbfs/kv.h"

/* NULL: out of memory. */
struct kv *kv_mem_new(bool record);

/* One recorded event. `done[role]` changes of that role had been made, `synced[role]` of them were durable after it. */
struct kv_mem_event {
	size_t done[KV_ROLES];
	size_t synced[KV_ROLES];
};
size_t kv_mem_event_count(struct kv *kv);
struct kv_mem_event kv_mem_event_at(struct kv *kv, size_t index);

/* A new store that holds the first changes[role] changes of each role, all durable. NULL: out of memory. */
struct kv *kv_mem_at(struct kv *kv, const size_t changes[KV_ROLES], bool record);

#endif

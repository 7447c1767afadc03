/*
 * volume: what `qsfs` knows of one volume: where it lives, which stores it uses, how it is coded.
 *
 * Two origins. Embedded: no configuration; the stores are local zdb processes below DIR/backends, described by
 * DIR/backends/backends.ini, which `up` writes once. Configured: an INI file (/etc/qsfs.ini or -c FILE) names
 * remote stores. Everything else (the daemon's TOML, the supervisor's units) is derived from this struct and never
 * edited by a person.
 *
 *	DIR/lock                 flock'd by the volume's supervisor while the volume is up; says where it is mounted
 *	DIR/keys/                what a person must keep (0700/0600)
 *	DIR/backends/            embedded stores; what would be elsewhere in a real deployment
 *	DIR/front/{data,index,spool,run,log}   what a lost node loses
 */
#ifndef APPLETS_QSFS_VOLUME_H
#define APPLETS_QSFS_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOLUME_STORES_MAX 128
#define VOLUME_PATH       1024

#define VOLUME_DEFAULT_DATA   "/var/lib/qsfs"
#define VOLUME_DEFAULT_CONFIG "/etc/qsfs.ini"

struct volume_store {
	char id[64];        /* label in records; embedded: d1..d6, m1..m4 */
	char address[300];  /* host:port, [v6]:port */
	char ns[129];       /* namespace, "" = the server's default */
	char password[256]; /* of the namespace */
	char group[64];     /* stores of one group may fail together */
	bool is_meta;
	uint16_t port; /* embedded only */
};

struct volume {
	char data[VOLUME_PATH];   /* DIR, absolute */
	char mount[VOLUME_PATH];  /* absolute */
	char config[VOLUME_PATH]; /* INI file it came from, "" = embedded */
	char front[VOLUME_PATH];  /* DIR/front */
	char run[VOLUME_PATH]; /* sockets: DIR/front/run, or below /run/qsfs when that is too long for a socket */
	char etc[VOLUME_PATH];  /* derived configuration: run/etc */
	char bin[VOLUME_PATH];  /* links named after the applets: run/bin */
	char log[VOLUME_PATH];  /* DIR/front/log */
	char keys[VOLUME_PATH]; /* directory of the keys */
	char backends[VOLUME_PATH];
	char lock[VOLUME_PATH];
	char exe[VOLUME_PATH]; /* this binary */

	bool embedded;
	unsigned data_shards, parity_shards; /* k, m */
	unsigned meta_data;                  /* k' */
	unsigned redundant_groups, redundant_nodes;
	uint64_t rpo_ms, rotate_ms;
	uint64_t drain_ms; /* how long a stop may wait for uploads */
	uint64_t segment_bytes;
	uint64_t size_bytes; /* what statfs shows */
	uint64_t cache_mib;  /* local segments are evicted above this; 0 = only on request */
	bool allow_other;

	struct volume_store stores[VOLUME_STORES_MAX];
	size_t store_count;
};

/*
 * Fills the volume from `config` (NULL: VOLUME_DEFAULT_CONFIG when that file exists, else embedded), then from
 * `data` and `mount` (NULL = what the configuration says, else the defaults). Relative paths are made absolute.
 * For an embedded volume that exists already its stores are read from DIR/backends/backends.ini.
 * Returns 0, or an exit code after one line on stderr that names file and line.
 */
int volume_load(struct volume *v, const char *config, const char *data, const char *mount);

/* Wipes the passwords. */
void volume_wipe(struct volume *v);

/* n = k + m; number of data and of metadata stores. */
unsigned volume_shards(const struct volume *v);
size_t volume_count(const struct volume *v, bool meta);

/* Whether the mount point is DIR/mnt, which is ours to make and to remove. */
bool volume_mount_is_inside(const struct volume *v);

#endif

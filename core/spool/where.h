/*
 * where: which files and sockets belong to the volume at hand, for programs that are started without being told:
 * hooks, wait_hooks. They read zstor's configuration, of which they need five keys, and nothing secret is kept.
 */
#ifndef CORE_SPOOL_WHERE_H
#define CORE_SPOOL_WHERE_H

#include <stdbool.h>

#include "core/base/err.h"
#include "core/base/file.h"

#define WHERE_DEFAULT_CONFIG "/data/zstor.toml"

struct where {
	char config[FILE_PATH_MAX];
	char socket[FILE_PATH_MAX];     /* of zstor; "" = none configured */
	char state[FILE_PATH_MAX];      /* the volume's state directory */
	char spool[FILE_PATH_MAX];      /* `<state>/spool`, or $ZDB_SPOOL */
	char data_root[FILE_PATH_MAX];  /* `<state>/data` unless configured */
	char index_root[FILE_PATH_MAX]; /* `<state>/index` unless configured */
};

/*
 * Reads the configuration at `config`, or (NULL) at $ZSTOR_CONFIG, or at WHERE_DEFAULT_CONFIG. The state directory
 * is the key `state`; without it, for configurations of the original, the parent of `zdb_data_dir_path` (of its
 * parent, when that names one namespace), or the directory of the configuration. 0 or a negative code with a
 * sentence in `err`.
 */
int where_load(struct where *w, const char *config, struct err_text *err);

/* Whether a namespace is scratch: never stored, never restored. */
bool where_is_temp(const char *ns);

/*
 * "<root>/<ns>/d17" -> ns and 17; `letter` is 'd' or 'i'. False when the path does not end so. `ns` has room for 129
 * bytes.
 */
bool where_split(const char *path, char letter, char *ns, unsigned long *number);

#endif

/*
 * stores_ini: the sections [store.ID] and [metadata.ID] of a volume's configuration, and of the file that describes the
 * embedded stores.
 *
 *	[store.berlin]
 *	address = 203.0.113.7:9900
 *	namespace = v1
 *	password_file = /etc/qsfs/berlin.pass
 *	group = europe
 */
#ifndef APPLETS_QSFS_STORES_INI_H
#define APPLETS_QSFS_STORES_INI_H

#include "applets/qsfs/volume.h"
#include "core/config/cfg.h"

/* Adds the stores of a parsed configuration to v->stores. -E_CONFIG with a sentence in `err`. */
int stores_ini_read(const struct cfg_node *root, struct volume *v, struct err_text *err);

/* Reads a file that holds nothing else. It must be private (0600). 0, or a negative code after one line on stderr. */
int stores_ini_load(const char *path, struct volume *v);

#endif

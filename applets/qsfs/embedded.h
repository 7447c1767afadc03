/*
 * embedded: the stores of a volume without configuration: six data and four metadata zdb below DIR/backends, on loopback
 * ports of our own choosing. They stand for the remote stores of a real deployment, so that everything else is the same.
 *
 * DIR/backends/backends.ini (0600) names them; DIR/backends/<id>/admin (0600) holds each one's password.
 */
#ifndef APPLETS_QSFS_EMBEDDED_H
#define APPLETS_QSFS_EMBEDDED_H

#include "applets/qsfs/volume.h"

#define EMBEDDED_DATA_STORES 6
#define EMBEDDED_META_STORES 4

/* Chooses ports and passwords, makes the directories, and writes backends.ini last. 0 or a negative code after one line on
 * stderr. */
int embedded_create(struct volume *v);

/* Reads backends.ini into v->stores. -ENOENT when there is none. */
int embedded_load(struct volume *v);

/* A port that somebody else has taken since is exchanged for a free one, and backends.ini is written anew. */
int embedded_check_ports(struct volume *v);

#endif

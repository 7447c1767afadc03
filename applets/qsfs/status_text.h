/* status_text: the status document as text for people. */
#ifndef APPLETS_QSFS_STATUS_TEXT_H
#define APPLETS_QSFS_STATUS_TEXT_H

#include <stdio.h>

#include <yyjson.h>

void status_text(yyjson_mut_val *root, FILE *out);

#endif

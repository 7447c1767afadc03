/*
 * show: JSON values as the YAML that the original prints, or as text for people.
 */
#ifndef ZINIT_SHOW_H
#define ZINIT_SHOW_H

#include <yyjson.h>

/* "---\n", then the value in block style; strings that YAML would read otherwise are quoted. */
void show_yaml(yyjson_val *value);
/* One JSON text and a line end. */
void show_json(yyjson_val *value);

#endif

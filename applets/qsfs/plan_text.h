/* plan_text: the texts of a plan. See plan.h for who calls them. */
#ifndef APPLETS_QSFS_PLAN_TEXT_H
#define APPLETS_QSFS_PLAN_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "applets/qsfs/plan.h"

/* One unit file (YAML). Words are quoted as the supervisor's word rules want, then as a YAML string. */
void plan_text_unit(const struct plan_unit *u, const struct volume *v, FILE *out);

/* zstor's configuration (TOML). `hide` puts "***" where a password would be. */
void plan_text_zstor(const struct volume *v, bool hide, FILE *out);

#endif

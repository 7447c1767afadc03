/*
 * answer: three answers, never two. Whether something is stored is found, absent or unknown; on unknown
 * nothing is created, overwritten or deleted (native format, section 2).
 */
#ifndef CORE_OBJECT_ANSWER_H
#define CORE_OBJECT_ANSWER_H

enum obj_answer {
	OBJ_FOUND,   /* and here it is */
	OBJ_ABSENT,  /* enough stores with authority said no */
	OBJ_UNKNOWN, /* neither can be said now; trying again later may help */
};

/* "found", "absent", "unknown" */
const char *obj_answer_text(enum obj_answer a);

#endif

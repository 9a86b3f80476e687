/* SPDX-License-Identifier: MIT */
/*
 * Writing JSON (RFC 8259) to a stream, member by member. Indented, so that people can read it too.
 * Errors of the stream stay in the stream: ask ferror at the end. One thread.
 *
 * `name` is that of the member, from us and so without anything to be escaped; NULL in an array and
 * for the outermost value.
 */
#ifndef VMM_JSON_H
#define VMM_JSON_H

#include <stdio.h>
#include <vblk/types.h>

struct vmm_json {
	FILE *out;
	unsigned int depth;
	bool empty; /* nothing stands in the innermost array or object yet */
};

void vmm_json_begin(struct vmm_json *json, FILE *out);
/* Ends the text with a newline. */
void vmm_json_end(struct vmm_json *json);

void vmm_json_open_object(struct vmm_json *json, const char *name);
void vmm_json_close_object(struct vmm_json *json);
void vmm_json_open_array(struct vmm_json *json, const char *name);
void vmm_json_close_array(struct vmm_json *json);

void vmm_json_number(struct vmm_json *json, const char *name, uint64_t value);
void vmm_json_signed(struct vmm_json *json, const char *name, int64_t value);
void vmm_json_bool(struct vmm_json *json, const char *name, bool value);
/* As a text, "0x1f": JSON's numbers lose the low bits of large ones in many readers. */
void vmm_json_hex(struct vmm_json *json, const char *name, uint64_t value);
/* Any bytes: what is no ASCII, or a control character, is shown as '?'. */
void vmm_json_text(struct vmm_json *json, const char *name, const char *value);

#endif

/* SPDX-License-Identifier: MIT */
#include "vmm/json.h"

#include <inttypes.h>

void vmm_json_begin(struct vmm_json *json, FILE *out)
{
	*json = (struct vmm_json){ .out = out, .empty = true };
}

static void new_line(struct vmm_json *json)
{
	fputc('\n', json->out);
	for (unsigned int i = 0; i < json->depth; i++)
		fputc('\t', json->out);
}

/* Everything up to a value. */
static void lead_in(struct vmm_json *json, const char *name)
{
	if (!json->empty)
		fputc(',', json->out);
	json->empty = false;
	if (json->depth)
		new_line(json);
	if (name)
		fprintf(json->out, "\"%s\": ", name);
}

static void open_level(struct vmm_json *json, const char *name, char bracket)
{
	lead_in(json, name);
	fputc(bracket, json->out);
	json->depth++;
	json->empty = true;
}

static void close_level(struct vmm_json *json, char bracket)
{
	json->depth--;
	if (!json->empty)
		new_line(json);
	fputc(bracket, json->out);
	json->empty = false;
}

void vmm_json_end(struct vmm_json *json)
{
	fputc('\n', json->out);
}

void vmm_json_open_object(struct vmm_json *json, const char *name)
{
	open_level(json, name, '{');
}

void vmm_json_close_object(struct vmm_json *json)
{
	close_level(json, '}');
}

void vmm_json_open_array(struct vmm_json *json, const char *name)
{
	open_level(json, name, '[');
}

void vmm_json_close_array(struct vmm_json *json)
{
	close_level(json, ']');
}

void vmm_json_number(struct vmm_json *json, const char *name, uint64_t value)
{
	lead_in(json, name);
	fprintf(json->out, "%" PRIu64, value);
}

void vmm_json_signed(struct vmm_json *json, const char *name, int64_t value)
{
	lead_in(json, name);
	fprintf(json->out, "%" PRId64, value);
}

void vmm_json_bool(struct vmm_json *json, const char *name, bool value)
{
	lead_in(json, name);
	fputs(value ? "true" : "false", json->out);
}

void vmm_json_hex(struct vmm_json *json, const char *name, uint64_t value)
{
	lead_in(json, name);
	fprintf(json->out, "\"0x%" PRIx64 "\"", value);
}

void vmm_json_text(struct vmm_json *json, const char *name, const char *value)
{
	lead_in(json, name);
	fputc('"', json->out);
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '"' || c == '\\')
			fputc('\\', json->out);
		fputc(c < ' ' || c > '~' ? '?' : c, json->out);
	}
	fputc('"', json->out);
}

/* SPDX-License-Identifier: MIT */
/* What is written as JSON, byte by byte. */
#include "vmm/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void values_in_their_places(void **state)
{
	struct vmm_json json;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	vmm_json_begin(&json, out);
	vmm_json_open_object(&json, NULL);
	vmm_json_number(&json, "most", UINT64_MAX);
	vmm_json_signed(&json, "owed", INT64_MIN);
	vmm_json_open_array(&json, "list");
	vmm_json_hex(&json, NULL, 0xd0000000);
	vmm_json_open_object(&json, NULL);
	vmm_json_close_object(&json);
	vmm_json_bool(&json, NULL, true);
	vmm_json_close_array(&json);
	vmm_json_open_array(&json, "none");
	vmm_json_close_array(&json);
	vmm_json_bool(&json, "last", false);
	vmm_json_close_object(&json);
	vmm_json_end(&json);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "{\n"
				  "\t\"most\": 18446744073709551615,\n"
				  "\t\"owed\": -9223372036854775808,\n"
				  "\t\"list\": [\n"
				  "\t\t\"0xd0000000\",\n"
				  "\t\t{},\n"
				  "\t\ttrue\n"
				  "\t],\n"
				  "\t\"none\": [],\n"
				  "\t\"last\": false\n"
				  "}\n");
	free(text);
}

static void texts_of_any_bytes(void **state)
{
	struct vmm_json json;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	vmm_json_begin(&json, out);
	vmm_json_text(&json, NULL, "a\"b\\c\n\x7f\xff~ ");
	vmm_json_end(&json);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "\"a\\\"b\\\\c???~ \"\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_in_their_places),
		cmocka_unit_test(texts_of_any_bytes),
	};

	return cmocka_run_group_tests_name("vmm_json", tests, NULL, NULL);
}

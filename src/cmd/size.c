/* SPDX-License-Identifier: MIT */
/* Parsing numbers by hand: strtoull would take signs, spaces and other bases as well. */
#include "cmd/size.h"

#include "base/checked.h"
#include <errno.h>
#include <string.h>

/* Reads digits from `*text` and leaves it behind them. */
static int parse_digits(const char **text, uint64_t *value)
{
	const char *c = *text;
	uint64_t sum = 0;

	if (*c < '0' || *c > '9')
		return -EINVAL;
	for (; *c >= '0' && *c <= '9'; c++)
		if (!vblk_mul_u64(sum, 10, &sum) || !vblk_add_u64(sum, (uint64_t)(*c - '0'), &sum))
			return -ERANGE;
	*text = c;
	*value = sum;
	return 0;
}

/* The power of two that a suffix stands for, or -1. */
static int suffix_shift(char suffix)
{
	switch (suffix) {
	case 'k':
	case 'K':
		return 10;
	case 'm':
	case 'M':
		return 20;
	case 'g':
	case 'G':
		return 30;
	case 't':
	case 'T':
		return 40;
	default:
		return -1;
	}
}

int cmd_size_parse(const char *text, uint64_t *value)
{
	uint64_t number;
	int ret = parse_digits(&text, &number);

	if (ret)
		return ret;
	if (*text) {
		int shift = suffix_shift(*text);

		if (shift < 0 || text[1])
			return -EINVAL;
		if (!vblk_mul_u64(number, UINT64_C(1) << shift, &number))
			return -ERANGE;
	}
	*value = number;
	return 0;
}

int cmd_time_parse(const char *text, uint64_t *ns)
{
	static const struct {
		const char *suffix;
		uint64_t ns;
	} units[] = { { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 } };
	uint64_t number;
	int ret = parse_digits(&text, &number);

	if (ret)
		return ret;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(units); i++) {
		if (strcmp(text, units[i].suffix) != 0)
			continue;
		if (!vblk_mul_u64(number, units[i].ns, &number))
			return -ERANGE;
		*ns = number;
		return 0;
	}
	return -EINVAL;
}

int cmd_count_parse(const char *text, uint64_t max, uint64_t *value)
{
	uint64_t number;
	int ret = parse_digits(&text, &number);

	if (ret)
		return ret;
	if (*text)
		return -EINVAL;
	if (number > max)
		return -ERANGE;
	*value = number;
	return 0;
}

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Sourced by the tests of this folder.

# public_calls HEADERS: the functions that the headers in that folder mark VBLK_API, one a line. The
# name is the word before the first parenthesis after VBLK_API. Comments go first.
public_calls() {
	cat "$1"/*.h | sed '/^#define/d' | tr '\n\t' '  ' | sed 's|/\*|\n&|g; s|\*/|&\n|g' |
		sed '/^\/\*/d' | tr '\n' ' ' | grep -oE 'VBLK_API [^(;]*\(' |
		sed -E 's/.*[ *]([A-Za-z0-9_]+) *\($/\1/' | sort
}

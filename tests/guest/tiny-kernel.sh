#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# To be sourced: kernels of a few bytes, for tests of the machine around a guest.
# shellcheck disable=SC2034 # the codes are for those who source this

# Prints the bytes that are given in hexadecimal, with or without spaces.
from_hex() {
	local hex="$*"

	hex=${hex// /}
	while [ -n "$hex" ]; do
		printf '%b' "\\x${hex:0:2}"
		hex=${hex:2}
	done
}

# tiny_kernel FILE CODE: an ELF executable for x86-64 that is loaded at 16 MiB, asks for 8 MiB
# there, and runs CODE, which is given in hexadecimal.
tiny_kernel() {
	local header program

	header="7f454c46 02010100 0000000000000000" # ELF, 64 bits, little-endian
	header+="0200 3e00 01000000"		    # executable, x86-64
	header+="0000000100000000"		    # entry: 16 MiB
	header+="4000000000000000 0000000000000000" # program headers follow this one
	header+="00000000 4000 3800 0100 0000 0000 0000"

	program="01000000 07000000"		     # to be loaded
	program+="0010000000000000"		     # from 4096 in the file
	program+="0000000100000000 0000000100000000" # to 16 MiB
	program+="0001000000000000 0000800000000000" # 256 bytes of the file, 8 MiB in memory
	program+="0010000000000000"

	truncate -s 0 "$1" && truncate -s 4352 "$1" &&
		from_hex "$header" "$program" | dd of="$1" conv=notrunc status=none &&
		from_hex "$2" | dd of="$1" bs=4096 seek=1 conv=notrunc status=none
}

# Code: writes "x" to the serial port and stays in a loop.
CODE_SPIN="66baf803 b078 ee ebfe"
# Code: writes "x" and resets the machine by the keyboard controller.
CODE_REBOOT="66baf803 b078 ee b0fe e664 ebfe"
# Code: writes "x" and halts with interrupts off.
CODE_HALT="66baf803 b078 ee fa f4 ebfd"
# Code: writes "x" and runs into an undefined instruction, with no table of interrupts.
CODE_CRASH="66baf803 b078 ee 0f0b"
# Code: writes "x" for ever.
CODE_FLOOD="66baf803 b078 ee ebfd"
# Code: writes "x" three times and resets the machine by the keyboard controller.
CODE_THRICE="66baf803 b078 ee ee ee b0fe e664 ebfe"

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2034 # what seems unused is used by those who source this
#
# What scripts/demo and the tests with guests share, whatever the guest runs in: making images,
# booting the guest, and checking on the host what it did. To be sourced under `set -euo pipefail`.
#
# A scenario lives in a folder of its own, $dir in what follows:
#
#     disk.img     first disk: an ext4 in the first guest_fs_bytes, the raw area behind it
#     second.img   second disk, raw, if there is one
#     console      the guest's lines
#     errors       what vblk said on standard error, without the counters
#     counters     what the devices counted, a line per disk
#
# Functions named guest_check_* return 1 and leave the reason in guest_why. Callers must expect
# that `set -e` does not reach into them, and they are written for that.

guest_fs_bytes=$((32 << 20))
guest_raw_bytes=$(((4 << 20) + 3 * 512)) # odd, so that the end of the disk is in no round place
guest_size=$((guest_fs_bytes + guest_raw_bytes))
guest_seed=${VBLK_GUEST_SEED:-1}
guest_timeout=${VBLK_GUEST_TIMEOUT:-300} # seconds; the checks take 20 under KVM-PVM, the slowest
guest_memory=64M
guest_why=
guest_pid= # of what runs in the background: bash notices signals while it waits for that only
guest_kernel=
guest_initrd=
guest_on_line= # name of a function: guest_run calls it with $dir and each line that has come
guest_more=() # options that guest_boot adds
guest_input=/dev/null # the guest's console reads from here

# Debian keeps these out of an ordinary user's way.
PATH=$PATH:/usr/sbin:/sbin

guest_because() {
	guest_why=$*
	return 1
}

guest_check_tools() {
	local tool

	[[ $(uname -m) == x86_64 ]] ||
		guest_because "needs an x86-64 host, this is $(uname -m)" || return
	for tool in mkfs.ext4 e2fsck debugfs sha256sum; do
		command -v "$tool" >/dev/null ||
			guest_because "'$tool' is missing; scripts/setup demo installs it" || return
	done
}

# For the microVM of `vblk boot`.
guest_check_host() {
	guest_check_tools || return
	[[ -e /dev/kvm ]] ||
		guest_because "/dev/kvm is missing: load kvm_intel or kvm_amd, with virtualisation \
turned on in the firmware (nested, if this host is itself a guest)" || return
	{ : <>/dev/kvm; } 2>/dev/null ||
		guest_because "/dev/kvm cannot be opened for reading and writing: run as root \
or as somebody who may: $(stat -c '%A %U %G' /dev/kvm)"
}

# guest_prepare FOLDER: sets guest_kernel and guest_initrd, which is put into FOLDER.
guest_prepare() {
	local scripts

	scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts" && pwd)
	"$scripts/guest-kernel" >"$1/kernel" &
	guest_pid=$!
	wait "$guest_pid" || guest_because "the guest kernel could not be built" || return
	guest_pid=
	guest_kernel=$(cat "$1/kernel")
	guest_initrd=$1/initrd
	"$scripts/guest-initrd" "$guest_initrd" ||
		guest_because "the initramfs could not be made"
}

# guest_make_disk FILE [FOLDER]: a fresh disk, its file system holding what is in FOLDER.
guest_make_disk() {
	rm -f "$1"
	truncate -s "$guest_size" "$1" &&
		mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 \
			${2:+-d "$2"} "$1" "$((guest_fs_bytes / 1024))k"
}

guest_cleanup() {
	if [[ -n $guest_pid ]]; then
		kill "$guest_pid" 2>/dev/null || true
		wait "$guest_pid" 2>/dev/null || true
		guest_pid=
	fi
}

# guest_run DIR COMMAND...: runs a virtual machine, whose console is its standard output, shows the
# guest's lines as they come and files them, and what the command said on standard error in
# $dir/stderr. Returns the command's status.
guest_run() {
	local dir=$1 status=0 line

	shift
	rm -f "$dir/pipe"
	mkfifo "$dir/pipe"
	: >"$dir/console"
	"$@" <"$guest_input" >"$dir/pipe" 2>"$dir/stderr" &
	guest_pid=$!
	while IFS= read -r line || [[ -n $line ]]; do
		line=${line%$'\r'}
		printf '%s\n' "$line" >>"$dir/console"
		printf '    %s\n' "$line"
		[[ -z $guest_on_line ]] || "$guest_on_line" "$dir" "$line"
	done <"$dir/pipe"
	wait "$guest_pid" || status=$?
	guest_pid=
	rm -f "$dir/pipe"
	return $status
}

# guest_boot VBLK DIR WORDS DISK...: runs a guest in the microVM with what guest_prepare made, and
# files what the devices counted. Fails if vblk did.
guest_boot() {
	local vblk=$1 dir=$2 words=$3 status=0 disk
	local -a disks=()

	shift 3
	for disk; do
		disks+=(--disk "$disk${VBLK_ENGINE:+,engine=$VBLK_ENGINE}")
	done
	guest_run "$dir" "$vblk" boot --kernel "$guest_kernel" --initrd "$guest_initrd" \
		--memory "$guest_memory" \
		--append "quiet vblk.seed=$guest_seed $words" "${disks[@]}" \
		"${guest_more[@]}" --timeout "$guest_timeout" --stats || status=$?
	grep '^disk=' "$dir/stderr" >"$dir/counters" || true
	grep -v '^disk=' "$dir/stderr" >"$dir/errors" || true
	rm -f "$dir/stderr"
	if ((status != 0)); then
		sed 's/^/    /' "$dir/errors"
		guest_because "vblk boot ended with status $status: $(tail -n 1 "$dir/errors")"
	fi
}

# guest_line DIR NAME: what the guest's check NAME reported.
guest_line() {
	sed -n "s/^check $2: ok //p" "$1/console" | tail -n 1
}

guest_check_console() {
	local dir=$1 last failed good

	last=$(grep -E '^guest: [0-9]+ ok, [0-9]+ failed$' "$dir/console" | tail -n 1)
	[[ -n $last ]] ||
		guest_because "the guest did not finish; its last line: $(tail -n 1 "$dir/console")" ||
		return
	failed=$(grep -E '^check [^ ]+: FAIL ' "$dir/console" | head -n 1)
	failed=${failed#check }
	[[ -z $failed ]] || guest_because "in the guest: ${failed/: FAIL /: }" || return
	good=$(grep -cE '^check [^ ]+: ok ' "$dir/console")
	[[ $good -gt 0 && $last == "guest: $good ok, 0 failed" ]] ||
		guest_because "the guest says '$last' and printed $good lines with ok"
}

# guest_check_raw DIR NAME FILE OFFSET: the raw area, against what the guest read.
guest_check_raw() {
	local dir=$1 name=$2 file=$3 offset=$4 theirs ours

	theirs=$(guest_line "$dir" "$name" | cut -d, -f1)
	ours=$(tail -c "+$((offset + 1))" "$dir/$file" | sha256sum | cut -d' ' -f1)
	[[ -n $theirs && $ours == "$theirs" ]] ||
		guest_because "raw area of $file: checksum $ours, the guest printed '$theirs'"
}

guest_check_fsck() {
	e2fsck -fn "$1/disk.img" >"$1/e2fsck" 2>&1 ||
		guest_because "e2fsck -fn: $(grep -vE '^(e2fsck |Pass )' "$1/e2fsck" | head -n 1)"
}

# guest_check_image DIR: all of a disk of guest_make_disk, after mode=rw or one like it.
guest_check_image() {
	guest_check_console "$1" && guest_check_fsck "$1" && guest_check_files "$1" &&
		guest_check_raw "$1" raw-digest disk.img "$guest_fs_bytes"
}

# Reads the files out of the image and compares them with the manifest beside them, and the
# manifest with what the guest printed of it.
guest_check_files() {
	local dir=$1 out=$1/files theirs ours listed found wrong

	rm -rf "$out"
	mkdir "$out" || return
	# Ownership cannot be kept without being root, and does not matter here.
	(cd "$out" && debugfs -R 'dump /MANIFEST MANIFEST' "$dir/disk.img" &&
		debugfs -R 'rdump /data .' "$dir/disk.img") >"$dir/debugfs" 2>&1
	[[ -s $out/MANIFEST ]] ||
		guest_because "no MANIFEST in the image: $(tail -n 1 "$dir/debugfs")" || return
	theirs=$(guest_line "$dir" fs-verify | sed -n 's/.*manifest //p')
	ours=$(sha256sum <"$out/MANIFEST" | cut -d' ' -f1)
	[[ -n $theirs && $ours == "$theirs" ]] ||
		guest_because "MANIFEST: checksum $ours, the guest printed '$theirs'" || return
	if ! (cd "$out" && sha256sum --quiet -c MANIFEST) >"$dir/sha256sum" 2>&1; then
		wrong=$(grep -c ': FAILED' "$dir/sha256sum")
		guest_because "checksum of $wrong file(s) in the image is not the guest's, first of" \
			"$(sed -n 's/: FAILED.*//p' "$dir/sha256sum" | head -n 1)" || return
	fi
	listed=$(wc -l <"$out/MANIFEST")
	found=$(find "$out/data" -type f | wc -l)
	((listed == found)) || guest_because "$listed files in the manifest, $found in the image"
}

# guest_counter DIR DISK NAME
guest_counter() {
	sed -n "s/^disk=$2 .*\<$3=\([0-9]*\).*/\1/p" "$1/counters"
}

# guest_check_counters DIR DISK NAME: the device's bytes, against what the guest's kernel counted
# (the line of its check NAME).
guest_check_counters() {
	local dir=$1 disk=$2 line pattern name
	local -a ours theirs

	line=$(guest_line "$dir" "$3")
	pattern='reads ([0-9]+) \(([0-9]+) sectors\), writes ([0-9]+) \(([0-9]+) sectors\)'
	[[ $line =~ $pattern ]] || guest_because "the guest did not print its diskstats" || return
	theirs=($((BASH_REMATCH[2] * 512)) $((BASH_REMATCH[4] * 512)))
	ours=("$(guest_counter "$dir" "$disk" bytes_read)"
		"$(guest_counter "$dir" "$disk" bytes_written)")
	[[ ${ours[*]} == "${theirs[*]}" ]] ||
		guest_because "the device counted ${ours[0]:-no} bytes read and ${ours[1]:-none} written, \
the guest ${theirs[0]} and ${theirs[1]}" || return
	for name in io_errors invalid_avail_idx; do
		[[ $(guest_counter "$dir" "$disk" $name) == 0 ]] ||
			guest_because "the device counted $name=$(guest_counter "$dir" "$disk" $name)" ||
			return
	done
}

# Changes one byte in the middle of a file's content, where it lies in the image.
guest_flip_byte() {
	local dir=$1 file=data/d09/f009 size block block_size at byte

	size=$(debugfs -R "stat /$file" "$dir/disk.img" 2>/dev/null |
		sed -n 's/.*Size: \([0-9]*\).*/\1/p' | head -n 1)
	block=$(debugfs -R "bmap /$file 0" "$dir/disk.img" 2>/dev/null)
	block_size=$(dumpe2fs -h "$dir/disk.img" 2>/dev/null | sed -n 's/^Block size: *//p')
	[[ $block =~ ^[1-9][0-9]*$ && $size -gt 0 ]] ||
		guest_because "cannot find the content of $file in the image" || return
	at=$((block * block_size + (size < block_size ? size : block_size) / 2))
	byte=$(od -An -tu1 -j "$at" -N 1 "$dir/disk.img" | tr -d ' ')
	# shellcheck disable=SC2059 # the format is the byte
	printf "\\x$(printf %02x $((byte ^ 1)))" |
		dd of="$dir/disk.img" bs=1 seek="$at" conv=notrunc status=none || return
	echo "    byte $at of the image, in $file: $byte is now $((byte ^ 1))"
}

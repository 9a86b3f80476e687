#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2034,SC2154 # what seems unused or unset is shared with tests/guest/lib.sh
#
# Front ends and back ends of vhost-user-blk. A front end is a virtual machine that somebody else
# wrote: user-mode Linux, and QEMU without KVM; its guest is the one of tests/guest, and so are
# the checks. To be sourced after tests/guest/lib.sh, with $vblk and $work set.
#
# VBLK_UML and VBLK_UML_MODULES name another user-mode Linux than Debian's, and the folder with
# its modules. BACKEND=qsd puts qemu-storage-daemon in the place of `vblk serve`: what fails with
# both of them is not the fault of vblk.

backend=${BACKEND:-vblk}
backend_pid=
backend_socket=$work/disk.socket
backend_control=$work/control.socket
backend_limit=10 # seconds for starting and for stopping
uml_binary=${VBLK_UML:-linux.uml}
uml_modules=${VBLK_UML_MODULES:-/usr/lib/uml/modules}
vhost_memory=128M

# VBLK_SANDBOX=off leaves the sandbox of `vblk serve` away. VBLK_ENGINE=uring or mmap is the engine of
# its disks.

# What has to be said of qemu-storage-daemon: its cache is never on at the start.
backend_words=
[[ $backend != qsd ]] || backend_words=vblk.cache=through

# What every front end passes on. Of the rest, UML knows all and QEMU neither SIZE_MAX nor more.
vhost_need=SEG_MAX,BLK_SIZE,FLUSH,EVENT_IDX,VERSION_1

vhost_missing() {
	guest_because "'$1' is missing; scripts/setup vhost installs it"
}

vhost_check_backend() {
	case $backend in
	vblk) ;;
	qsd)
		command -v qemu-storage-daemon >/dev/null || vhost_missing qemu-storage-daemon
		;;
	*) guest_because "BACKEND is vblk or qsd, not '$backend'" ;;
	esac
}

# For qemu-storage-daemon: the words of a disk's description as it calls them. Serial numbers it
# does not have.
qsd_command() {
	local image=$1 options=$2 queues=1 node=file word iops
	local -a throttle=() monitor=() keys

	shift 2
	while (($# > 0)); do
		case $1 in
		--queues) queues=$2 ;;
		--control)
			monitor=(--chardev "socket,id=control,path=$2,server=on,wait=off"
				--monitor chardev=control)
			;;
		esac
		shift 2
	done
	IFS=, read -ra keys <<<"$options"
	for word in "${keys[@]}"; do
		if [[ $word == iops=* ]]; then
			iops=${word#iops=}
			throttle=(--object "throttle-group,id=limit,x-iops-total=$iops" --blockdev
				"driver=throttle,node-name=slow,throttle-group=limit,file=file")
			node=slow
		fi
	done
	backend_command=(qemu-storage-daemon "${monitor[@]}"
		--blockdev "driver=file,node-name=file,filename=$image,discard=unmap"
		"${throttle[@]}"
		--export "type=vhost-user-blk,id=disk,node-name=$node,writable=on,\
num-queues=$queues,addr.type=unix,addr.path=$backend_socket")
}

# start_backend IMAGE OPTIONS [--queues N] [--control PATH]: OPTIONS are words of a disk's
# description, separated by commas, without the path.
start_backend() {
	local image=$1 options=$2
	local -a backend_command

	[[ -z ${VBLK_ENGINE:-} ]] || options+=${options:+,}engine=$VBLK_ENGINE
	if [[ $backend == qsd ]]; then
		qsd_command "$@"
	else
		shift 2
		backend_command=("$vblk" serve --socket "$backend_socket"
			--disk "path=${image//,/,,}${options:+,$options}"
			--sandbox "${VBLK_SANDBOX:-on}" "$@")
	fi
	"${backend_command[@]}" </dev/null >>"$work/backend.log" 2>&1 &
	backend_pid=$!
}

# Until the socket is there. It may be there from before, and then nothing is waited for.
wait_for_backend() {
	local try

	for ((try = 0; try < backend_limit * 50; try++)); do
		[[ ! -S $backend_socket ]] || return 0
		kill -0 "$backend_pid" 2>/dev/null || break
		sleep 0.02
	done
	guest_because "the back end does not serve: $(tail -n 1 "$work/backend.log")"
}

# Asks the back end to end; it has to do so soon and in peace.
stop_backend() {
	local status=0 watchdog

	[[ -n $backend_pid ]] || return 0
	kill -TERM "$backend_pid" 2>/dev/null || true
	(sleep "$backend_limit" && kill -KILL "$backend_pid") 2>/dev/null &
	watchdog=$!
	wait "$backend_pid" || status=$?
	kill "$watchdog" 2>/dev/null || true
	wait "$watchdog" 2>/dev/null || true
	backend_pid=
	[[ $status == 0 || $status == 143 ]] || guest_because "the back end ended with status \
$status: $(tail -n 1 "$work/backend.log")"
}

# As a crash would. Nobody waits for it to say goodbye.
kill_backend() {
	[[ -n $backend_pid ]] || return 0
	kill -KILL "$backend_pid" 2>/dev/null || true
	wait "$backend_pid" 2>/dev/null || true
	backend_pid=
}

# resize_backend BYTES
resize_backend() {
	if [[ $backend == qsd ]]; then
		qsd_resize "$1"
	else
		timeout "$backend_limit" "$vblk" ctl "$backend_control" resize "$1"
	fi
}

# Its monitor takes lines of JSON and answers each by one.
qsd_resize() {
	timeout "$backend_limit" python3 -c 'import json, socket, sys
monitor = socket.socket(socket.AF_UNIX)
monitor.connect(sys.argv[1])
lines = monitor.makefile("rw")
lines.readline()
for command, arguments in (
    ("qmp_capabilities", {}),
    ("block_resize", {"node-name": "file", "size": int(sys.argv[2])}),
):
    lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    lines.flush()
    answer = json.loads(lines.readline())
    while "event" in answer:
        answer = json.loads(lines.readline())
    if "error" in answer:
        sys.exit(answer["error"]["desc"])' "$backend_control" "$1"
}

vhost_cleanup() {
	guest_cleanup
	kill_backend
}

# vhost_make_disk FILE: as large as the guest's raw area, and without a file system.
vhost_make_disk() {
	rm -f "$1"
	truncate -s "$guest_raw_bytes" "$1"
}

uml_check() {
	command -v "$uml_binary" >/dev/null || vhost_missing user-mode-linux
}

# The initramfs with the one module that Debian's user-mode Linux needs. Modules are those of the
# kernel that is going to load them, whatever others there are.
uml_prepare() {
	local release module

	release=$(timeout 10 "$uml_binary" --version) ||
		guest_because "$uml_binary --version fails" || return
	module=$uml_modules/$release/kernel/drivers/block/virtio_blk.ko
	[[ -r $module ]] || guest_because "$module is missing" || return
	uml_initrd=$work/uml.initrd
	[[ -e $uml_initrd ]] || "$root/scripts/guest-initrd" "$uml_initrd" "$module" ||
		guest_because "the initramfs could not be made"
}

# uml_has_halted DIR STATUS: whether it aborted behind the end of its kernel. An interrupt that comes
# so late is taken on the stack of main(), which is none of the kernel's; where that happens to lie
# decides whether this is seen. About one guest in fifty ends like that, whatever its disk is.
uml_has_halted() {
	(($2 == 128 + 6)) && [[ $(tail -n 1 "$1/console") == 'reboot: System halted' ]]
}

# Its memory is a file in the folder for temporary files, and what it keeps about itself is below
# $dir. Rebooted, it would start anew: it is to power off.
boot_uml() {
	local dir=$1 status=0
	local -a words

	read -ra words <<<"$2"
	uml_prepare || return
	vhost_launch "$dir" "$uml_binary" mem="$vhost_memory" initrd="$uml_initrd" \
		"virtio_uml.device=$backend_socket:2" con0=null,fd:1 con=null \
		uml_dir="$dir/uml" umid=guest quiet vblk.end=off "${words[@]}" || status=$?
	! uml_has_halted "$dir" "$status" || status=0
	vhost_judge "$dir" "$status" "$uml_binary"
}

qemu_check() {
	command -v qemu-system-x86_64 >/dev/null || vhost_missing qemu-system-x86
}

qemu_prepare() {
	qemu_kernel=$("$root/scripts/cloud-kernel") ||
		guest_because "scripts/cloud-kernel cannot fetch the kernel" || return
	qemu_initrd=$work/qemu.initrd
	[[ -e $qemu_initrd ]] ||
		"$root/scripts/guest-initrd" "$qemu_initrd" "$qemu_kernel"/modules/*.ko ||
		guest_because "the initramfs could not be made"
}

# qemu_run DIR WORDS DEVICE ARGUMENT...: what both machines have in common. The back end maps the
# guest's memory, hence the memfd. A back end that dies is looked for each second.
qemu_run() {
	local dir=$1 line=$2 device=$3

	shift 3
	qemu_prepare || return
	vhost_run "$dir" qemu-system-x86_64 -accel tcg,thread=multi -nodefaults -no-user-config \
		-no-reboot -display none -monitor none -serial stdio -m "$vhost_memory" \
		-object "memory-backend-memfd,id=memory,size=$vhost_memory,share=on" "$@" \
		-chardev "socket,id=backend,path=$backend_socket,reconnect=1" \
		-device "$device,chardev=backend,num-queues=${queues:-1}" \
		-kernel "$qemu_kernel/vmlinuz" -initrd "$qemu_initrd" \
		-append "console=ttyS0 quiet panic=-1 reboot=t tsc=unstable tsc_early_khz=2000000 \
mitigations=off $line"
}

boot_qemu-pci() {
	qemu_run "$1" "$2" vhost-user-blk-pci -M q35,memory-backend=memory -smp "${queues:-1}"
}

boot_qemu-microvm() {
	qemu_run "$1" "$2" vhost-user-blk -smp "${queues:-1}" \
		-M microvm,memory-backend=memory -global virtio-mmio.force-legacy=false
}

libvirt_check() {
	qemu_check || return
	command -v virsh >/dev/null || guest_because "'virsh' is missing (Debian has it in \
libvirt-clients, and libvirt-daemon-driver-qemu is needed too)" || return
	[[ -n $(find /usr/lib*/ -path '*/libvirt/connection-driver/libvirt_driver_qemu.so' \
		-print -quit 2>/dev/null) ]] ||
		guest_because "libvirt's driver for QEMU is missing (Debian has it in \
libvirt-daemon-driver-qemu)"
}

# The domain that docs/vhost-user.md shows, with what is ours in the place of what it names.
boot_libvirt() {
	local dir=$1 line=$2

	qemu_prepare || return
	sed -n "/^<domain/,/^<\/domain>/p" "$root/docs/vhost-user.md" |
		sed -e "s|/run/vblk/a.sock|$backend_socket|" -e "s|/boot/vmlinuz|$qemu_kernel/vmlinuz|" \
			-e "s|/boot/initrd|$qemu_initrd|" \
			-e "s|</cmdline>| tsc=unstable tsc_early_khz=2000000 mitigations=off $line&|" \
			>"$dir/domain.xml"
	vhost_run "$dir" "$root/tests/vhost/virsh-guest" "$dir/libvirt" "$dir/domain.xml"
}

# vhost_launch DIR COMMAND...: guest_run with a limit, and what is left of the command's words.
# Returns the command's status.
vhost_launch() {
	local dir=$1 status=0

	shift
	guest_run "$dir" timeout --kill-after=5 "$guest_timeout" "$@" || status=$?
	sed 's/^/    /' "$dir/stderr"
	return $status
}

# vhost_judge DIR STATUS COMMAND: what is to be said of a command that ended with this status.
vhost_judge() {
	if (($2 == 124 || $2 == 137)); then
		guest_because "${3##*/} took more than $guest_timeout s"
	elif (($2 != 0)); then
		guest_because "${3##*/} ended with status $2: $(tail -n 1 "$1/stderr")"
	fi
}

# vhost_run DIR COMMAND...: both.
vhost_run() {
	local status=0

	vhost_launch "$@" || status=$?
	vhost_judge "$1" "$status" "$2"
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The harness itself: no way in which a run can go wrong may look like success.
# Runs on the host; every test boots a small machine.

setup() {
	export FS_LOGDIR=$BATS_TEST_TMPDIR
}

# expect STATUS VERDICT [OPTION...] -- COMMAND...
expect() {
	local status=0 wanted=$1 words=$2 verdict
	shift 2
	"$BATS_TEST_DIRNAME/boot" -m 512 -t 120 -n vm "$@" >"$FS_LOGDIR/out" 2>"$FS_LOGDIR/err" || status=$?
	verdict=$(cat "$FS_LOGDIR/vm.verdict")
	echo "status $status, verdict: $verdict"
	[ "$status" = "$wanted" ] && [[ $verdict == $words* ]]
}

@test "boot: a command that succeeds is ok, its output and environment arrive whole" {
	export FS_MARK='two  words'
	expect 0 ok -- bash -c 'echo "$FS_MARK"; seq 20000'
	[ "$(head -n 1 "$FS_LOGDIR/out")" = 'two  words' ]
	[ "$(tail -n +2 "$FS_LOGDIR/out" | md5sum)" = "$(seq 20000 | md5sum)" ]
}

# race FUNCTION: a report as KCSAN prints it, with FUNCTION in it
race() {
	local bar='<3>=================================================================='
	printf '%s\n' "$bar" "<3>BUG: KCSAN: data-race in $1" "<3> $1" "$bar"
}

@test "boot: what the command leaves in /run/fs-artifacts comes home, and only a race of ours is a complaint" {
	export FS_RACE
	FS_RACE=$(race tcp_poll+0x1/0x2)
	expect 0 ok -- bash -c '
		mkdir /run/fs-artifacts; echo kept >/run/fs-artifacts/file
		while read -r line; do echo "$line" >/dev/kmsg; done <<<"$FS_RACE"'
	[ "$(tar -xOf "$FS_LOGDIR/vm.tar" ./file)" = kept ]
}

@test "boot: a data race that names our module fails a command that succeeded" {
	export FS_RACE
	FS_RACE=$(race 'fs_poll+0x1/0x2 [fastsocket]')
	expect 121 'kernel complained' -- bash -c 'while read -r line; do echo "$line" >/dev/kmsg; done <<<"$FS_RACE"'
}

@test "boot: a data race within the kernel's mutex is none of ours" {
	export FS_RACE
	FS_RACE=$(race 'osq_lock+0x1/0x2 / osq_unlock of fs_poll+0x1/0x2 [fastsocket]')
	expect 0 ok -- bash -c 'while read -r line; do echo "$line" >/dev/kmsg; done <<<"$FS_RACE"'
}

@test "boot: the command's failure is the run's failure" {
	expect 7 'command ended with status 7' -- bash -c 'exit 7'
}

@test "boot: a crashed kernel fails, even after the command printed results" {
	expect 126 'machine died' -- bash -c 'echo "rc=0 taint=0:0"; sleep 0.5; echo c >/proc/sysrq-trigger; sleep 9'
	grep -q 'Kernel panic' "$FS_LOGDIR/vm.console"
}

# int3 CODE: a kernel that says so of itself, then dies
int3() {
	printf '%s\n' '<1>Oops: int3: 0000 [#1] PREEMPT SMP NOPTI' "<1>Code: 48 89 44 24 08 31 c0 $1 89 d5"
}

@test "boot: a kernel that died of a breakpoint which was not there was broken by the emulator" {
	export FS_DEATH
	FS_DEATH=$(int3 '66 <90>')
	expect 126 'the emulator broke' -- bash -c '
		while read -r line; do echo "$line" >/dev/kmsg; done <<<"$FS_DEATH"; echo c >/proc/sysrq-trigger; sleep 60'
}

@test "boot: a kernel that died of a breakpoint in its code died" {
	export FS_DEATH
	FS_DEATH=$(int3 'cc <90>')
	expect 126 'machine died' -- bash -c '
		while read -r line; do echo "$line" >/dev/kmsg; done <<<"$FS_DEATH"; echo c >/proc/sysrq-trigger; sleep 60'
}

# lockup CPUS CODE FUNCTION...: a kernel that says so of its CPUs in turn, once for each, then dies
lockup() {
	local cpus=$1 code=$2 cpu=0 function
	shift 2
	for function; do
		printf '%s\n' "<0>watchdog: BUG: soft lockup - CPU#$((cpu++ % cpus)) stuck for 26s! [selftest:1]" \
			"<4>RIP: 0010:$function" "<4>Code: 48 89 44 24 08 31 c0 $code c0 89 d5"
	done
}

# locked_up VERDICT LINES...: 15 s between one LINES and the next
locked_up() {
	local verdict=$1
	export FS_DEATH
	shift
	FS_DEATH=$(printf '%s\nsleep\n' "$@")
	expect 126 "$verdict" -- bash -c 'while read -r line; do
		if [ "$line" = sleep ]; then sleep 15; else echo "$line" >/dev/kmsg; fi
	done <<<"$FS_DEATH"; sleep 600'
}

@test "boot: a kernel that runs one breakpoint which is not there for good was broken by the emulator" {
	locked_up 'the emulator broke' "$(lockup 1 '<0f> 1f 44 00 00' do_exit+0x5/0x90 do_exit+0x5/0x90 do_exit+0x5/0x90 do_exit+0x5/0x90)"
}

@test "boot: so was one of which several CPUs do, and say so one after the other" {
	local once
	once=$(lockup 3 '<e8> 1b 44 00 00' do_exit+0x5/0x90 do_exit+0x5/0x90 wait+0x5/0x90)
	locked_up 'the emulator broke' "$once" "$once"$'\n'"$once"$'\n'"$once"
}

@test "boot: a kernel that goes round in a loop has locked up, is not waited for, and it is told where" {
	locked_up 'the kernel locked up; CPU 0 in selftest at do_exit+0x5/0x90, <0f> 1f 44 00 00' \
		"$(lockup 1 '<0f> 1f 44 00 00' do_exit+0x5/0x90 do_exit+0xa/0x90 do_exit+0x5/0x90 do_exit+0xc/0x90)"
}

@test "boot: a kernel that stays at an instruction which it does not replace has locked up" {
	locked_up 'the kernel locked up' "$(lockup 1 '<f3> 90 8b 07' do_exit+0x5/0x90 do_exit+0x5/0x90 do_exit+0x5/0x90 do_exit+0x5/0x90)"
}

@test "boot: a command cannot write to the port that carries the result" {
	expect 126 'machine died' -- bash -c '
		for p in /dev/vport* /dev/ttyS0 /dev/kmsg; do
			for t in "" 0 00000000000000000000000000000000; do echo "$t rc=0 taint=0:0" >"$p"; done
		done
		sleep 0.5; echo o >/proc/sysrq-trigger; sleep 9'
}

@test "boot: a warning in the kernel log fails a command that succeeded" {
	expect 121 'kernel complained' -- bash -c 'echo "<7>WARNING: CPU: 0 PID: 1 at selftest" >/dev/kmsg'
}

@test "boot: a console made silent by the command does not hide a warning" {
	expect 121 'kernel complained' -- bash -c 'dmesg -n 1; echo "<4>BUG: selftest" >/dev/kmsg'
}

@test "boot: a changed taint fails a command that succeeded" {
	expect 121 'kernel taint changed' -- bash -c 'echo 512 >/proc/sys/kernel/tainted'
}

@test "boot: a command that hangs ends at the time limit" {
	expect 124 'time limit' -t 20 -- sleep 600
}

@test "boot: a kernel that does not find its root never came up" {
	expect 125 'kernel did not come up' -a 'rdinit=/nonexistent' -- true
}

# starts_again COMMAND: a machine whose QEMU does that the first time, instead of what it should
starts_again() {
	mkdir "$BATS_TEST_TMPDIR/bin"
	cat >"$BATS_TEST_TMPDIR/bin/qemu-system-x86_64" <<-END
		#!/bin/bash
		echo start >>"$BATS_TEST_TMPDIR/starts"
		[ "\$(wc -l <"$BATS_TEST_TMPDIR/starts")" = 1 ] || exec "$(command -v qemu-system-x86_64)" "\$@"
		$1
	END
	chmod +x "$BATS_TEST_TMPDIR/bin/qemu-system-x86_64"
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
	if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ]; then
		expect 125 'kernel did not come up' -- true
	else
		expect 0 ok -- true
		[ -s "$FS_LOGDIR/vm.console.1" ]
		[ "$(wc -l <"$BATS_TEST_TMPDIR/starts")" = 2 ]
	fi
}

@test "boot: a machine that the emulator breaks before its kernel is up starts again" {
	starts_again "echo '[    2.4] Oops: int3: 0000 [#1] SMP NOPTI' >\"$FS_LOGDIR/vm.console\""
}

@test "boot: a machine whose emulator crashes before its kernel is up starts again" {
	starts_again "echo '[    1.4] smp: Brought up 1 node, 4 CPUs' >\"$FS_LOGDIR/vm.console\"; kill -SEGV \$\$"
}

@test "boot: a machine whose emulator crashes under the command was broken by it" {
	rm -f "$FS_LOGDIR/vm.output"
	(
		until grep -qs here "$FS_LOGDIR/vm.output"; do sleep 0.2; done
		pkill -SEGV -f "^qemu-system-x86_64 .*file:$FS_LOGDIR/vm.console"
	) 3>&- &
	expect 126 'the emulator broke the machine: it ended by signal 11' -- bash -c 'echo here; sleep 600'
}

# small_root VERSION DIRECTORY: what tests/kernel/stock makes, of an installed kernel, with compressed modules
small_root() {
	local f modules=$2/root/usr/lib/modules/$1
	mkdir -p "$modules"
	ln -s usr/lib "$2/root/lib"
	cp "/lib/modules/$1"/modules.{order,builtin,builtin.modinfo} "$modules"
	for f in virtio_pci 9pnet_virtio 9p overlay virtio_console virtio_rng dummy; do
		modprobe -S "$1" --show-depends "$f" | awk '$1 == "insmod" { print $2 }'
	done | sort -u | while read -r f; do
		if [[ $f == *.ko ]]; then xz -0 -c "$f" >"$modules/${f##*/}.xz"; else cp "$f" "$modules"; fi
	done
	depmod -b "$2/root" "$1"
	echo "$1" >"$2/release"
}

@test "boot: of a kernel with a root of its own the guest has the modules, compressed ones too" {
	local image version PATH=$PATH:/usr/sbin kernel=$BATS_TEST_TMPDIR/kernel
	for image in /boot/vmlinuz-* /lib/modules/*/vmlinuz; do [ ! -r "$image" ] || break; done
	version=${image#/boot/vmlinuz-}
	version=${version%/vmlinuz}
	small_root "${version##*/}" "$kernel"
	ln -s "$image" "$kernel/vmlinuz"
	expect 0 ok -k "$kernel" -- bash -c 'uname -r; modprobe dummy; modinfo -n dummy; ls /lib/modules/*/build; grep ^dummy /proc/modules'
	grep -qxF "${version##*/}" "$FS_LOGDIR/out"
	grep -E "^/lib/modules/${version##*/}/dummy\.ko\..z" "$FS_LOGDIR/out"
	grep -F "cannot access '/lib/modules/*/build'" "$FS_LOGDIR/out"
}

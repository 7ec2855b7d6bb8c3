#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Storms on a kernel that can be preempted anywhere.
# vm: -a preempt=full
# shellcheck disable=SC2154 # set by helpers.bash
load ../helpers
load storms
load storm

setup() { ! fs_loaded || fs_unload; }

teardown() {
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

preemption() { dmesg | sed -n 's/.*Dynamic Preempt: //p' | tail -n 1; }

@test "storm: the kernel can be preempted anywhere" {
	equal preemption "$(preemption)" full
}

@test "storm: no client is left stranded with full preemption" {
	say "the second seed is a random one"
	storms wild 21
	storms calm "$FS_SEED"
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# That no race was reported says something only if one that is there is reported.
# shellcheck disable=SC2154 # set by helpers.bash
load ../helpers

race_reported() { fs_klog | grep -qE 'BUG: KCSAN: data-race in fsrace_write'; }

@test "detector: KCSAN is on and reports the data race of a test module" {
	[ -e /sys/kernel/debug/kcsan ] || fail "this kernel has no KCSAN"
	insmod "$(dirname "$FS_FAULT_KO")/fsrace.ko"
	wait_until 60 race_reported
	rmmod fsrace
}

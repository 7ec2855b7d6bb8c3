#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The kernel's own tests of epoll, tools/testing/selftests/filesystems/epoll of its source, with
# fewer rounds of three races: build_epoll_selftest in tests/run says which and why.
# shellcheck disable=SC2154 # set by helpers.bash
load ../helpers

counters=/proc/net/fsocket_epoll
hooks=/sys/kernel/tracing/enabled_functions
hold_pid=''

setup() { ! fs_loaded || fs_unload; }

teardown() {
	release
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

hooked() { [[ $(<$hooks) == *'direct-->fs_epoll_trampoline'* ]]; }

# hold: a listener is attached, until release
hold() {
	rm -f "$fs_tmp/held"
	"$FS_BIN/fsepoll" hold >"$fs_tmp/held" 3>&- </dev/null &
	hold_pid=$!
	wait_until 20 test -s "$fs_tmp/held" || fail "no listener could be attached"
}

release() {
	[ "$hold_pid" ] || return 0
	kill "$hold_pid" || true
	wait "$hold_pid" || true
	hold_pid=''
}

# selftest STATE: what it prints in STATE.log, its verdicts in STATE. Its status is 1 if one of them is "not ok".
selftest() {
	local status=0 since=$SECONDS
	timeout 250 "$FS_BIN/epoll_wakeup_test" >"$fs_tmp/$1.log" 2>&1 3>&- </dev/null || status=$?
	at_most "status, $1" $status 1
	grep -E '^(not )?ok [0-9]+ ' "$fs_tmp/$1.log" >"$fs_tmp/$1" || true
	say "$1: $(grep -c '^ok ' "$fs_tmp/$1" || true) of $(wc -l <"$fs_tmp/$1") are ok, $((SECONDS - since)) s"
}

# same_as_absent STATE
same_as_absent() {
	diff "$fs_tmp/absent" "$fs_tmp/$1" && return
	grep -vE '^ok |^# +(RUN|OK) ' "$fs_tmp/$1.log" || true
	fail "$1: other verdicts than without the module"
}

calls() { fs_columns_of "$counters" mod del other; }

@test "epoll: the kernel's own selftests say the same with the module absent, idle and in use" {
	selftest absent
	at_least "verdicts without the module" "$(wc -l <"$fs_tmp/absent")" 50
	at_least "cases that are ok without the module" "$(grep -c '^ok ' "$fs_tmp/absent" || true)" 50
	fs_load enable_fast_epoll=1
	selftest idle
	! hooked || fail "hooked without a listener"
	same_as_absent idle
	hold
	wait_until 10 hooked || fail "not hooked: $(<$hooks)"
	selftest used
	hooked || fail "not hooked any more"
	at_least "calls that came to us" "$(calls)" 5000
	same_as_absent used
}

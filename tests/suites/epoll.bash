# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154,SC2030,SC2031,SC2034 # set by helpers.bash; a test is a subshell
# Fast Epoll: its hook, listeners that keep it, storms of epoll_ctl(). tests/progs/fsepoll.c says what those are.

fe_param=/sys/module/fastsocket/parameters/enable_fast_epoll
counters=/proc/net/fsocket_epoll
tracing=/sys/kernel/tracing
native=$BATS_FILE_TMPDIR/native

# others_off: whoever else has been put on do_epoll_ctl()
others_off() { :; }

setup() { ! fs_loaded || fs_unload; }

teardown() {
	local pid
	for pid in $hold_pid $storm_pid $stuck_pid $bpf_pid; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" || true
	done
	others_off
	[ "$(</proc/sys/kernel/ftrace_enabled)" = 1 ] || echo 1 >/proc/sys/kernel/ftrace_enabled
	nginx_teardown
}

hold_pid='' storm_pid='' stuck_pid='' bpf_pid=''

logged() { fs_klog | grep -cF "Fastsocket: $1" || true; }

hooked() { [[ $(<"$tracing/enabled_functions") == *'direct-->fs_epoll_trampoline'* ]]; }
not_hooked() { ! hooked; }
hooked_beside() { grep -q '^do_epoll_ctl ([0-9]*).* I' "$tracing/enabled_functions"; }
traced() { [[ $(<"$tracing/enabled_functions") == *'do_epoll_ctl ('* ]]; }
not_traced() { ! traced; }

# hold: a listener is attached, until release
hold() {
	rm -f "$fs_tmp/held"
	"$FS_BIN/fsepoll" hold >"$fs_tmp/held" 3>&- </dev/null &
	hold_pid=$!
	wait_until 20 test -s "$fs_tmp/held" || fail "no listener could be attached"
}

release() {
	kill "$hold_pid"
	wait "$hold_pid" || true
	hold_pid=''
}

hook_comes() { wait_until 10 hooked || fail "not hooked: $(<"$tracing/enabled_functions")"; }
hook_goes() { wait_until 10 not_hooked || fail "still hooked"; }

# same WHAT FSEPOLL-ARGUMENTS...: the transcript is that of the kernel
same() {
	local what=$1
	shift
	timeout 120 "$FS_BIN/fsepoll" calls -w "$@" >"$fs_tmp/module" 3>&- </dev/null || fail "$what: fsepoll failed"
	diff -U 5 "$native" "$fs_tmp/module" || fail "$what: epoll_ctl answers differently"
}

ours() { fs_columns_of "$counters" mod del; }

storm_start() {
	"$FS_BIN/fsepoll" storm -t 300000 "$@" >"$fs_tmp/storm" 2>&1 3>&- </dev/null &
	storm_pid=$!
}

storm_judge() {
	local status=0
	wait "$storm_pid" || status=$?
	storm_pid=''
	say "storm: $(tail -n 1 "$fs_tmp/storm")"
	cat "$fs_tmp/storm"
	equal "storm's status" $status 0
	grep -q '^ops=[0-9]\{3,\} errors=0 ' "$fs_tmp/storm"
}

storm_end() {
	kill "$storm_pid" || fail "the storm was over before: $(cat "$fs_tmp/storm")"
	storm_judge
}

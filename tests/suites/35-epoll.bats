#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Fast Epoll: epoll_ctl() finds what it changes at once, and answers as the kernel does. It is
# there only while a listener is attached.
# shellcheck disable=SC2154,SC2030,SC2031,SC2034 # set by helpers.bash; a test is a subshell
load ../helpers
load epoll

# What the kernel answers, before the module is there
setup_file() {
	! fs_loaded || fs_unload
	timeout 120 "$FS_BIN/fsepoll" calls -w >"$native" 3>&- </dev/null
}

tracer_on() {
	echo do_epoll_ctl >"$tracing/set_ftrace_filter"
	echo function >"$tracing/current_tracer"
}

tracer_off() {
	echo nop >"$tracing/current_tracer"
	echo >"$tracing/set_ftrace_filter"
}

kprobe_on() {
	echo p:fsepoll/ctl do_epoll_ctl >>"$tracing/kprobe_events"
	echo 1 >"$tracing/events/fsepoll/ctl/enable"
}

kprobe_off() {
	[ -e "$tracing/events/fsepoll/ctl" ] || return 0
	echo 0 >"$tracing/events/fsepoll/ctl/enable"
	echo -:fsepoll/ctl >>"$tracing/kprobe_events"
}

# bats test_tags=debug
@test "epoll: epoll_ctl answers as natively, whether the module is idle, in use or switched off" {
	local mod del other
	at_least "lines" "$(wc -l <"$native")" 2500
	! grep -nE 'never settled|io_uring: -|not undone' "$native" || fail "this machine cannot tell"
	grep -q '^watches' "$native"
	fs_load enable_fast_epoll=1
	equal "parameter" "$(<"$fe_param")" 1
	same "idle"
	not_hooked || fail "hooked without a listener"
	equal "calls counted" "$(fs_columns_of "$counters" mod del other)" 0
	same "in use" -f
	mod=$(fs_column mod "$counters") del=$(fs_column del "$counters") other=$(fs_column other "$counters")
	say "in use: mod $mod, del $del, other $other"
	at_least "MOD" "$mod" 500
	at_least "DEL" "$del" 60
	at_least "calls that are the kernel's" "$other" 500
	equal "rows" "$(($(wc -l <"$counters") - 1))" "$(fs_possible_cpus)"
	read -ra columns <"$counters"
	equal "columns" "${columns[*]}" "cpu mod del other"
	hook_goes
	mod=$(ours)
	same "idle again"
	echo 0 >"$fe_param"
	same "switched off" -f
	equal "calls that were ours" "$(ours)" "$mod"
}

@test "epoll: hooked only while a listener is attached and it is switched on; none after rmmod" {
	fs_load enable_fast_epoll=0
	hold
	sleep 0.5
	not_hooked || fail "hooked although it is off"
	echo 1 >"$fe_param"
	hook_comes
	equal "parameter" "$(<"$fe_param")" 1
	echo 0 >"$fe_param"
	hook_goes
	echo 1 >"$fe_param"
	hook_comes
	release
	hook_goes
	hold
	hook_comes
	release
	# while it may be there still
	fs_unload
	! traced || fail "hooked after rmmod"
}

@test "epoll: values that are none are refused with EINVAL and one line" {
	local value
	fs_load enable_fast_epoll=0
	for value in 2 -1 on ''; do
		run bash -c "echo '$value' >$fe_param"
		[[ $status != 0 && $output == *'Invalid argument'* ]] || fail "'$value': $output"
		equal "parameter" "$(<"$fe_param")" 0
	done
	equal "lines" "$(logged 'enable_fast_epoll=2 is out of range')" 1
	fs_unload
	run insmod "$FS_KO" enable_fast_epoll=3
	[ "$status" != 0 ] || fail "3 was accepted at load"
}

@test "epoll: while ftrace is switched off epoll_ctl is the kernel's own" {
	local before
	fs_load enable_fast_epoll=1
	hold
	hook_comes
	# newer kernels do not let anybody switch it off
	if sysctl -qw kernel.ftrace_enabled=0; then
		before=$(ours)
		same "without ftrace" -f
		equal "calls that were ours" "$(ours)" "$before"
		sysctl -qw kernel.ftrace_enabled=1
	fi
	same "with ftrace" -f
	at_least "calls that were ours" "$(ours)" 500
}

# beside WHAT: tracer or kprobe, there before the hook and after it, removed in either order
beside() {
	local before
	"$1_on"
	hold
	hook_comes
	before=$(ours)
	same "$1 first" -f
	at_least "calls that were ours" $(($(ours) - before)) 500
	grep -q 'do_epoll_ctl' "$tracing/trace" || fail "the $1 sees nothing"
	"$1_off"
	hooked || fail "the hook went with the $1"
	before=$(ours)
	same "$1 removed" -f
	at_least "calls that were ours" $(($(ours) - before)) 500
	"$1_on"
	same "$1 second" -f
	release
	hook_goes
	traced || fail "the $1 went with the hook"
	same "hook removed first"
	"$1_off"
	! traced || fail "somebody is there still"
}

others_off() {
	tracer_off
	kprobe_off
}

@test "epoll: the function tracer may be there before and after, and go before and after" {
	fs_load enable_fast_epoll=1
	beside tracer
}

@test "epoll: so may a kprobe" {
	fs_load enable_fast_epoll=1
	beside kprobe
}

# bpf_on: an fentry program on do_epoll_ctl(), or $bpf is why not
bpf_on() {
	"$FS_BIN/fsfentry" do_epoll_ctl >"$fs_tmp/bpf" 2>&1 3>&- </dev/null &
	bpf_pid=$!
	wait_until 20 test -s "$fs_tmp/bpf" || fail "fsfentry says nothing"
	bpf=$(<"$fs_tmp/bpf")
	[ "$bpf" = attached ] || { wait "$bpf_pid" || true; bpf_pid=''; }
}

# bpf_off: sets bpf_runs
bpf_off() {
	kill "$bpf_pid"
	wait "$bpf_pid"
	bpf_pid=''
	bpf_runs=$(sed -n 's/^runs //p' "$fs_tmp/bpf")
}

@test "epoll: beside a BPF program that was there first, both get all calls" {
	local before
	fs_load enable_fast_epoll=1
	bpf_on
	equal "the program" "$bpf" attached
	hold
	wait_until 10 hooked_beside || fail "not hooked: $(<"$tracing/enabled_functions")"
	equal "lines" "$(logged 'Fast Epoll stays off')" 0
	before=$(ours)
	same "BPF first" -f
	at_least "calls that were ours" $(($(ours) - before)) 500
	bpf_off
	at_least "calls that the program saw" "$bpf_runs" 3000
	before=$(ours)
	same "BPF gone" -f
	at_least "calls that were ours" $(($(ours) - before)) 500
	release
	wait_until 10 not_traced || fail "still hooked"
}

@test "epoll: a BPF program that comes second is refused until it is switched off, and then has it" {
	fs_load enable_fast_epoll=1
	hold
	hook_comes
	bpf_on
	# the latter in Linux 7
	[[ $bpf == 'refused: EBUSY' || $bpf == 'refused: EINVAL' ]] || fail "the program: $bpf"
	same "refused" -f
	echo 0 >"$fe_param"
	bpf_on
	equal "the program" "$bpf" attached
	# and back on beside it
	echo 1 >"$fe_param"
	hooked_beside || fail "not hooked: $(<"$tracing/enabled_functions")"
	same "beside it" -f
	echo 0 >"$fe_param"
	bpf_off
	release
}

# bats test_tags=debug
@test "epoll: a storm of calls on shared descriptors: every answer is right, no event is lost" {
	local n
	fs_load enable_fast_epoll=1
	for n in 4 8; do
		"$FS_BIN/fsepoll" storm -f -t 5000 -j $n >"$fs_tmp/storm" 2>&1 3>&- </dev/null &
		storm_pid=$!
		storm_judge
	done
	at_least "MOD" "$(fs_column mod "$counters")" 100
	at_least "DEL" "$(fs_column del "$counters")" 50
}

@test "epoll: rmmod while tasks sleep in epoll_ctl" {
	local pid
	fs_load enable_fast_epoll=1
	hold
	hook_comes
	"$FS_BIN/fsepoll" stuck >"$fs_tmp/stuck" 3>&- </dev/null &
	stuck_pid=$!
	wait_until 5 test -s "$fs_tmp/stuck" || fail "nobody got stuck"
	release
	# It may wait for them, be refused, or do without.
	rmmod fastsocket 3>&- </dev/null &
	pid=$!
	sleep 1
	kill "$stuck_pid"
	wait "$stuck_pid"
	stuck_pid=''
	[[ $(xargs <"$fs_tmp/stuck") == 'stuck wait=1 data=1 mod=0 del=0 set: ('*' 19 data 7)' ]] ||
		fail "what the calls came to: $(xargs <"$fs_tmp/stuck")"
	wait $pid || fs_unload
	! fs_loaded || fail "the module is still there"
	! traced || fail "hooked after rmmod"
}

@test "epoll: nginx serves with it" {
	fs_load enable_fast_epoll=1
	nginx_configure
	nginx_start module
	hook_comes
	ab_load http://127.0.0.1/ 100 4
	all_answered
	nginx_errors_clean
	hooked || fail "the hook went meanwhile"
	at_least "accepted from local queues" "$(fs_column local)" 1
	nginx_stop
	hook_goes
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Fast Epoll comes and goes while tasks are in epoll_ctl().
# shellcheck disable=SC2154,SC2030,SC2031,SC2034 # set by helpers.bash; a test is a subshell
load ../helpers
load epoll

@test "epoll: switched on and off under a storm" {
	fs_load enable_fast_epoll=0
	hold
	storm_start -j 4
	for _ in 1 2 3 4 5; do
		echo 1 >"$fe_param"
		hook_comes
		sleep 0.3
		echo 0 >"$fe_param"
		hook_goes
	done
	at_least "calls that were ours" "$(ours)" 50
	storm_end
}

@test "epoll: rmmod and insmod under a storm" {
	storm_start -j 4
	for _ in 1 2 3; do
		fs_load enable_fast_epoll=1
		hold
		hook_comes
		sleep 0.3
		at_least "calls that were ours" "$(ours)" 10
		release
		fs_unload
		! traced || fail "hooked after rmmod"
	done
	storm_end
}

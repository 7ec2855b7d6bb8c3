#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The kernel's own tests of epoll, tools/testing/selftests/filesystems/epoll of its source, with
# fewer rounds of three races: build_epoll_selftest in tests/run says which and why.
# shellcheck disable=SC2154 # set by helpers.bash
load ../helpers
load ../suites/epoll

# selftest STATE: verdicts of all cases in STATE, what was printed in STATE.log. Many cases bet on 100 ms being enough
# for another thread to be asleep in epoll_wait(), and now and then lose on a busy host, with or without the module:
# as long as a case has not been ok all of them are run again, twice at the most.
selftest() {
	local round since=$SECONDS status
	rm -f "$fs_tmp/$1" "$fs_tmp/$1".[0-9]
	for round in 1 2 3; do
		status=0
		timeout 250 "$FS_BIN/epoll_wakeup_test" >"$fs_tmp/$1.log" 2>&1 3>&- </dev/null || status=$?
		at_most "status, $1" $status 1
		grep -E '^(not )?ok [0-9]+ ' "$fs_tmp/$1.log" >"$fs_tmp/$1.$round" || true
		verdicts "$fs_tmp/$1".[0-9] >"$fs_tmp/$1"
		say "$1, round $round: $(grep -c '^ok ' "$fs_tmp/$1.$round" || true) of $(wc -l <"$fs_tmp/$1") are ok, after $((SECONDS - since)) s"
		grep -q '^not ok' "$fs_tmp/$1" || break
		grep -vE '^ok |^# +(RUN|OK) ' "$fs_tmp/$1.log" | sed 's/^/# /' >&3 || true
	done
}

# verdicts FILE...: of each case the best
verdicts() {
	sed 's/^not ok/not-ok/' "$@" | sort -k2,2n -k1,1r | awk '!seen[$2]++' | sed 's/^not-ok/not ok/'
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
	wait_until 10 hooked || fail "not hooked: $(<"$tracing/enabled_functions")"
	selftest used
	hooked || fail "not hooked any more"
	at_least "calls that came to us" "$(calls)" 1000
	same_as_absent used
}

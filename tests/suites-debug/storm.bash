# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # set by helpers.bash
# Storms: tests/progs-storm/fsstorm.c says what they do and when one is good.

: "${FS_STORM_MS:=6000}"
: "${FS_SEED:=$RANDOM}"
# what a storm leaves in TIME_WAIT may not be reused, by the next test neither
storm_port=$((9000 + 100 * BATS_TEST_NUMBER))

# storm SEED PROFILE [OPTIONS]: its line is in "result"
storm() {
	local seed=$1 profile=$2 status=0
	shift 2
	storm_port=$((storm_port + 10))
	result=$("$FS_BIN/fsstorm" -s "$seed" -p "$profile" -t "$FS_STORM_MS" -P $storm_port "$@" 3>&- </dev/null 2>"$fs_tmp/storm.err") || status=$?
	say "$result"
	[ $status = 0 ] || { cat "$fs_tmp/storm.err"; fail "fsstorm $* -s $seed -p $profile ended with $status: $result"; }
	equal "stranded clients" "$(field stranded "$result")" 0
	at_least "connections answered" "$(field answered "$result")" 1
}

# storms PROFILE SEED...: under Fastsocket. Nothing is left of any: the module can go.
storms() {
	local profile=$1 seed
	shift
	fs_load
	for seed; do
		storm "$seed" "$profile" -f
		wait_until 20 unused || fail "in use: $(grep fastsocket /proc/modules)"
		equal "lines about listeners" "$(wc -l <"$fs_listeners")" 1
		echo 2 >"$fs_param"
	done
	rmmod fastsocket
}

unused() { [ "$(awk '$1 == "fastsocket" { print $3 }' /proc/modules)" = 0 ]; }

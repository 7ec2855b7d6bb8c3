#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Private bind buckets: bind(), listen() and connect() of everybody get what they get on the plain kernel, at every
# moment of a listener's life, and what outlives it is where it would have been.
# debug lane, too: what is tagged
# shellcheck disable=SC2154 # set by helpers.bash and servers.bash
load ../helpers
load servers

setup() {
	! fs_loaded || fs_unload
}

teardown() {
	abandon_servers
	fs_klog_clean
	fs_taint_clean
}

teardown_file() { ! fs_loaded || fs_unload; }

# transcripts ADDRESS SHARE: natively and attached, each SHAREth of the 164 letters of a line, which is to be no
# divisor of that; FS_SEED takes others. Sets private and published.
transcripts() {
	local what=(-c 1 -s "$2" -o "${FS_SEED:-0}" -a "$1") told
	"$FS_BIN/fsbind" "${what[@]}" >"$fs_tmp/native" 2>/dev/null 3>&-
	fs_load enable_private_bind=1
	# shellcheck disable=SC2086
	$FS_RUN "$FS_BIN/fsbind" "${what[@]}" >"$fs_tmp/attached" 2>"$fs_tmp/told" 3>&-
	told=$(tail -n 1 "$fs_tmp/told")
	fs_unload
	private=${told#private=} private=${private% *} published=${told#*published=}
	say "$(grep -c '^   [a-z]' "$fs_tmp/native") moments, $private connections in private buckets, $published sockets moved"
	diff "$fs_tmp/native" "$fs_tmp/attached" | head -40
	cmp -s "$fs_tmp/native" "$fs_tmp/attached"
}

# as_natively ADDRESS SHARE
as_natively() {
	transcripts "$@"
	at_least "connections in private buckets" "$private" 100
	at_least "sockets moved" "$published" 100
}

@test "bind: as natively around a listener at 0.0.0.0" {
	as_natively 0.0.0.0 23
}

@test "bind: as natively around a listener at 127.0.0.1" {
	as_natively 127.0.0.1 23
}

@test "bind: as natively around a listener at ::" {
	as_natively :: 37
}

@test "bind: as natively around a listener at ::1" {
	as_natively ::1 23
}

@test "bind: as natively around a listener at ::ffff:127.0.0.1" {
	as_natively ::ffff:127.0.0.1 23
}

@test "bind: a listener at ::ffff:0.0.0.0 keeps to the port's own buckets" {
	transcripts ::ffff:0.0.0.0 23
	equal "connections in private buckets" "$private" 0
}

# transcript_while COMMAND: of what outlives a listener; COMMAND runs when the first one is closed, which has
# connections in all states
transcript_while() {
	local line first=yes
	rm -f "$fs_tmp/go"
	mkfifo "$fs_tmp/go"
	# shellcheck disable=SC2086,SC2094 # a fifo, which is written for what it is told
	$run "$FS_BIN/fsbind" -c 1 -s 3 -a 0.0.0.0 -l xb -e xb <"$fs_tmp/go" 2>&1 >"$out" 3>&- | {
		# shellcheck disable=SC2094
		exec 4>"$fs_tmp/go"
		while read -r line; do
			[[ $line = 'at '* ]] || { echo "$line" >>"$fs_tmp/told"; continue; }
			[ ! "$first" ] || "$@" >&2 || echo "failed: $*" >>"$fs_tmp/told"
			first=''
			echo >&4
		done
	}
}

@test "bind: connections in all states that outlive the module" {
	local run='' out=$fs_tmp/native
	: >"$fs_tmp/told"
	transcript_while true
	fs_load enable_private_bind=1
	run=$FS_RUN out=$fs_tmp/attached
	transcript_while fs_unload
	cat "$fs_tmp/told"
	! grep -q failed "$fs_tmp/told" || fail "the module could not go"
	! fs_loaded || fail "the module is still there"
	at_least "lines" "$(grep -c '^   [a-z]' "$out")" 20
	diff "$fs_tmp/native" "$fs_tmp/attached" | head
	cmp -s "$fs_tmp/native" "$fs_tmp/attached"
}

# serve NUMBER: connections to server a are answered; "made" is how many of them are in private buckets
serve() {
	local before
	before=$(fs_column private)
	clients -a ::1 -p "$p" -n "$1" -P 4 -c 0-3
	answered "$1"
	made=$(($(fs_column private) - before))
}

# The kernel derives what it gives to the sockets of all sockmaps from the first one's: if that were ours, the second
# server would run what is gone.
@test "bind: a listener in a BPF sockmap keeps to the port's own buckets; nothing of ours stays there" {
	local p made moved
	port p
	fs_load enable_private_bind=1
	server a -6 -f -p "$p"
	serve 100
	at_least "private before" "$made" 50
	moved=$(fs_column published)
	tell a sockmap in
	at_least "moved" $(($(fs_column published) - moved)) 1
	serve 100
	equal "private in the map" "$made" 0
	tell a sockmap out
	serve 100
	equal "private after it" "$made" 0
	tell a sockmap in
	end a
	fs_unload
	port p
	server a -6 -p "$p"
	tell a sockmap in
	clients -a ::1 -p "$p" -n 100 -P 4 -c 0-3
	answered 100
	tell a sockmap out
	end a
}

@test "bind: the switch is for what comes after it" {
	local p made param=/sys/module/fastsocket/parameters/enable_private_bind
	fs_load
	equal "at load" "$(<$param)" 1
	! echo 2 >$param || fail "2 was taken"
	port p
	server a -6 -f -p "$p"
	serve 100
	at_least "private when on" "$made" 50
	echo 0 >$param
	serve 100
	equal "private when off" "$made" 0
	echo 1 >$param
	serve 100
	at_least "private when on again" "$made" 50
	end a
	fs_unload
	! fs_load enable_private_bind=3 || fail "3 was taken"
}

# how long listeners are churned; a debug kernel makes some twenty connections a second
if [ "$FS_LANE" = stock ]; then : "${FS_CHURN_MS:=8000}"; else : "${FS_CHURN_MS:=24000}"; fi

# churn KINDS [OPTIONS]: its line is in "result"; tests/progs-storm/fschurn.c says when one is good
churn() {
	local status=0 kinds=$1
	shift
	result=$("$FS_BIN/fschurn" -k "$kinds" -t "$FS_CHURN_MS" -p $((9000 + 100 * BATS_TEST_NUMBER)) "$@" 3>&- </dev/null) || status=$?
	say "$result"
	[ $status = 0 ] || fail "fschurn -k $kinds $* ended with $status"
}

# churn_in_buckets KINDS: natively, and with buckets that were closed under traffic all the time
churn_in_buckets() {
	FS_CHURN_MS=$((FS_CHURN_MS / 4)) churn "$1"
	fs_load enable_private_bind=1
	churn "$1" -f
	private=$(fs_column private) published=$(fs_column published)
	say "$private connections in private buckets, $published sockets moved"
	at_least "connections in private buckets" "$private" 150
	at_least "sockets moved" "$published" 150
	fs_unload
}

# bats test_tags=debug
@test "bind: listeners close, shut down and come again under traffic: what was accepted is answered, the port is never free" {
	churn_in_buckets xsn
}

# bats test_tags=debug
@test "bind: listeners change their options under traffic: no connection is lost" {
	churn_in_buckets lpd
}

# bats test_tags=debug
@test "bind: nothing of all that has leaked" {
	[ "$FS_LANE" != stock ] || { say "this kernel has no kmemleak"; return; }
	leak_clean
}

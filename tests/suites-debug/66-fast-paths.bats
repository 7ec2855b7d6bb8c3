#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Fast Epoll and the sockfs fast path, in a kernel that sees what other tests cannot.
# shellcheck disable=SC2154,SC2030,SC2031,SC2034 # set by helpers.bash; a test is a subshell
load ../helpers
load ../suites/epoll

setup_file() {
	! fs_loaded || fs_unload
	timeout 300 "$FS_BIN/fsepoll" calls -w >"$native" 3>&- </dev/null
	"$FS_BIN/fssock" look >"$BATS_FILE_TMPDIR/look" 3>&- </dev/null
}

@test "fast paths: epoll_ctl answers as natively" {
	fs_load
	hold
	wait_until 60 hooked || fail "not hooked"
	same "in use" -f
	at_least "MOD and DEL" "$(ours)" 500
}

@test "fast paths: a storm of epoll_ctl while Fast Epoll comes and goes" {
	local n
	fs_load
	hold
	storm_start -j 4
	for n in 1 2 3; do
		wait_until 60 hooked || fail "not hooked"
		sleep 2
		echo 0 >"$fe_param"
		wait_until 60 not_hooked || fail "still hooked"
		echo 1 >"$fe_param"
	done
	at_least "MOD and DEL" "$(ours)" 50
	storm_end
}

@test "fast paths: a socket looks as natively, whatever was done to the one that had the inode before" {
	fs_load
	"$FS_BIN/fssock" look >"$fs_tmp/module" 3>&- </dev/null
	diff "$BATS_FILE_TMPDIR/look" "$fs_tmp/module" || fail "sockets look differently"
	at_least "inodes used again" "$(fs_column reused /proc/net/fsocket_sockfs)" 100
}

# reuses NUMBER: inodes of closed sockets
reuses() { [ "$(fs_column reused /proc/net/fsocket_sockfs)" -ge "$1" ]; }

@test "fast paths: sockets made and closed on all CPUs while a CPU and the module go and come" {
	local n pid
	"$FS_BIN/fssock" storm -t 300000 -j 6 >"$fs_tmp/sockets" 2>&1 3>&- </dev/null &
	pid=$!
	storm_pid=$pid
	for n in 1 2; do
		fs_load
		wait_until 60 reuses 20 || fail "no inode is used again: $(cat /proc/net/fsocket_sockfs)"
		[ $n = 2 ] || cpu 1 offline
		sleep 1
		fs_unload
		cpu 1 online
	done
	kill $pid
	storm_pid=''
	wait $pid || { cat "$fs_tmp/sockets"; fail "the storm found something"; }
	say "$(tail -n 1 "$fs_tmp/sockets")"
}

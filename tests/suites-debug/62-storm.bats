#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Everything that can be done to listeners, in random order, while clients connect.
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

@test "storm: the same seed makes the same decisions, another makes others" {
	"$FS_BIN/fsstorm" -n -s 1 >"$fs_tmp/1"
	"$FS_BIN/fsstorm" -n -s 1 >"$fs_tmp/1again"
	"$FS_BIN/fsstorm" -n -s 2 >"$fs_tmp/2"
	equal "decisions" "$(wc -l <"$fs_tmp/1")" 100
	cmp "$fs_tmp/1" "$fs_tmp/1again"
	if cmp -s "$fs_tmp/1" "$fs_tmp/2"; then fail "seed 2 decides as seed 1"; fi
}

@test "storm: no client is left stranded, natively" {
	FS_STORM_MS=$((FS_STORM_MS / 2))
	storm 11 wild
	storm 11 calm
}

@test "storm: no client is left stranded under Fastsocket, whatever is done to listeners" {
	say "the last seed is a random one"
	storms wild 11 12 "$FS_SEED"
}

@test "storm: every connection is answered whatever becomes of workers" {
	say "the last seed is a random one"
	storms calm 11 12 "$FS_SEED"
}

@test "storm: nothing of all that has leaked" {
	leak_clean
}

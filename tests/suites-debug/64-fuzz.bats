#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# on demand: what it takes for a finding has been wrong three times in its first hours
# Random programs around /dev/fastsocket and attached listeners: tests/progs-ioctl/fsfuzz.c.
# Every finding is printed with the command that runs its program again; each program leaves
# its number in the kernel log before it starts. FUZZ_SECONDS (default 60) is for all runs
# together, FUZZ_SEED the seed of the random ones.
# shellcheck disable=SC2154 # set by helpers.bash
load ../helpers

: "${FUZZ_SECONDS:=60}"
: "${FUZZ_SEED:=$((${EPOCHREALTIME/./} % 1000000))}"

# nobody need not be able to reach the tree.
bin=/run/fs-fuzz

setup() {
	fs_loaded || fs_load
	install -d $bin
	install -m 755 "$FS_BIN"/fsfuzz "$FS_BIN"/fsfuzz32 $bin
	echo on >/proc/sys/kernel/printk_devkmsg
}

teardown() {
	wait_until 10 references_are 0 || fail "references left: $(cat /sys/module/fastsocket/refcnt)"
	equal "rows of listeners" "$(tail -n +2 "$fs_listeners" | wc -l)" 0
	fs_unload
	fs_klog_clean
	fs_taint_clean
}

# fuzz PROGRAM SHARE [ARGUMENT...]: for SHARE sixtieths of FUZZ_SECONDS
fuzz() {
	local program=$1 seconds=$((($2 * FUZZ_SECONDS + 59) / 60)) status=0
	shift 2
	"$bin/$program" -m -n 1000000 -t $seconds "$@" >"$fs_tmp/fuzz" 2>&1 3>&- </dev/null || status=$?
	say "$program $*: $(tail -n 1 "$fs_tmp/fuzz")"
	[ $status = 0 ] || { cat "$fs_tmp/fuzz"; fail "$program $*: status $status"; }
	awk '/ programs, / && $3 > 0 && $5 > 0 { ok = 1 } END { exit !ok }' "$fs_tmp/fuzz" || fail "nothing ran"
}

# as_user COMMAND...: without privileges
as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all "$@"; }

@test "fuzz: concurrent calls by 64-bit and 32-bit programs, by root and by a user, break no promise of the ioctls" {
	fuzz fsfuzz 8 -s 1
	fuzz fsfuzz32 5 -s 2
	fuzz fsfuzz 5 -s "$FUZZ_SEED"
}

@test "fuzz: a user without privileges gets no further than root" {
	local status=0
	as_user $bin/fsfuzz -n 1000000 -t $(((5 * FUZZ_SECONDS + 59) / 60)) -s $((FUZZ_SEED + 1)) \
		>"$fs_tmp/fuzz" 2>&1 3>&- </dev/null || status=$?
	say "as a user: $(tail -n 1 "$fs_tmp/fuzz")"
	[ $status = 0 ] || { cat "$fs_tmp/fuzz"; fail "status $status"; }
}

@test "fuzz: native listeners compared with native ones do not differ, so that the comparison means something" {
	fuzz fsfuzz 6 -c -s "$FUZZ_SEED"
}

@test "fuzz: attached listeners give the answers that native ones give" {
	fuzz fsfuzz 12 -d -s 1
	fuzz fsfuzz32 7 -d -s 2
	fuzz fsfuzz 7 -d -s "$FUZZ_SEED"
	fuzz fsfuzz32 5 -d -s $((FUZZ_SEED + 1))
}

@test "fuzz: the same seed and index make the same program" {
	local i
	for i in 1 2; do $bin/fsfuzz -s 7 -i 4 -v | sed -n 's/^program //p' >"$fs_tmp/program$i"; done
	[ -s "$fs_tmp/program1" ]
	cmp "$fs_tmp/program1" "$fs_tmp/program2"
}

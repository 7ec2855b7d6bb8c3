#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# bench/run from end to end: on this machine, where it may leave nothing behind, and in virtual machines.
# `make check-bench` runs it; a quarter of an hour where machines are emulated.
bats_require_minimum_version 1.5.0

port=18990

setup() {
	cd "$BATS_TEST_DIRNAME/.." || return
	# That of bats is for its user only.
	TMPDIR=$(mktemp -d /tmp/bench-vm.XXXXXX)
	export TMPDIR
	chmod 755 "$TMPDIR"
	out=$BATS_TEST_TMPDIR/out
	pid=''
}

teardown() {
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || true
	rm -rf "$TMPDIR"
}

fail() {
	echo "FAILED: $*" >&2
	return 1
}

# equal WHAT GOT WANTED
equal() { [ "$2" = "$3" ] || fail "$1: '$2', expected '$3'"; }

# wait_until SECONDS COMMAND...
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

listeners() { ss -Hltn "sport = :$port or sport = :$((port + 1))"; }

# column NAME [VARIANT]: of the repeats in $out
column() {
	awk -F '\t' -v want="$1" -v variant="${2:-}" '
		/^#/ { next }
		!at { for (i = 1; i <= NF; i++) { if ($i == want) at = i; if ($i == "variant") v = i }; next }
		!variant || $v == variant { print $at }' "$out/raw.tsv"
}

# all_at_least MINIMUM NAME VARIANT
all_at_least() {
	column "$2" "$3" | awk -v min="$1" -v what="$3: $2" '
		$1 + 0 < min { print what " is " $1; bad = 1 }
		END { if (!NR) print what ": no repeats"; exit bad || !NR }' || fail "expected at least $1"
}

# ---- here ----

# interrupted SIGNAL: a run that is stopped so, in its third repeat. Shells start background jobs with SIGINT
# ignored, hence env.
interrupted() {
	env --default-signal=INT,TERM bench/run --scenarios haproxy --variants plain,bpf --cpus 1 --repeats 50 --seconds 0.5 --warmup 0.2 \
		--port $port --out "$out" >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
	pid=$!
	wait_until 120 grep -q '^\[  2/100\]' "$BATS_TEST_TMPDIR/log" || { cat "$BATS_TEST_TMPDIR/log"; fail "it does not run"; }
	kill -"$1" $pid
	status=0
	wait $pid || status=$?
	pid=''
	cat "$BATS_TEST_TMPDIR/log"
	equal "exit status" "$status" 4
	grep -q 'NOT COMPLETE' "$out/report.txt" || fail "the report does not say that it is not complete"
	equal "listeners that are left" "$(listeners)" ''
	equal "temporary files that are left" "$(ls -A "$TMPDIR")" ''
}

@test "here: Ctrl-C ends the servers, leaves no file, and what was measured is reported as not complete" {
	interrupted INT
}

@test "here: the same when it is terminated" {
	interrupted TERM
}

@test "here: a directory that the server's workers cannot enter is refused" {
	chmod 700 "$TMPDIR"
	run bench/run --variants plain --cpus 1 --repeats 1 --seconds 0.2 --warmup 0.2 --port $port --out "$out"
	echo "$output"
	equal status "$status" 1
	[[ $output = *"may not enter $TMPDIR"* ]] || fail "it does not say which"
	equal "temporary files that are left" "$(ls -A "$TMPDIR")" ''
}

@test "here: a port that is taken is refused, and nothing is started" {
	busybox nc -l -p $((port + 1)) 3>&- </dev/null &
	pid=$!
	wait_until 10 sh -c "ss -Hltn 'sport = :$((port + 1))' | grep -q ."
	run bench/run --variants plain --cpus 1 --repeats 1 --seconds 0.2 --warmup 0.2 --port $port --out "$out"
	echo "$output"
	equal status "$status" 1
	[[ $output = *"port $((port + 1)) is taken"* ]] || fail "it does not say which"
	[ ! -e "$out" ] || fail "$out was made"
}

@test "here: a client that starts late is waited for" {
	mkdir "$BATS_TEST_TMPDIR/late"
	cat >"$BATS_TEST_TMPDIR/late/taskset" <<-END
		#!/bin/sh
		case \$* in *httpload*) sleep 1 ;; esac
		exec $(command -v taskset) "\$@"
	END
	chmod +x "$BATS_TEST_TMPDIR/late/taskset"
	run env PATH="$BATS_TEST_TMPDIR/late:$PATH" bench/run --scenarios nginx --variants plain --cpus 1 --repeats 1 --seconds 0.5 \
		--warmup 0.2 --port $port --out "$out"
	echo "$output"
	# One repeat allows no conclusion, and is not void.
	equal status "$status" 4
	all_at_least 1 connections plain
}

# ---- in virtual machines ----

@test "in a virtual machine: each variant is what it is called, no connection fails, all results are there" {
	local f
	run bench/run --vm --cpus 2 --repeats 3 --seconds 2 --port $port --out "$out"
	echo "$output"
	# Too noisy is no failure here.
	[ "$status" = 0 ] || equal status "$status" 4
	equal repeats "$(column failed | wc -l)" 24
	equal "connections that failed" "$(column failed | sort -u)" 0
	all_at_least 99 locality bpf
	all_at_least 95 locality fastsocket
	all_at_least 100 connections plain
	[[ $output = *' left'* ]] || fail "no estimate of the time left"
	if ! grep -qwE 'vmx|svm' /proc/cpuinfo; then
		grep -q '^# emulated yes' "$out/raw.tsv" || fail "it does not know that it was emulated"
	fi
	for f in {nginx,haproxy}-{throughput,locality,ipis}.{svg,png} report.md report.txt summary.tsv machine.txt; do
		[ -s "$out/$f" ] || fail "no $f"
	done
	grep -q 'enable_listen_spawn = 2' "$out/machine.txt" || fail "machine.txt lacks the module's parameters"
}

# As a user would who has loaded the module himself. The tree there is this one, what is written to it is gone afterwards.
@test "in a virtual machine: a module that was there stays, and is set as before" {
	local kernel
	bench/run --dry-run >/dev/null
	make -s modules
	strip -g -o "$TMPDIR/fastsocket.ko" fastsocket.ko
	kernel=$(PATH=$PATH:/usr/sbin modinfo -F vermagic fastsocket.ko)
	run env FS_LOGDIR="$BATS_TEST_TMPDIR/log" FS_BIN="$PWD/bench/out/bin" FS_KO="$TMPDIR/fastsocket.ko" TMPDIR=/tmp \
		tests/vm/boot -c 2 -t 900 -k "${kernel%% *}" -n here -- bash -c '
			insmod "$FS_KO" && bench/run --scenarios haproxy --variants fastsocket,rfd --cpus 2 --repeats 1 --seconds 2 --out /run/fs-artifacts
			echo "status $?"
			echo "rfd $(cat /sys/module/fastsocket/parameters/enable_receive_flow_deliver)"
			bench/run --variants fastsocket --cpus 1 --load; echo "with --load: $?"
			tools/fastsocket run -- bench/run --scenarios nginx --variants reuseport --cpus 1 --out /run/e
			echo "enrolled, without the module: $?"
			tools/fastsocket run -- bench/run --scenarios haproxy --variants fastsocket --cpus 1 --out /run/f
			echo "enrolled, its backend, too: $?"
			rmmod fastsocket
			bench/run --variants fastsocket --cpus 1; echo "without the module: $?"'
	echo "$output"
	equal "status of the machine" "$status" 0
	[[ $output = *'status 4'* ]] || fail "one repeat allows no conclusion"
	[[ $output = *'rfd 0'* ]] || fail "Receive Flow Deliver stayed on"
	[[ $output = *'with --load: 1'* && $output = *'without the module: 1'* ]] || fail "it does not refuse"
	[[ $output = *'reuseport is to be without fastsocket.ko'*'enrolled, without the module: 1'* ]] || fail "reuseport is measured with the module"
	[[ $output = *'the backend is to be without fastsocket.ko'*'enrolled, its backend, too: 1'* ]] || fail "the backend is measured with the module"
	mkdir -p "$out"
	tar -C "$out" -m -xf "$BATS_TEST_TMPDIR/log/here.tar"
	all_at_least 95 locality fastsocket
	all_at_least 99 replies rfd
}

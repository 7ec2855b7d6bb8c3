#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# /dev/fastsocket may be opened by everybody. What an unprivileged user can do with it: nothing to
# others, and nothing to the machine that is not charged to the user's own memory cgroup.
# shellcheck disable=SC2154 # set by helpers.bash and by run
bats_require_minimum_version 1.5.0
load ../helpers

cgroup=/sys/fs/cgroup/fs-safety
ignore_loglevel=/sys/module/printk/parameters/ignore_loglevel
# nobody need not be able to reach the tree.
bin=/run/fs-safety
hold_fds=()
hold_pids=()

setup() {
	fs_loaded || fs_load
	install -d "$bin"
	install -m 755 "$FS_BIN"/safety_probe "$FS_BIN"/fsfuzz "$FS_BIN"/listen_probe "$FS_ROOT"/tools/libfsocket.so "$bin"
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	mkdir -p "$cgroup"
}

teardown() {
	release
	dmesg -n 7
	echo Y >$ignore_loglevel
	wait_until 10 rmdir "$cgroup" 2>/dev/null || rmdir "$cgroup"
	wait_until 5 references_are 0 || fail "references left: $(cat /sys/module/fastsocket/refcnt)"
	fs_klog_clean
	fs_taint_clean
}

teardown_file() { fs_unload; }

as_user() { setpriv --reuid="$1" --regid="$1" --clear-groups -- "${@:2}"; }
as_nobody() { as_user 65534 "$@"; }

# in_cgroup COMMAND...: its memory is charged to $cgroup
# shellcheck disable=SC2016
in_cgroup() { bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" "$@"; }

# hold COMMAND...: one that prints a line when it is ready and ends with its input; sets held
hold() {
	local n=${#hold_pids[@]} fd
	mkfifo "$fs_tmp/input.$n"
	"$@" <"$fs_tmp/input.$n" >"$fs_tmp/ready.$n" 3>&- &
	hold_pids+=($!)
	exec {fd}>"$fs_tmp/input.$n"
	hold_fds+=("$fd")
	wait_until 60 test -s "$fs_tmp/ready.$n" || fail "not ready: $*"
	held=$(<"$fs_tmp/ready.$n")
}

release() {
	local fd pid
	for fd in "${hold_fds[@]}"; do exec {fd}>&-; done
	for pid in "${hold_pids[@]}"; do wait "$pid" || true; done
	hold_fds=() hold_pids=()
}

# Kilobytes that the kernel uses for what sockets are made of.
kernel_memory() { awk '/^(Slab|Percpu):/ { sum += $2 } END { print sum }' /proc/meminfo; }

# What earlier tests closed is freed a little later: wait until it is.
settle() {
	local last now=0
	for _ in $(seq 20); do
		last=$now now=$(kernel_memory)
		[ $((last > now ? last - now : now - last)) -gt 128 ] || return 0
		sleep 0.5
	done
	fail "kernel memory does not settle: $last, $now KB"
}

charged_kernel_memory() { awk '$1 == "kernel" { printf "%d\n", $2 / 1024 }' "$cgroup/memory.stat"; }
memory_is_below() { [ "$(kernel_memory)" -le "$1" ]; }
sockets() { awk '/^sockets:/ { print $3 } /^TCP:/ { print $3, $9 }' /proc/net/sockstat | xargs; }
sockets_are() { [ "$(sockets)" = "$1" ]; }
clones() { fs_listener_field "$1" '*' cpu | grep -vc -- - || true; }

# pids_seen_by USER PORT
pids_seen_by() {
	as_user "$1" cat "$fs_listeners" >"$fs_tmp/view"
	fs_listeners=$fs_tmp/view fs_listener_field "$2" '*' pid
}

@test "the device is open to everybody, for listeners of their own" {
	equal "mode" "$(stat -c %a /dev/fastsocket)" 666
	run --separate-stderr as_nobody env LD_PRELOAD="$bin/libfsocket.so" "$bin/listen_probe" both_families
	equal "output" "$output$stderr" $'ipv4 attached\nipv6 attached'
}

@test "what seccomp forbids a program the ioctls do not give it" {
	run --separate-stderr as_nobody "$bin/safety_probe" filtered
	equal "output" "$output$stderr" forbidden
	equal "lines in the log" "$(fs_klog | grep -c 'has a seccomp filter: use socket() and accept4()')" 2
}

@test "a user namespace with a network of its own works and leaves nothing" {
	# shellcheck disable=SC2016
	run --separate-stderr as_nobody unshare -Urn sh -c \
		'ip link set lo up; LD_PRELOAD=$1/libfsocket.so $1/listen_probe both_families' x "$bin"
	equal "output" "$output$stderr" $'ipv4 attached\nipv6 attached'
}

@test "however many tasks poll a listener, it has at most one clone per CPU" {
	hold as_nobody "$bin/safety_probe" crowd 12 8
	at_least "clones of 96 pollers" "$(clones "$held")" 1
	at_most "clones of 96 pollers" "$(clones "$held")" "$(fs_possible_cpus)"
	at_most "rows" "$(fs_listener_field "$held" '*' cpu | wc -l)" $(($(fs_possible_cpus) + 1))
}

# bats test_tags=debug
@test "however many workers come and are killed, a listener has at most one clone per CPU" {
	run --separate-stderr as_nobody "$bin/safety_probe" parade 150
	equal "status and errors" "$status$stderr" 0
	at_least "clones" "$output" 1
	at_most "clones" "$output" "$(fs_possible_cpus)"
}

@test "the memory of a listener and its clones is charged to the memory cgroup of its owner" {
	local host charged
	settle
	host=$(kernel_memory)
	hold in_cgroup prlimit --nofile=20000 setpriv --reuid=65534 --regid=65534 --clear-groups "$bin/safety_probe" fill 1000
	equal "listeners" "$held" "1000 -"
	host=$(($(kernel_memory) - host)) charged=$(charged_kernel_memory)
	say "1000 listeners on $(fs_possible_cpus) CPUs: $host KB used, $charged KB charged"
	at_least "KB used (the test's own size)" "$host" 4000
	at_least "KB charged of $host" "$charged" $((host * 85 / 100))
}

# bats test_tags=debug
@test "a user who opens listeners without end reaches the limit of the own cgroup, and the machine does not notice" {
	local before limit=24576 reports traces
	settle
	before=$(kernel_memory)
	# The kernel's report of a process killed for want of memory has a call trace, which
	# the harness would take for a fault: keep it off the console, and look at the log here.
	echo N >$ignore_loglevel
	dmesg -n 1
	echo ${limit}K >"$cgroup/memory.max"
	hold as_nobody "$bin/safety_probe" own_listener 2
	mkfifo "$fs_tmp/fill.input"
	sleep 1000 >"$fs_tmp/fill.input" 3>&- &
	local sleeper=$!
	in_cgroup prlimit --nofile=100000 setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$bin/safety_probe" fill 5000 <"$fs_tmp/fill.input" >"$fs_tmp/filled" 3>&- &
	local filler=$! peak=0 now
	for _ in $(seq 600); do
		now=$(($(kernel_memory) - before))
		[ "$now" -le "$peak" ] || peak=$now
		[ ! -s "$fs_tmp/filled" ] && kill -0 "$filler" 2>/dev/null || break
		sleep 0.1
	done
	say "most used: $peak KB with a limit of $limit KB; it reported: $(cat "$fs_tmp/filled"); $(grep -E '^(max|oom_kill) ' "$cgroup/memory.events" | xargs)"
	[[ $(cat "$fs_tmp/filled") != "5000 -" ]] || fail "5000 listeners were not too many"
	at_least "times the limit was met" "$(awk '$1 == "max" { print $2 }' "$cgroup/memory.events")" 1
	at_most "KB used" "$peak" $((limit + 12288))
	(exec 8<>"/dev/tcp/127.0.0.1/$held") || fail "another server does not answer"
	kill "$sleeper"
	wait "$filler" || true
	release
	wait_until 20 memory_is_below $((before + 4096)) || fail "$(($(kernel_memory) - before)) KB were not given back"
	reports=$(fs_klog | grep -c 'invoked oom-killer' || true)
	traces=$(fs_klog | grep -c 'Call Trace:' || true)
	equal "call traces that are no report of the limit" "$traces" "$reports"
	run ! grep -E 'WARNING:|BUG:|Oops|general protection|stall|refcount_t' <(fs_klog)
	# The rest of this log has been judged here.
	fs_mark="fs-mark-after-$BASHPID"
	echo "<6>$fs_mark" >/dev/kmsg
}

@test "200 rounds of opening and closing listeners give back every socket and the memory" {
	local memory before
	as_nobody "$bin/safety_probe" rounds 20 20
	settle
	memory=$(kernel_memory) before=$(sockets)
	as_nobody "$bin/safety_probe" rounds 200 20
	wait_until 10 sockets_are "$before" || fail "sockets: $(sockets), before: $before"
	wait_until 10 memory_is_below $((memory + 4096)) || fail "$(($(kernel_memory) - memory)) KB were not given back"
}

@test "a worker's process id is shown to root and to its owner, to nobody else" {
	local rows mine root_port
	hold "$bin/safety_probe" own_listener 2
	root_port=$held
	hold as_nobody "$bin/safety_probe" own_listener 2
	equal "clones" "$(clones "$root_port") $(clones "$held")" "2 2"
	for rows in "65534 $root_port" "1 $root_port" "1 $held"; do
		# shellcheck disable=SC2086
		run pids_seen_by $rows
		equal "user and port $rows: rows" "${#lines[@]}" 3
		run ! grep -E '[1-9]' <<<"$output"
	done
	for rows in "0 $root_port" "0 $held" "65534 $held"; do
		# shellcheck disable=SC2086
		mine=$(pids_seen_by $rows | grep -cE '^[1-9][0-9]*$')
		equal "user and port $rows: process ids" "$mine" 2
	done
	unshare -pf --mount-proc cat "$fs_listeners" >"$fs_tmp/view"
	equal "rows seen from another pid namespace" \
		"$(fs_listeners=$fs_tmp/view fs_listener_field "$held" '*' pid | wc -l)" 3
	run ! grep -E '[1-9]' <(fs_listeners=$fs_tmp/view fs_listener_field "$held" '*' pid)
}

@test "listeners of another network namespace are not shown" {
	hold "$bin/safety_probe" own_listener 1
	equal "rows here" "$(fs_listener_field "$held" '*' port | wc -l)" 2
	unshare -n cat "$fs_listeners" >"$fs_tmp/view"
	equal "lines there" "$(wc -l <"$fs_tmp/view")" 1
}

# These two show that the next two can fail: such workers are bound.
@test "workers of the user who attached the listener are bound" {
	run timeout 30 "$bin/safety_probe" passed_listener 65534 65534
	at_least "bound workers" "$(grep -c 'was bound' <<<"$output")" 1
}

@test "workers without privileges of a listener that root attached are bound, as nginx needs it" {
	run timeout 30 "$bin/safety_probe" passed_listener 0 65534
	at_least "bound workers" "$(grep -c 'was bound' <<<"$output")" 1
}

# bats test_tags=debug
@test "a listener that an unprivileged user passes to another user's process does not bind that process" {
	timeout 30 "$bin/safety_probe" passed_listener 65534 1
}

@test "a listener that an unprivileged user passes to root's process does not bind that process" {
	timeout 30 "$bin/safety_probe" passed_listener 65534 0
}

@test "random calls of an unprivileged user harm nothing" {
	local out
	out=$(setpriv --reuid=65534 --regid=65534 --clear-groups "$bin/fsfuzz" -s 7 -n 100000 -t 10) || fail "$out"
	say "$out"
}

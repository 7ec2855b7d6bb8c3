#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Programs that know of nothing, without LD_PRELOAD: enrolled by process or control group, in the kernel; and
# programs that ask for it by TCP_ULP.
# debug lane, too
# shellcheck disable=SC2154 # set by helpers.bash and by run
bats_require_minimum_version 1.5.0
load ../helpers

enrol=$FS_BIN/fastsocket-enrol
probe=$FS_BIN/listen_probe
static=$FS_BIN/listen_probe_static
enrolled=/proc/fastsocket_enrolled
cgroup=/sys/fs/cgroup/fs-test

setup() { fs_loaded || fs_load; }

teardown() {
	ended
	! fs_loaded || echo 2 >"$fs_param"
	[ ! -d $cgroup ] || find $cgroup -depth -type d -exec rmdir {} +
	! fs_loaded || wait_until 5 references_are 0 || fail "references left: $(references)"
	fs_klog_clean
	fs_taint_clean
}

teardown_file() { ! fs_loaded || fs_unload; }

# key NAME: of /proc/net/fastsocket
key() { awk -v k="$1" '$1 == k { print $2 }' /proc/net/fastsocket; }

# said FILE COUNT: there are so many lines
said() { [ "$(wc -l <"$1")" -ge "$2" ]; }

# asked COMMAND...: a program that listens for each line of input; sets asked_pid
asked() {
	rm -f "$fs_tmp/input" "$fs_tmp/answers"
	mkfifo "$fs_tmp/input"
	"$@" "$probe" on_demand <"$fs_tmp/input" >"$fs_tmp/answers" 3>&- &
	asked_pid=$!
	exec 9>"$fs_tmp/input"
	wait_until 10 said "$fs_tmp/answers" 1
}

# answer: "one attached" or "one native", of one more listener
answer() {
	local n
	n=$(($(wc -l <"$fs_tmp/answers") + 1))
	echo >&9
	wait_until 10 said "$fs_tmp/answers" $n
	tail -n 1 "$fs_tmp/answers"
}

ended() {
	[ "${asked_pid:-}" ] || return 0
	exec 9>&-
	wait "$asked_pid" || true
	asked_pid=
}

# As a module, or built in.
have_tls() {
	modprobe tls 2>/dev/null || true
	grep -qw tls /proc/sys/net/ipv4/tcp_available_ulp
}

# attached PROGRAM CASE LINE...
attached() {
	local program=$1 name=$2
	shift 2
	run --separate-stderr timeout 60 "$enrol" -- "$program" "$name"
	equal "exit status of $name" "$status" 0
	equal "output of $name" "$output" "$(printf '%s attached\n' "$@")"
	equal "stderr of $name" "$stderr" ""
}

nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)

@test "enrol: listeners of static and dynamic programs are attached, IPv4 and IPv6, and serve" {
	attached "$static" both_families ipv4 ipv6
	attached "$probe" both_families ipv4 ipv6
}

@test "enrol: children, of fork, vfork and posix_spawn, threads and signal handlers" {
	attached "$static" forks inherited child
	attached "$static" vforks vfork
	attached "$probe" spawns one
	attached "$static" threads thread thread thread thread thread thread thread thread
	attached "$static" signals signal
	attached "$static" dups dup first-closed
}

@test "enrol: a daemon whose parents are gone; programs that are executed one by another" {
	attached "$static" daemonises daemon
	run timeout 60 "$enrol" sh -c "env -i setsid sh -c 'exec $static one'"
	equal "output" "$output" "one attached"
}

@test "enrol: listeners that io_uring makes listen, also in threads of the kernel's" {
	run "$enrol" -- "$static" rings
	# before Linux 6.11
	[ "$output" = 'io_uring does not listen' ] || attached "$static" rings submitter worker poller
}

@test "enrol: programs beside it are left alone" {
	asked "$enrol" --
	equal "the enrolled one" "$(answer)" "one attached"
	run "$probe" both_families
	equal "another" "$output" $'ipv4 native\nipv6 native'
}

@test "enrol: many processes that come and go; none stays on the list" {
	attached "$static" forks_much one one one one one one one one
	wait_until 5 sh -c "[ \$(wc -l <$enrolled) = 1 ]" || fail "still there: $(<$enrolled)"
	equal "enrolled processes" "$(key enrolled_processes)" 0
}

@test "enrol: results and errors of listen() are the kernel's" {
	run --separate-stderr "$probe" errors
	local native=$output
	equal "lines" "${#lines[@]}" 16
	run --separate-stderr "$enrol" -- "$probe" errors
	equal "results when enrolled" "$output" "$native"
	run --separate-stderr "$enrol" -- "$probe" descriptors
	equal "descriptors" "$output" same
}

@test "enrol: it is seen, and can be taken back; listeners stay as they are" {
	asked
	equal "before" "$(answer)" "one native"
	"$enrol" --pid $asked_pid
	grep -q "^process $asked_pid listen_probe\$" $enrolled || fail "not on the list: $(<$enrolled)"
	equal "enrolled processes" "$(key enrolled_processes)" 1
	equal "listener" "$(answer)" "one attached"
	"$enrol" --pid $asked_pid
	equal "enrolled processes, the second time" "$(key enrolled_processes)" 1
	"$enrol" --off --pid $asked_pid
	equal "list" "$(<$enrolled)" "kind id name"
	equal "taken back" "$(answer)" "one native"
	equal "listeners that are attached still" "$(key listeners)" 1
	"$enrol" --off --pid $asked_pid
	ended
	wait_until 5 references_are 0
}

@test "enrol: a program that ends leaves the list, by a signal too" {
	asked "$enrol" --
	grep -q "^process $asked_pid " $enrolled
	kill -9 $asked_pid
	wait $asked_pid || true
	equal "list" "$(<$enrolled)" "kind id name"
	# The list leaves out who is gone; this counts what is kept.
	equal "enrolled processes" "$(key enrolled_processes)" 0
}

@test "enrol: a name with a line break in it is one line" {
	local script=$fs_tmp/$'a b\nc'
	printf '#!/bin/sh\ncat %s\n' $enrolled >"$script"
	chmod 755 "$script"
	run "$enrol" -- "$script"
	[[ $output == *$'\nprocess '*' a\040b\012c'* ]] || fail "$output"
	equal "lines that are no record" "$(grep -vcE '^(kind id name|process [0-9]+ [^ ]+)$' <<<"$output" || true)" 0
}

@test "enrol: who may: one's own, and others' with CAP_SYS_NICE" {
	asked
	run -1 "${nobody[@]}" "$enrol" --pid $asked_pid
	[[ $output == *"another user"* ]]
	run -1 "${nobody[@]}" "$enrol" --off --pid $asked_pid
	run -1 "${nobody[@]}" "$enrol" --cgroup /sys/fs/cgroup
	[[ $output == *CAP_NET_ADMIN* ]]
	run -1 "$enrol" --pid 4194000
	[[ $output == *"no such process"* ]]
	run -1 "$enrol" --pid 2
	[[ $output == *"thread of the kernel"* ]]
	run -1 "$enrol" --cgroup /tmp
	[[ $output == *"no directory of a control group"* ]]
	run -2 "$enrol" --pid x
	run -2 "$enrol"
	equal "list" "$(<$enrolled)" "kind id name"
	ended
	asked "${nobody[@]}"
	"$enrol" --pid $asked_pid
	equal "root enrols nobody's" "$(answer)" "one attached"
	[[ $("${nobody[@]}" cat $enrolled) == *"process $asked_pid "* ]] || fail "does not see its own"
	ended
	asked "$enrol" --
	equal "what nobody sees of root's" "$("${nobody[@]}" cat $enrolled)" "kind id name"
	ended
	run "${nobody[@]}" "$enrol" -- "$static" one
	equal "one's own" "$output" "one attached"
}

@test "enrol: a control group: all that are in it and below, now and later" {
	mkdir -p $cgroup/below
	asked
	"$enrol" --cgroup $cgroup
	[[ $(<$enrolled) == *$'\ncgroup '*" /fs-test" ]] || fail "$(<$enrolled)"
	equal "enrolled groups" "$(key enrolled_cgroups)" 1
	equal "outside" "$(answer)" "one native"
	echo $asked_pid >$cgroup/cgroup.procs
	equal "in it" "$(answer)" "one attached"
	echo $asked_pid >$cgroup/below/cgroup.procs
	equal "below" "$(answer)" "one attached"
	run sh -c "echo \$\$ >$cgroup/cgroup.procs && exec $static one"
	equal "one that is started in it" "$output" "one attached"
	"$enrol" --cgroup $cgroup
	equal "enrolled groups, the second time" "$(key enrolled_cgroups)" 1
	"$enrol" --off --cgroup $cgroup
	equal "taken back" "$(answer)" "one native"
	equal "list" "$(<$enrolled)" "kind id name"
}

@test "enrol: a control group that is gone is forgotten" {
	mkdir $cgroup
	"$enrol" --cgroup $cgroup
	rmdir $cgroup
	equal "list" "$(<$enrolled)" "kind id name"
	mkdir $cgroup
	run sh -c "echo \$\$ >$cgroup/cgroup.procs && exec $static one"
	equal "a new one of the same name" "$output" "one native"
	"$enrol" --cgroup $cgroup
	equal "enrolled groups" "$(key enrolled_cgroups)" 1
}

@test "enrol: no more than 256 control groups" {
	local i
	mkdir $cgroup
	for i in {1..257}; do mkdir "$cgroup/$i"; done
	run -1 "$enrol" --cgroup $cgroup/{1..257}
	[[ $output == *"too many control groups"* ]]
	equal "messages" "${#lines[@]}" 1
	equal "enrolled groups" "$(key enrolled_cgroups)" 256
	"$enrol" --off --cgroup $cgroup/{1..257}
	equal "enrolled groups" "$(key enrolled_cgroups)" 0
}

@test "enrol: in a container of an unprivileged user: its own it may, others' it does not see" {
	asked "$enrol" --
	run "${nobody[@]}" unshare --user --map-root-user --net --pid --fork --mount-proc sh -c "
		ip link set lo up
		cat $enrolled
		$enrol -- sh -c 'cat $enrolled; $static both_families'
		$enrol --cgroup /sys/fs/cgroup || true"
	equal "lines" "${lines[0]}" "kind id name"
	equal "lines" "${lines[1]}" "kind id name"
	[[ ${lines[2]} == "process "*" cat" || ${lines[2]} == "process "*" sh" ]] || fail "$output"
	[[ $output == *$'\nipv4 attached\nipv6 attached\n'* ]] || fail "$output"
	[[ $output == *"needs CAP_NET_ADMIN"* ]] || fail "$output"
	[[ $output != *" $asked_pid "* ]] || fail "sees another's: $output"
	equal "still enrolled" "$(answer)" "one attached"
}

@test "enrol: with enable_listen_spawn=0 listeners are the plain kernel's" {
	echo 0 >"$fs_param"
	asked "$enrol" --
	equal "off" "$(answer)" "one native"
	echo 2 >"$fs_param"
	equal "on again" "$(answer)" "one attached"
}

@test "enrol: an MPTCP listener is left alone, with a line in the log that names the way round" {
	run "$enrol" -- "$probe" mptcp
	equal "output" "$output" "mptcp native"
	equal "lines in the log" "$(fs_klog | grep -c 'it is MPTCP (Go programs: GODEBUG=multipathtcp=0)')" 1
}

@test "enrol: rmmod while programs are enrolled; they go on natively" {
	asked "$enrol" --
	mkdir $cgroup
	"$enrol" --cgroup $cgroup
	fs_unload
	equal "without the module" "$(answer)" "one native"
	fs_load
	equal "list" "$(<$enrolled)" "kind id name"
	equal "with it again" "$(answer)" "one native"
	ended
	fs_unload
	run --separate-stderr "$enrol" -- "$static" one
	equal "output" "$output" "one native"
	[[ $stderr == *"runs without Fastsocket: the module is not loaded"* ]]
	run -3 "$enrol" --pid $$
}

@test "enrol: exit status of a command is its own; 127 and 126 as ever" {
	run -7 "$enrol" sh -c 'exit 7'
	run -127 "$enrol" -- /no/such/program
	run -126 "$enrol" -- /etc/passwd
}

@test "ulp: a listener is attached before listen() and after it" {
	run --separate-stderr timeout 60 "$FS_BIN/ulp_probe" before_and_after
	equal "output" "$output" $'before attached\nnot yet native\nafter attached\nbefore attached\nnot yet native\nafter attached'
	equal "stderr" "$stderr" ""
}

@test "ulp: what is accepted is free for kTLS" {
	have_tls
	run --separate-stderr timeout 60 "$FS_BIN/ulp_probe" accepted
	local each=$'listener \'\' accepted \'\'\ntls ok\nthen \'tls\''
	equal "output" "$output" "$each"$'\n'"$each"
	equal "stderr" "$stderr" ""
}

@test "ulp: connections are refused and keep what they have; other names are the kernel's" {
	have_tls
	run --separate-stderr timeout 60 "$FS_BIN/ulp_probe" refused
	equal "output" "$output" $'connected EISCONN\naccepted EISCONN\ntls is free ok\nudp ENOPROTOOPT\nother name ENOENT'
}

@test "ulp: signals lose nothing, and another thread may listen and shut down meanwhile" {
	run --separate-stderr timeout 100 "$FS_BIN/ulp_probe" interrupted
	equal "interrupted" "$output" "native 0"
	run --separate-stderr timeout 100 "$FS_BIN/ulp_probe" raced
	equal "raced" "$output" "done"
}

@test "ulp: a program that asks for it has the module loaded" {
	local modules
	modules=/lib/modules/$(uname -r)
	fs_unload
	mkdir -p "$modules" "$fs_tmp/modules"
	cp "$FS_KO" "$fs_tmp/modules/fastsocket.ko"
	mount --bind "$fs_tmp/modules" "$modules"
	PATH=$PATH:/usr/sbin depmod "$(uname -r)" 2>/dev/null
	run --separate-stderr timeout 60 "$FS_BIN/ulp_probe" before_and_after
	umount "$modules"
	fs_loaded || fail "the module is not loaded"
	equal "output" "$output" $'before attached\nnot yet native\nafter attached\nbefore attached\nnot yet native\nafter attached'
}

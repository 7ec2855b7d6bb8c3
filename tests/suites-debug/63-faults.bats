#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# What the kernel may refuse us: each call of ours that can fail is made to fail, alone
# and at random. A fault may cost the locality of a connection, never the connection,
# and nothing is left behind. tests/modules/fsfault.c says what a site is.
load ../helpers
load ../suites/epoll

faults=/sys/kernel/debug/fsfault

setup_file() { insmod "$FS_FAULT_KO"; }

teardown_file() { rmmod fsfault; }

setup() { ! fs_loaded || fs_unload; }

teardown() {
	echo off >$faults/mode
	[ ! "$hold_pid" ] || release
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

failed() { echo "$(<$faults/failed)"; }

# nothing_is_left: of a module that could not be loaded
nothing_is_left() {
	! fs_loaded || fail "the module is loaded"
	[ ! -e /dev/fastsocket ] || fail "/dev/fastsocket is there"
	[ ! -e "$fs_stats" ] || fail "$fs_stats is there"
	[ ! -e "$fs_listeners" ] || fail "$fs_listeners is there"
}

@test "faults: whatever fails at load, insmod fails alone and leaves nothing, or one ioctl is off" {
	local tries=0 refused=0 error
	echo calls >$faults/mode
	while [ $tries -lt 20 ]; do
		tries=$((tries + 1))
		before=$(failed)
		if error=$(insmod "$FS_KO" 2>&1); then
			rmmod fastsocket
			[ "$(failed)" != "$before" ] || break
		else
			[[ $error == *"Cannot allocate memory"* ]] || fail "insmod: $error"
			nothing_is_left
			refused=$((refused + 1))
		fi
	done
	say "$refused of $tries loads were refused, $(failed) faults"
	at_most "tries until a load met no new fault" $tries 19
	# workqueue, namespace data, its two files, its counters, device
	at_least "refused loads" $refused 6
	fs_load
}

@test "faults: whatever fails beneath our calls at load, Fast Sockfs alone stays off, until nothing does" {
	local tries=0 error
	echo once >$faults/mode
	until fs_klog | grep -q 'Enable Fast Sockfs'; do
		tries=$((tries + 1))
		at_most "loads until one met no new fault in it" $tries 39
		if error=$(insmod "$FS_KO" 2>&1); then
			rmmod fastsocket
		else
			[[ $error == *"Cannot allocate memory"* ]] || fail "insmod: $error"
			nothing_is_left
		fi
	done
	echo off >$faults/mode
	say "Fast Sockfs stayed off in $(fs_klog | grep -c 'Fast Sockfs stays off: ') of $tries loads"
	# the socket, its file and what that is made of
	at_least "loads without Fast Sockfs" "$(fs_klog | grep -c 'Fast Sockfs stays off: ')" 4
}

@test "faults: a system call that cannot be found turns its ioctl off, with a line in the log" {
	[ "$(fs_klog | grep -c 'is not in this kernel')" = 0 ]
	echo 'random 0 1' >$faults/mode
	fs_load
	[ "$(fs_klog | grep -c 'is not in this kernel')" = 0 ]
	fs_unload
	# the way to each symbol is one site: 100 % of them
	echo 'random 100 1' >$faults/mode
	insmod "$FS_KO" 2>/dev/null || true
	echo off >$faults/mode
	equal "lines in the log" "$(fs_klog | grep -cE 'is not in this kernel: (the ioctl that needs it is off|LISTEN is off|workers do not)')" 5
}

@test "faults: when ftrace refuses, Receive Flow Deliver alone stays off with a line, and can be tried again" {
	local switch=/sys/module/fastsocket/parameters/enable_receive_flow_deliver refused=0 before
	local traced=/sys/kernel/tracing/enabled_functions
	fs_load
	before=$(wc -l <$traced)
	echo calls >$faults/mode
	while ! echo 1 2>/dev/null >$switch; do
		refused=$((refused + 1))
		equal "the parameter" "$(<$switch)" 0
		equal "hooked functions" "$(wc -l <$traced)" "$before"
		"$FS_BIN/faulty" rounds 1
		at_most "refusals" $refused 5
	done
	echo off >$faults/mode
	# a function that cannot be found, and ftrace itself
	equal "refusals" $refused 2
	equal "lines in the log" "$(fs_klog | grep -c 'Receive Flow Deliver stays off: ')" 2
	equal "the parameter" "$(<$switch)" 1
	at_least "hooked functions" "$(wc -l <$traced)" $((before + 3))
	"$FS_BIN/faulty" rounds 1
}

@test "faults: when ftrace refuses a direct call, Fast Epoll comes the other way, and the next time directly" {
	fs_load enable_fast_epoll=1
	echo calls register_ftrace_direct_multi >$faults/mode
	hold
	wait_until 30 hooked_beside || fail "not hooked: $(<"$tracing/enabled_functions")"
	echo off >$faults/mode
	not_hooked || fail "hooked directly all the same"
	"$FS_BIN/faulty" rounds 1
	echo 0 >"$fe_param"
	echo 1 >"$fe_param"
	wait_until 30 hooked || fail "not hooked"
	"$FS_BIN/faulty" rounds 1
	release
}

# enrolment: what the tools say is that it could not be done, and the program listens all the same
@test "faults: each site of enrolment fails once: programs listen in any case, and are attached in the end" {
	local cgroup=/sys/fs/cgroup/fs-faults tries=0 before
	fs_load
	mkdir -p $cgroup
	echo once >$faults/mode
	before=-1
	while [ "$(failed)" != "$before" ]; do
		tries=$((tries + 1))
		at_most "rounds until one met no new fault" $tries 39
		before=$(failed)
		run "$FS_BIN/fastsocket-enrol" --cgroup $cgroup
		[ "$status" = 0 ] || [[ $output == *"Cannot allocate memory"* ]] || fail "$output"
		run cat /proc/fastsocket_enrolled
		run "$FS_BIN/fastsocket-enrol" -- "$FS_BIN/listen_probe_static" forks
		[ "$status" = 0 ] || fail "$output"
		run "$FS_BIN/ulp_probe" refused
		[ "$status" = 0 ] || fail "$output"
		"$FS_BIN/fastsocket-enrol" --off --cgroup $cgroup
	done
	echo off >$faults/mode
	say "$tries rounds"
	at_least "rounds" $tries 5
	run "$FS_BIN/fastsocket-enrol" -- "$FS_BIN/listen_probe_static" forks
	equal "in the end" "$output" $'inherited attached\nchild attached'
	rmdir $cgroup
}

livepatch=/sys/kernel/livepatch/fslivepatch

# livepatch_off: the kernel takes some time to see that nobody runs it any more
livepatch_off() {
	echo 0 >$livepatch/enabled
	wait_until 60 test ! -e $livepatch
	rmmod fslivepatch
}

@test "faults: with a live patch of the same function the first one stays, and the other is told so" {
	local switch=/sys/module/fastsocket/parameters/enable_receive_flow_deliver patch=${FS_FAULT_KO%/*}/fslivepatch.ko
	fs_load
	insmod "$patch"
	wait_until 60 grep -q 0 $livepatch/transition
	run bash -c "echo 1 >$switch"
	[[ $status != 0 && $output == *busy* ]] || fail "switched on beside a live patch: $output"
	equal "the parameter" "$(<$switch)" 0
	equal "lines in the log" "$(fs_klog | grep -c 'Receive Flow Deliver stays off: get_rps_cpu: .*a live patch has it')" 1
	equal "the live patch" "$(<$livepatch/enabled)" 1
	"$FS_BIN/faulty" rounds 1
	livepatch_off
	echo 1 >$switch
	run insmod "$patch"
	[ "$status" != 0 ] || fail "a live patch got the function that we have"
	equal "the parameter" "$(<$switch)" 1
	"$FS_BIN/faulty" rounds 1
	echo 0 >$switch
	insmod "$patch"
	livepatch_off
}

# epoll_answers: what epoll_ctl() says to what is wrong; a live patch says something else
epoll_answers() { "$FS_BIN/fsepoll" calls -s errors >"$fs_tmp/answers" 3>&- </dev/null; }

@test "faults: a live patch of do_epoll_ctl gets all calls, whether it comes first or second" {
	local switch=/sys/module/fastsocket/parameters/enable_fast_epoll patch=${FS_FAULT_KO%/*}/fslivepatch.ko
	epoll_answers
	mv "$fs_tmp/answers" "$fs_tmp/native"
	fs_load enable_fast_epoll=1
	hold
	wait_until 30 hooked
	insmod "$patch" function=do_epoll_ctl
	wait_until 60 grep -q 0 $livepatch/transition
	epoll_answers
	! diff -q "$fs_tmp/native" "$fs_tmp/answers" || fail "the live patch that came second did not get the calls"
	equal "the parameter" "$(<$switch)" 1
	livepatch_off
	epoll_answers
	diff "$fs_tmp/native" "$fs_tmp/answers" || fail "other answers after the live patch"
	wait_until 30 hooked
	echo 0 >$switch
	insmod "$patch" function=do_epoll_ctl
	wait_until 60 grep -q 0 $livepatch/transition
	run bash -c "echo 1 >$switch"
	[[ $status != 0 && $output == *busy* ]] || fail "switched on beside a live patch: $output"
	equal "lines in the log" "$(fs_klog | grep -c 'Fast Epoll stays off: do_epoll_ctl: .*a live patch has it')" 1
	livepatch_off
	echo 1 >$switch
	wait_until 30 hooked
	epoll_answers
	diff "$fs_tmp/native" "$fs_tmp/answers" || fail "other answers with the hook"
	release
}

# switches PARAMETER: on and off again with each site failing once; on may be refused, off may not
switches() {
	local switch=/sys/module/fastsocket/parameters/$1 refused=0 before=-1 tries
	for tries in {1..60}; do
		[ "$(failed)" != "$before" ] || break
		before=$(failed)
		if ! error=$(bash -c "echo 1 >$switch" 2>&1); then
			# or what fsfault.c makes of it: nothing found, or somebody there
			[[ $error =~ 'Cannot allocate memory'|'not supported'|'busy' ]] || fail "$1: $error"
			equal "$1, refused" "$(<"$switch")" 0
			refused=$((refused + 1))
		fi
		echo 0 >"$switch"
		equal "$1, off" "$(<"$switch")" 0
	done
	say "$1: refused $refused times of $tries"
	at_most "tries until one met no new fault" "$tries" 59
	at_least "refusals" $refused 2
}

@test "faults: what cannot be switched on for lack of memory can be later, and can be switched off without" {
	fs_load enable_fast_epoll=0 enable_receive_flow_deliver=0
	hold
	echo once >$faults/mode
	switches enable_fast_epoll
	switches enable_receive_flow_deliver
	echo off >$faults/mode
	release
	wait_until 20 not_traced || fail "hooked: $(<"$tracing/enabled_functions")"
}

@test "faults: a network namespace for which we have no memory is not made, and the next one is" {
	local tries=0 refused=0
	fs_load
	echo once >$faults/mode
	while [ $tries -lt 40 ]; do
		tries=$((tries + 1))
		before=$(failed)
		if ! error=$(unshare -n true 2>&1); then
			[[ $error == *"Cannot allocate memory"* ]] || fail "unshare: $error"
			refused=$((refused + 1))
		elif [ "$(failed)" = "$before" ]; then
			break
		fi
	done
	say "$refused of $tries namespaces were refused"
	at_most "tries until one met no new fault" $tries 39
	at_least "refused namespaces" $refused 3
}

@test "faults: each site fails once while a listener is attached, served and closed: no connection is lost" {
	fs_load enable_private_bind=1
	echo once >$faults/mode
	"$FS_BIN/faulty" rounds 120 $faults/failed >"$fs_tmp/result"
	say "$(cat "$fs_tmp/result")"
	echo off >$faults/mode
	at_least "faults" "$(failed)" 20
	"$FS_BIN/faulty" rounds 2
	at_least "connections on their CPU when all is well again" "$(fs_column local)" 1
}

@test "faults: a sixth of all calls fails at random: no connection is lost" {
	local seed=${FS_SEED:-$((RANDOM * 32768 + RANDOM))} before
	say "seed $seed (FS_SEED= repeats it)"
	fs_load enable_private_bind=1
	before=$(failed)
	echo "random 16 $seed" >$faults/mode
	"$FS_BIN/faulty" rounds 8 >"$fs_tmp/result"
	echo off >$faults/mode
	say "$(cat "$fs_tmp/result"), $(($(failed) - before)) faults"
	at_least "faults" $(($(failed) - before)) 5
}

@test "faults: a listener that closes without memory leaves its connections where bind() finds them" {
	local before
	fs_load enable_private_bind=1
	before=$(failed)
	"$FS_BIN/faulty" close $faults/mode
	say "$(fs_column private) connections in private buckets, $(fs_column published) sockets moved, $(($(failed) - before)) faults"
	# IPv4 and IPv6; of some CPUs each
	at_least "connections in private buckets" "$(fs_column private)" 4
	# those that the server closed first, in TIME_WAIT
	at_least "sockets moved" "$(fs_column published)" 2
	# 6.1 asks for none, whose buckets become the port's own as they are
}

@test "faults: the kernel's own injector fails each allocation of LISTEN and SPAWN_LISTEN" {
	local d
	for d in failslab fail_page_alloc; do
		echo 0 >/sys/kernel/debug/$d/verbose
		echo N >/sys/kernel/debug/$d/ignore-gfp-wait
	done
	echo 0 >/sys/kernel/debug/fail_page_alloc/min-order
	fs_load enable_private_bind=1
	"$FS_BIN/faulty" nth >"$fs_tmp/result"
	read -ra counts <"$fs_tmp/result"
	say "allocations that failed: ${counts[*]}"
	for word in "${counts[@]}"; do at_least "${word%=*}" "${word#*=}" 1; done
}

# What can fail, by the module's own relocations: "function+0xreturn-address", one a line
static_sites() {
	local callee='k[mvz]*alloc[a-z_]*|__kmalloc[a-z_]*|kmem_cache_alloc[a-z_]*|krealloc|kstrdup|kmemdup|alloc_[a-z_]*|__alloc_[a-z_]*'
	callee+='|__sock_create|sock_create[a-z_]*|sock_alloc_file|misc_register|register_[a-z_]*|proc_create[a-z_]*|set_cpus_allowed_ptr|kthread_create[a-z_]*'
	objdump -dr "$FS_KO" | perl -ne '
		BEGIN { $callee = shift }
		if (/^([0-9a-f]+) <(.*)>:$/) { ($start, $name) = (hex $1, $2) }
		elsif (/^\s*([0-9a-f]+): R_X86_64_(?:PLT32|PC32)\s+(\w+)-0x4$/) {
			my ($at, $symbol) = (hex($1) + 4, $2);
			# both names are of one place, the kernel knows the other
			$name =~ s/^init_module$/fs_init/;
			printf "%s %s+0x%x\n", $symbol, $name, $at - $start if $symbol =~ /^(?:$callee)$/;
		}' "$callee" | sort -u
}

@test "faults: every call in the module that can fail has failed at least once" {
	local callee where never=0 lines
	lines=$(static_sites)
	at_least "calls found in $FS_KO" "$(wc -l <<<"$lines")" 15
	while read -r callee where; do
		times=$(awk -v w="$where" '$2 == w { n += $5 } END { print n + 0 }' $faults/sites)
		say "$callee called from $where failed $times times, at $(awk -v w="$where" '$2 == w && $5' $faults/sites | wc -l) places beneath it"
		[ "$times" -gt 0 ] || never=$((never + 1))
	done <<<"$lines"
	equal "calls that never failed" $never 0
	equal "sites that found no room in the table" "$(grep -c ^lost $faults/sites)" 0
}

@test "faults: after all of it nothing of ours has leaked" {
	fs_load
	fs_unload
	leak_clean
}

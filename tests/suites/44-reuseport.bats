#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# SO_REUSEPORT: a listener for each worker. Members of a group serve each other's CPUs, and what the program or the kernel
# would have chosen in another way stays so. Suite 33 has what must be as natively.
# debug lane, too: what is tagged
# shellcheck disable=SC2154 # set by helpers.bash and servers.bash
load ../helpers
load servers

setup() { usual_setup; }

teardown() { usual_teardown; }

teardown_file() { ! fs_loaded || fs_unload; }

# members COUNT ARGUMENTS...: servers s0, s1 ... with one worker each, on port p
members() {
	local i n=$1
	shift
	port p
	for ((i = 0; i < n; i++)); do server "s$i" -n 1 -g "$i" -p "$p" -o reuseport "$@"; done
	names=()
	for ((i = 0; i < n; i++)); do names+=("s$i"); done
}

# load_members CONNECTIONS [ADDRESS]: warm, then so many from all CPUs; sets accepted and here, sums of all members
load_members() {
	local name addr=(${2:+-a "$2"})
	for _ in 1 2 3; do
		clients -p "$p" -n 64 -P 4 -c 0-3 "${addr[@]}"
		answered 64
	done
	for name in "${names[@]}"; do tell "$name" reset; done
	clients -p "$p" -n "$1" -P 4 -c 0-3 -k 2 "${addr[@]}"
	answered "$1"
	sooner_than 1000
	counted "$1" "${names[@]}"
	accepted=0 here=0
	for name in "${names[@]}"; do
		look "$name"
		accepted=$((accepted + $(field accepted "$stats")))
		here=$((here + $(field local "$stats")))
	done
	say "$here of $accepted connections were accepted where they arrived"
}

all_end() {
	local name
	for name in "${names[@]}"; do end "$name"; done
}

# cpus_of_members: the CPUs that the workers are bound to, in order; fails if one is not bound
cpus_of_members() {
	local name
	for name in "${names[@]}"; do
		look "$name"
		mask_cpu "$(field aff "$stats")"
	done | sort -n | xargs
}

# bats test_tags=debug
@test "reuseport: natively worker and CPU meet by chance; with members attached they are together" {
	members 4
	load_members 400
	at_most "local natively, of 400" $here 250
	all_end
	members 4 -f
	load_members 400
	at_least "local, of 400" $here 390
	equal "CPUs" "$(cpus_of_members)" "0 1 2 3"
	all_end
}

@test "reuseport: whatever way the members wait, and with IPv6" {
	local how
	for how in poll select accept uringpoll exclusive; do
		members 4 -f -e "$how"
		load_members 200
		at_least "local with $how, of 200" $here 180
		all_end
	done
	members 4 -f -6
	load_members 200 ::1
	at_least "local with IPv6, of 200" $here 190
	all_end
}

@test "reuseport: more members than CPUs share them, and the connections" {
	local name
	members 8 -f
	load_members 400
	at_least "local, of 400" $here 380
	for name in "${names[@]}"; do
		look "$name"
		at_least "connections of $name, where 50 are its share" "$(field accepted "$stats")" 25
	done
	equal "CPUs" "$(cpus_of_members)" "0 0 1 1 2 2 3 3"
	all_end
}

@test "reuseport: fewer members than CPUs: the other CPUs' connections go where the hash says" {
	members 2 -f
	load_members 400
	at_least "local, of 400" $here 190
	equal "CPUs" "$(cpus_of_members)" "0 1"
	all_end
}

# bats test_tags=debug
@test "reuseport: one member alone is not bound, and is when a second one comes" {
	members 1 -f
	load_members 64
	look s0
	equal "CPUs that it may use" "$(field aff "$stats")" f
	server s1 -f -n 1 -g 1 -p "$p" -o reuseport
	names=(s0 s1)
	load_members 64
	equal "CPUs" "$(cpus_of_members)" "0 1"
	all_end
}

@test "reuseport: mode 1 with members that are bound already" {
	local i
	in_mode 1
	port p
	for i in 0 1 2 3; do server "s$i" -f -n 1 -g $i -c $((3 - i)) -p "$p" -o reuseport; done
	names=(s0 s1 s2 s3)
	load_members 400
	at_least "local, of 400" $here 395
	all_end
}

@test "reuseport: members that are not attached get the share that the hash gives them" {
	port p
	server s0 -f -n 1 -g 0 -p "$p" -o reuseport
	server s1 -f -n 1 -g 1 -p "$p" -o reuseport
	server s2 -n 1 -g 2 -p "$p" -o reuseport
	server s3 -n 1 -g 3 -p "$p" -o reuseport
	names=(s0 s1 s2 s3)
	load_members 400
	look s2
	at_least "connections of one that is not attached" "$(field accepted "$stats")" 60
	all_end
}

@test "reuseport: SO_INCOMING_CPU and a BPF program choose, not we" {
	local i
	port p
	for i in 0 1 2 3; do server "s$i" -f -n 1 -g $i -p "$p" -o reuseport -o incoming=$(((i + 1) % 4)); done
	names=(s0 s1 s2 s3)
	load_members 200
	# to which CPU, is also its choice
	for i in 0 1 2 3; do
		look "s$i"
		equal "CPUs that s$i may use" "$(field aff "$stats")" f
	done
	all_end
	# the program's choice is the member of the next CPU
	port p
	for i in 1 2 3 0; do server "s$i" -f -n 4 -g $i -c $i -p "$p" -o reuseport -o cpuselect; done
	for i in 0 1 2 3; do
		clients -p "$p" -n 20 -c $i -g $(((i + 1) % 4))
		answered 20
		[[ $result == *" alien=0 "* ]] || fail "another member than the program chose: $result"
	done
	all_end
}

# bats test_tags=debug
@test "reuseport: a member that goes: its CPU's connections go where the hash says, none is lost" {
	members 4 -f
	load_members 200
	end s2
	names=(s0 s1 s3)
	clients -p "$p" -n 200 -P 4 -c 0-3 -k 2
	answered 200
	server s2 -f -n 1 -g 2 -p "$p" -o reuseport
	names+=(s2)
	load_members 200
	at_least "local when it is back, of 200" $here 190
	all_end
}

@test "reuseport: a member that hangs, or is stopped: others' connections go on" {
	local cpu
	members 4 -f
	load_members 200
	tell s1 stop all
	look s1
	cpu=$(mask_cpu "$(field aff "$stats")")
	clients -p "$p" -n 60 -P 3 -c "$(seq -s , 0 3 | sed "s/\(,$cpu\|$cpu,\)//")" -k 2
	tell s1 go all
	say "while it was stopped: $result"
	wait_until 30 sh -c true
	load_members 200
	all_end
}

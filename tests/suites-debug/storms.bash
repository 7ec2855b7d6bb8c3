# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by the suites
# What the suites of lifetimes and storms share; loaded after ../helpers.

fsleak_ko=$(dirname "$FS_FAULT_KO")/fsleak.ko

# field KEY LINE: the value in a line of key=value
field() {
	[[ " $2 " == *" $1="* ]] || fail "no $1= in: $2" || return
	local rest=" $2 "
	rest=${rest#*" $1="}
	echo "${rest%% *}"
}

# ---- what is in use ----

# slab CACHE: objects in use, those that KASAN and the CPUs hold back not counted
slab() {
	[ -e "/sys/kernel/slab/$1" ] || fail "no slab $1" || return
	echo 1 >"/sys/kernel/slab/$1/shrink"
	awk -v cache="$1" '$1 == cache { print $2 }' /proc/slabinfo
}

slabs=(TCP TCPv6 request_sock_TCP request_sock_TCPv6 net_namespace)

slabs_now() {
	local s
	for s in "${slabs[@]}"; do printf '%s=%s ' "$s" "$(slab "$s")"; done
	echo
}

# TIME_WAIT is none of it: those end by themselves, a minute later
tcp_sockets() { awk '/^TCP:/ { print "inuse=" $3, "orphan=" $5, "alloc=" $9 }' /proc/net/sockstat; }

in_use() { echo "$(tcp_sockets) $(slabs_now)"; }

in_use_is() { [ "$(in_use)" = "$1" ]; }

# as_before WHAT WAS IN USE: closing, grace periods and namespaces take their time
as_before() {
	wait_until 60 in_use_is "$1" || fail "in use: $(in_use), before: $1"
}

trackers_quiet() {
	! fs_klog | grep -E 'unregister_netdevice: waiting|ref_tracker|leaked reference' ||
		fail "references to a namespace or a device are left"
}

# ---- CPUs ----

all_cpus_online() {
	local n
	for n in 1 2 3; do cpu $n online; done
}

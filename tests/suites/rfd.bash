# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # set by helpers.bash, used by the suites
# What the suites of Receive Flow Deliver share. Servers are in a namespace of their own
# behind a veth pair, on whose near end RPS spreads packets as the queues of a NIC would.

rfd=/proc/net/fsocket_rfd
far=10.9.0.2
far6=fd09::2

rfd_topology() {
	local online
	online=$(</sys/devices/system/cpu/online)
	ip netns add far
	ip link add near type veth peer name far0
	ip link set far0 netns far
	ip addr add 10.9.0.1/24 dev near
	ip addr add fd09::1/64 dev near nodad
	ip link set near up
	ip -n far link set lo up
	ip -n far addr add $far/24 dev far0
	ip -n far addr add $far6/64 dev far0 nodad
	ip -n far link set far0 up
	printf '%x\n' $(((1 << (${online##*-} + 1)) - 1)) >/sys/class/net/near/queues/rx-0/rps_cpus
	ip netns exec far "$FS_BIN/fsactive" -S -a :: -p 8001,8002,8004 -c "$online" >/run/servers 3>&- </dev/null &
	wait_until 20 grep -q ready /run/servers
}

rfd_topology_end() {
	pkill -x fsactive || true
	ip netns del far
}

rfd_fresh() {
	echo '32768 60999' >/proc/sys/net/ipv4/ip_local_port_range
	echo '' >/proc/sys/net/ipv4/ip_local_reserved_ports
	! fs_loaded || fs_unload
}

rfd_teardown() {
	local n
	for n in 1 2 3; do [ ! -e /sys/devices/system/cpu/cpu$n/online ] || cpu $n online; done
	rfd_fresh
	sysctl -qw kernel.ftrace_enabled=1
	fs_klog_clean
	fs_taint_clean
}

# active ARGUMENTS: fsactive's last line in $result
active() {
	result=$("$FS_BIN/fsactive" -a $far -p 8001,8002 "$@" 3>&- </dev/null | tail -n 1)
	echo "fsactive $*: $result"
}

active_start() {
	"$FS_BIN/fsactive" -a $far -p 8001,8002 "$@" 3>&- </dev/null >"$BATS_TEST_TMPDIR/active" &
	active_pid=$!
}

active_end() {
	wait "$active_pid" || true
	result=$(tail -n 1 "$BATS_TEST_TMPDIR/active")
	echo "in the background: $result"
}

# of NAME: a number of $result
of() { [[ $result =~ (^| )$1=(-?[0-9]+) ]] && echo "${BASH_REMATCH[2]}"; }

# percent NAME: of the connections that were made
percent() { awk -v a="$(of "$1")" -v b="$(of ok)" 'BEGIN { printf "%.1f", b ? 100 * a / b : 0 }'; }

none_failed() { equal "connections that failed ($result)" "$(of fail)" 0; }

# sum COLUMN [FILE]
sum() { fs_column "$1" "${2:-$rfd}"; }

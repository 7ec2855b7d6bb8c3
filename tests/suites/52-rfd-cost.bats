#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# vm: -i -c 4 -a maxcpus=1
# What Receive Flow Deliver costs, in instructions: the machine's clock counts them, so the
# figures are the same on every host. One CPU does everything; four are possible, so that a
# quarter of the ports are its own.
# shellcheck disable=SC2154,SC2030,SC2031 # set by helpers.bash; a test is a subshell
load ../helpers
load rfd

rfd_param=/sys/module/fastsocket/parameters/enable_receive_flow_deliver

setup_file() { rfd_topology; }

teardown_file() { rfd_topology_end; }

setup() { rfd_fresh; }

teardown() { rfd_teardown; }

# cost ARGUMENTS: of fscost; its line in $result
cost() {
	result=$("$FS_BIN/fscost" "$@" 3>&- </dev/null)
	echo "fscost $*: $result"
}

# connect_costs: the mean of connect() with ports in abundance, with this CPU's used up, and with all used up.
# The median of the first says what happens most of the time, without a timer that comes between.
connect_costs() {
	local net=/proc/sys/net/ipv4/ip_local_port_range
	cost connect -n 200
	equal "connected" "$(of ok)" 200
	connect=$(of median)
	cost connect -a ::1 -n 200
	connect6=$(of median)
	echo '50000 50255' >$net
	cost connect -n 300 -f 200
	equal "connected" "$(of ok)" 300
	scarce=$(of mean)
	cost connect -n 300 -f 256
	equal "without a port (EADDRNOTAVAIL)" "$(of ok) $(of errno)" '0 99'
	exhausted=$(of mean)
	echo '50000 51023' >$net
	cost connect -n 300 -f 600
	equal "connected" "$(of ok)" 300
	busy=$(of mean)
	echo '32768 60999' >$net
}

# more PERCENT NATIVE: so much more than natively
more() { echo $(($2 + $2 * $1 / 100)); }

@test "rfd: connect() costs little more than natively, whether ports are free or used up" {
	local native
	connect_costs
	native=("$connect" "$connect6" "$scarce" "$busy" "$exhausted")
	say "instructions of connect() with its handshake over loopback, natively: IPv4 ${native[0]}, IPv6 ${native[1]}," \
		"200 of 256 ports used ${native[2]}, 600 of 1024 used ${native[3]}, all used ${native[4]}"
	fs_load enable_receive_flow_deliver=1
	connect_costs
	say "with RFD: IPv4 $connect, IPv6 $connect6, 200 of 256 ports used $scarce, 600 of 1024 used $busy, all used $exhausted"
	at_least "connects with a port of the CPU" "$(fs_column port "$rfd")" 600
	at_least "connects without" "$(fs_columns_of "$rfd" any backoff)" 600
	at_most "IPv4" "$connect" "$(more 5 "${native[0]}")"
	at_most "IPv6" "$connect6" "$(more 5 "${native[1]}")"
	at_most "200 of 256 ports used" "$scarce" "$(more 10 "${native[2]}")"
	at_most "600 of 1024 ports used" "$busy" "$(more 10 "${native[3]}")"
	at_most "all ports used" "$exhausted" "$(more 10 "${native[4]}")"
}

# exchange: a byte there and back, in "exchange"
exchange() {
	cost exchange -a "$far" -p 8001 -n 200
	exchange=$(of median)
}

@test "rfd: a packet costs nothing while it is off, and no more than 2 % above RFS when it is on" {
	local rps rfs ours
	exchange
	rps=$exchange
	fs_load
	exchange
	# The clock is in steps of some instructions, a hook costs a hundred at least.
	at_most "loaded, but off" "$exchange" $((rps + 16))
	echo 1 >$rfd_param
	exchange
	ours=$exchange
	at_least "packets that were ours" "$(fs_column here "$rfd")" 200
	echo 0 >$rfd_param
	exchange
	at_most "switched off again" "$exchange" $((rps + 16))
	fs_unload
	echo 32768 >/proc/sys/net/core/rps_sock_flow_entries
	echo 32768 >/sys/class/net/near/queues/rx-0/rps_flow_cnt
	exchange
	rfs=$exchange
	echo 0 >/sys/class/net/near/queues/rx-0/rps_flow_cnt
	echo 0 >/proc/sys/net/core/rps_sock_flow_entries
	say "instructions of a byte to the server and back: RPS $rps, RFS $rfs, RFD $ours, module loaded and RFD off $rps"
	at_most "with RFD" "$ours" "$(more 2 "$rfs")"
}

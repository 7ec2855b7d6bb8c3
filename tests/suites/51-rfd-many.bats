#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Receive Flow Deliver with as many connections to one destination as fit into the ports.
# A thread per CPU: each of them has its share of the connections to make.
# vm: -p
# shellcheck disable=SC2154,SC2030,SC2031 # set by helpers.bash; a test is a subshell
load ../helpers
load rfd

setup_file() { rfd_topology; }

teardown_file() { rfd_topology_end; }

setup() { rfd_fresh; }

teardown() { rfd_teardown; }

@test "rfd: 30000 connections to one destination" {
	fs_load enable_receive_flow_deliver=1
	echo '1024 65535' >/proc/sys/net/ipv4/ip_local_port_range
	active -p 8001 -c 0-3 -n 7500 -k
	none_failed
	say "30000 connections: $(percent local) % local, $(percent named) % with a port of the CPU"
	at_least "ports that name the CPU" "$(percent named)" 99
	at_least locality "$(percent local)" 98
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Receive Flow Deliver: connections that programs here open are handled on the CPU that
# opened them. The servers are in a namespace of their own behind a veth pair, on
# whose near end RPS spreads packets as the queues of a NIC would.
# shellcheck disable=SC2154,SC2030,SC2031 # set by helpers.bash; a test is a subshell
load ../helpers
load rfd

rfd_param=/sys/module/fastsocket/parameters/enable_receive_flow_deliver
hooked='get_rps_cpu|inet6?_hash_connect'

setup_file() { rfd_topology; }

teardown_file() { rfd_topology_end; }

setup() { rfd_fresh; }

teardown() { rfd_teardown; }

logged() { fs_klog | grep -cF "Fastsocket: $1" || true; }

hooks() { grep -cE "^($hooked) " /sys/kernel/tracing/enabled_functions || true; }

# rps_sent: how often a CPU was told to look after packets by another one
rps_sent() {
	local line n=0
	while read -ra line; do n=$((n + 16#${line[9]})); done </proc/net/softnet_stat
	echo $n
}

@test "rfd: off, nothing is hooked and nothing counted; on and off again leaves nothing" {
	fs_load
	equal "parameter" "$(cat $rfd_param)" 0
	equal "hooked functions" "$(hooks)" 0
	active -c 0-3 -n 20
	none_failed
	equal "all counters" "$(awk 'NR > 1 { for (i = 2; i <= NF; i++) n += $i } END { print n + 0 }' "$rfd")" 0
	equal "rows" "$(($(wc -l <"$rfd") - 1))" "$(fs_possible_cpus)"
	for _ in 1 2; do
		echo 1 >$rfd_param
		equal "hooked functions" "$(hooks)" 3
		echo 0 >$rfd_param
		equal "hooked functions after switching off" "$(hooks)" 0
	done
	fs_unload
	fs_load enable_receive_flow_deliver=1
	equal "parameter" "$(cat $rfd_param)" 1
	equal "lines in the log" "$(logged 'Enable Receive Flow Deliver')" 1
	equal "hooked functions" "$(hooks)" 3
	fs_unload
	equal "hooked functions after rmmod" "$(hooks)" 0
}

@test "rfd: values that are none are refused with EINVAL and one line" {
	local value
	fs_load
	for value in 2 -1 on ''; do
		run bash -c "echo '$value' >$rfd_param"
		[[ $status != 0 && $output == *'Invalid argument'* ]] || fail "'$value': $output"
		equal "parameter" "$(cat $rfd_param)" 0
	done
	equal "lines" "$(logged 'enable_receive_flow_deliver=2 is out of range')" 1
	fs_unload
	run insmod "$FS_KO" enable_receive_flow_deliver=3
	[ "$status" != 0 ] || fail "3 was accepted at load"
}

@test "rfd: without ftrace it stays off alone, and says so" {
	# newer kernels do not let anybody switch it off
	if sysctl -qw kernel.ftrace_enabled=0; then
		fs_load enable_receive_flow_deliver=1
		equal "parameter" "$(cat $rfd_param)" 0
		equal "lines" "$(logged 'Receive Flow Deliver stays off')" 1
		run bash -c "echo 1 >$rfd_param"
		[[ $status != 0 && $output == *'busy'* ]] || fail "switched on: $output"
		active -c 0-3 -n 10
		none_failed
		sysctl -qw kernel.ftrace_enabled=1
	else
		fs_load
	fi
	echo 1 >$rfd_param
	! sysctl -qw kernel.ftrace_enabled=0 || fail "ftrace could be switched off"
	active -c 0-3 -n 10
	equal "ports that name their CPU" "$(of named)" 40
}

@test "rfd: replies are handled where connect() was called: veth with RPS, loopback, IPv4, IPv6, mapped" {
	local a native
	fs_load
	active -c 0-3 -n 100
	native=$(percent local)
	at_most "native locality" "$native" 60
	echo 1 >$rfd_param
	for a in "$far" "$far6" ::ffff:$far; do
		active -a "$a" -c 0-3 -n 100
		none_failed
		say "$a: $(percent local) % of replies on the CPU of connect(), native $native %"
		at_least "locality of $a" "$(percent local)" 99
		equal "ports that name their CPU" "$(of named)" 400
		equal "odd ports, which are bind()'s" "$(of odd)" 0
	done
	equal "connections counted" "$(sum port)" 1200
	at_least "packets steered" "$(sum steered)" 1200
	"$FS_BIN/fsactive" -S -a 127.0.0.1 -p 8003 -c 0-3 3>&- </dev/null >/dev/null &
	wait_until 5 sh -c 'ss -Hltn | grep -q :8003'
	active -a 127.0.0.1 -p 8003 -c 0-3 -n 100
	none_failed
	at_least "locality over loopback" "$(percent local)" 99
}

@test "rfd: stock RFS beside it, and with RFD on RPS still spreads what is not ours" {
	local before
	fs_load
	echo 32768 >/proc/sys/net/core/rps_sock_flow_entries
	echo 32768 >/sys/class/net/near/queues/rx-0/rps_flow_cnt
	active -c 0-3 -n 100
	say "stock RFS: $(percent local) %"
	echo 0 >/sys/class/net/near/queues/rx-0/rps_flow_cnt
	echo 0 >/proc/sys/net/core/rps_sock_flow_entries
	echo 1 >$rfd_param
	before=$(rps_sent)
	active -c 0-3 -n 100 -r 40000-50000
	none_failed
	at_most "locality of ports that we did not choose" "$(percent local)" 60
	equal "packets steered" "$(($(sum steered) + $(sum here)))" 0
	at_least "packets sent to other CPUs by RPS" $(($(rps_sent) - before)) 100
}

@test "rfd: what the program or the administrator asks for wins" {
	fs_load enable_receive_flow_deliver=1
	active -c 0 -n 1 -b 45003
	none_failed
	equal "the port of bind()" "$(of low)" 45003
	active -c 0-3 -n 30 -r 40001-40100
	none_failed
	at_least "IP_LOCAL_PORT_RANGE: lowest port" "$(of low)" 40001
	at_most "highest" "$(of high)" 40100
	equal "given" "$(sum given)" 121
	active -c 0-3 -n 30 -s 10.9.0.1
	none_failed
	equal "IP_BIND_ADDRESS_NO_PORT: ports that name their CPU" "$(of named)" 120
	active -c 0-3 -n 10 -i near
	none_failed
	equal "SO_BINDTODEVICE: ports that name their CPU" "$(of named)" 40
	echo '50000 50999' >/proc/sys/net/ipv4/ip_local_port_range
	echo '50000-50799' >/proc/sys/net/ipv4/ip_local_reserved_ports
	active -c 0-3 -n 40 -k
	none_failed
	at_least "a reserved port was taken" "$(of low)" 50800
	at_most "highest" "$(of high)" 50999
	at_least "ports that name their CPU ($result)" "$(percent named)" 60
}

@test "rfd: a CPU's ports used up: any port; all used up: EADDRNOTAVAIL as natively" {
	local n any
	fs_load enable_receive_flow_deliver=1
	# port 8004 has no connection in TIME_WAIT from other tests
	echo '50000 50127' >/proc/sys/net/ipv4/ip_local_port_range
	active -p 8004 -c 1 -n 128 -k
	none_failed
	equal "lowest and highest" "$(of low) $(of high)" '50000 50127'
	at_least "ports that name the CPU" "$(of named)" 32
	equal "connections that went without" $(($(sum any) + $(sum backoff))) $((128 - $(sum port)))
	n=$(sum backoff) any=$(sum any)
	say "exhausted: port $(sum port), any $any, backoff $n"
	at_most "of those, tries" "$any" $((n / 4))
	active -p 8004 -c 1 -n 129 -k
	equal "the 129th of 128" "$(of ok) $(of errno)" '128 99'
	# the ports are free again, and within a second or some connections the CPU's own are found
	sleep 1.2
	active -p 8004 -c 1 -n 8 -k
	at_least "ports that name the CPU" "$(of named)" 6
}

@test "rfd: network namespaces have ports and counters of their own" {
	local port
	fs_load enable_receive_flow_deliver=1
	active -c 2 -n 1 -l
	equal "connections counted here" "$(sum port)" 1
	equal "and there" "$(ip netns exec far cat "$rfd" | sum port -)" 0
	port=$(of low)
	# the same port in the other namespace belongs to nobody
	ip netns exec far "$FS_BIN/fsactive" -a 127.0.0.1 -p 8001 -c 0 -n 1 -b "$port" 3>&- </dev/null
	equal "steered there" $(($(ip netns exec far cat "$rfd" | sum steered -) + $(ip netns exec far cat "$rfd" | sum here -))) 0
	ip netns exec far "$FS_BIN/fsactive" -a 127.0.0.1 -p 8001 -c 0-3 -n 25 3>&- </dev/null | tee "$BATS_TEST_TMPDIR/r"
	result=$(tail -n 1 "$BATS_TEST_TMPDIR/r")
	at_least "locality there" "$(percent local)" 99
	equal "connections counted there" "$(ip netns exec far cat "$rfd" | sum port -)" 100
	# a namespace that ends with ports handed out
	ip netns add gone
	ip -n gone link set lo up
	ip netns exec gone "$FS_BIN/fsactive" -S -a 127.0.0.1 -p 8001 -c 0 3>&- </dev/null >/dev/null &
	sleep 1
	ip netns exec gone "$FS_BIN/fsactive" -a 127.0.0.1 -p 8001 -c 0-3 -n 5 3>&- </dev/null
	ip netns pids gone | xargs kill
	ip netns del gone
}

@test "rfd: a listener that takes a port inside the range is passive: no packet is steered wrongly" {
	local port before
	fs_load enable_receive_flow_deliver=1
	# not one that a connection of an earlier test has as well, in TIME_WAIT
	for _ in 1 2 3 4 5; do
		active -c 2 -n 1 -k
		port=$(of low)
		[ "$(ss -Htan "sport = :$port" | wc -l)" != 0 ] || break
	done
	"$FS_BIN/fsactive" -S -a :: -p "$port" -c 0 3>&- </dev/null >/dev/null &
	wait_until 5 sh -c "ss -Hltn | grep -q :$port"
	equal "ports taken" "$(sum taken)" 1
	before=$(($(sum steered) + $(sum here)))
	# the clients' ports are given: whatever is steered now is a wrong decision
	ip netns exec far "$FS_BIN/fsactive" -a 10.9.0.1 -p "$port" -c 0-3 -n 25 -r 20000-65000 3>&- </dev/null
	"$FS_BIN/fsactive" -a 127.0.0.1 -p "$port" -c 0-3 -n 25 -r 20000-65000 3>&- </dev/null
	say "wrong decisions in 200 connections: $(($(sum steered) + $(sum here) - before))"
	equal "wrong decisions" $(($(sum steered) + $(sum here) - before)) 0
}

@test "rfd: a CPU goes and comes: connections of all CPUs go on, new ones are local" {
	fs_load enable_receive_flow_deliver=1
	active_start -c 0-3 -n 20 -k -e 6000
	sleep 1.5
	cpu 3 offline
	active -c 0-2 -n 30
	none_failed
	at_least "locality of the others" "$(percent local)" 98
	sleep 1
	at_least "packets for the CPU that is away" "$(sum offline)" 1
	cpu 3 online
	active_end
	none_failed
	active -c 0-3 -n 30
	none_failed
	at_least "locality of all" "$(percent local)" 98
}

@test "rfd: switched on and off under load: no connection fails, those that are open go on" {
	fs_load
	active_start -c 0-3 -n 20 -k -e 9000
	"$FS_BIN/fsactive" -a "$far" -p 8001,8002 -c 0-3 -t 9000 3>&- </dev/null >"$BATS_TEST_TMPDIR/load" &
	load_pid=$!
	for _ in 1 2 3 4 5; do
		echo 1 >$rfd_param
		sleep 0.3
		echo 0 >$rfd_param
		sleep 0.1
	done
	active_end
	none_failed
	wait "$load_pid" || true
	result=$(tail -n 1 "$BATS_TEST_TMPDIR/load")
	say "under load: $result"
	none_failed
	at_least "connections with our ports" "$(sum port)" 1
}

@test "rfd: rmmod and insmod under load: no connection fails" {
	fs_load enable_receive_flow_deliver=1
	active_start -c 0-3 -t 7000
	for _ in 1 2 3; do
		sleep 0.5
		rmmod fastsocket
		fs_load enable_receive_flow_deliver=1
	done
	active_end
	none_failed
	at_least "connections" "$(of ok)" 50
}

haproxy_configure() {
	cat >"$fs_tmp/haproxy.cfg" <<-CFG
		global
		    nbthread 4
		    cpu-map auto:1/1-4 0-3
		    maxconn 1000
		defaults
		    mode tcp
		    timeout connect 10s
		    timeout client 20s
		    timeout server 20s
		listen proxy
		    bind 127.0.0.1:8100
		    server a $far:8001
		    server b [$far6]:8002
	CFG
}

# proxied WORDS LOAD COMMAND...: locality of a proxy's connections to its backends, in $share
proxied() {
	local what=$1 load=$2 file=$fs_tmp/connwatch seen pid
	shift 2
	rm -f "$file"
	CONNWATCH_FILE=$file LD_PRELOAD=$FS_BIN/connwatch.so "$@" 3>&- </dev/null &
	pid=$!
	wait_until 10 sh -c 'ss -Hltn | grep -q :8100'
	$load
	kill $pid
	wait $pid || true
	read -ra seen < <(od -An -t u8 "$file")
	at_least "connections that were seen" "${seen[0]}" 230
	share=$(awk -v a="${seen[1]}" -v b="${seen[0]}" 'BEGIN { printf "%.1f", 100 * a / b }')
	say "$what: $share % of ${seen[0]} backend connections are handled on the CPU that opened them"
}

haproxy_load() {
	active -a 127.0.0.1 -p 8100 -c 0-3 -n 60
	none_failed
}

@test "rfd: HAProxy as a proxy: backend connections are handled on their CPU" {
	haproxy_configure
	fs_load
	proxied "haproxy, native" haproxy_load haproxy -db -f "$fs_tmp/haproxy.cfg"
	at_most "native locality" "$share" 60
	echo 1 >$rfd_param
	proxied "haproxy" haproxy_load haproxy -db -f "$fs_tmp/haproxy.cfg"
	at_least locality "$share" 99
}

# A file of 4 MB and one of nothing much, over HTTP, from the other namespace
web_server() {
	[ -d /run/www ] || { mkdir /run/www && head -c 4000000 /dev/urandom >/run/www/big && echo hello >/run/www/index.html; }
	ip netns exec far busybox httpd -f -p 8005 -h /run/www 3>&- </dev/null &
	wait_until 10 sh -c 'ip netns exec far ss -Hltn | grep -q :8005'
}

web_server_end() { pkill -f 'busybox httpd' || true; }

nginx_load() {
	http_load 127.0.0.1 8100 60 2
	all_answered
}

@test "rfd: nginx as a proxy: backend connections are handled on their CPU" {
	web_server
	mkdir -p /var/log/nginx
	nginx_configure "$(nginx_server "server { listen 127.0.0.1:8100; location / { proxy_pass http://$far:8005; } }")"
	fs_load
	proxied "nginx, native" nginx_load /usr/sbin/nginx -c "$nginx_conf" -g 'daemon off;'
	at_most "native locality" "$share" 60
	echo 1 >$rfd_param
	proxied "nginx" nginx_load /usr/sbin/nginx -c "$nginx_conf" -g 'daemon off;'
	web_server_end
	at_least locality "$share" 99
}

@test "rfd: in a VRF ports name their CPU and replies are handled there" {
	fs_load enable_receive_flow_deliver=1
	ip link add red type vrf table 10
	ip link set red up
	ip link set near master red
	active -c 0-3 -n 50 -i red
	ip link del red
	# leaving a VRF costs an interface its IPv6 addresses
	ip addr replace fd09::1/64 dev near nodad
	none_failed
	equal "ports that name their CPU" "$(of named)" 200
	at_least locality "$(percent local)" 99
}

# dropped: by veth's ring and by backlogs; what follows a lost segment is out of order on any kernel
dropped() {
	local line n=0
	while read -ra line; do n=$((n + 16#${line[1]})); done </proc/net/softnet_stat
	echo $((n + $(ip netns exec far cat /sys/class/net/far0/statistics/tx_dropped)))
}

# four_transfers: one for each CPU, at once, and whole
four_transfers() {
	local c pids=()
	for c in 0 1 2 3; do
		taskset -c $c curl -sS "http://$far:8005/big" -o "$BATS_TEST_TMPDIR/big.$c" 3>&- </dev/null &
		pids+=($!)
	done
	for c in "${pids[@]}"; do wait "$c"; done
	for c in 0 1 2 3; do cmp "$BATS_TEST_TMPDIR/big.$c" /run/www/big || return; done
}

@test "rfd: large transfers, with segments that GRO joins, arrive whole and in order" {
	local before drops rounds=0 rmem=/proc/sys/net/ipv4/tcp_rmem usual
	web_server
	# What is under way fits into veth's ring.
	usual=$(<$rmem)
	echo '4096 60000 60000' >$rmem
	fs_load enable_receive_flow_deliver=1
	ethtool -K near gro on
	ip netns exec far ethtool -K far0 tso off gso off
	before=$(tcpext TCPOFOQueue)
	drops=$(dropped)
	# Which CPU a segment arrives on, and how many GRO joins, is chance: one round may steer fewer than 100.
	while [ $rounds -lt 5 ] && [ "$(sum steered)" -lt 100 ]; do
		four_transfers
		rounds=$((rounds + 1))
	done
	ip netns exec far ethtool -K far0 tso on gso on
	ethtool -K near gro off
	web_server_end
	echo "$usual" >$rmem
	before=$(($(tcpext TCPOFOQueue) - before))
	equal "packets lost on the way" $(($(dropped) - drops)) 0
	equal "ports that name their CPU" "$(sum port)" $((4 * rounds))
	say "steered $(sum steered), on their CPU at once $(sum here), out of order $before"
	at_least "packets steered" "$(sum steered)" 100
	equal "segments out of order" $before 0
}

# Only the inner packets of a tunnel are of a connection that we know.
@test "rfd: through a tunnel connections succeed, and are local behind it" {
	fs_load enable_receive_flow_deliver=1
	ip link add tun type gretap local 10.9.0.1 remote "$far"
	ip -n far link add tun type gretap local "$far" remote 10.9.0.1
	ip addr add 10.8.0.1/24 dev tun
	ip -n far addr add 10.8.0.2/24 dev tun
	ip link set tun up
	ip -n far link set tun up
	active -a 10.8.0.2 -c 0-3 -n 50
	ip link del tun
	ip -n far link del tun
	none_failed
	equal "ports that name their CPU" "$(of named)" 200
	at_least locality "$(percent local)" 99
}

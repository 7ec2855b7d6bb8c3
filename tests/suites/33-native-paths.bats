#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# What the kernel does with a listener beyond accepting stays as it is: the
# backlog and its counters, SYN cookies, and the features for which an attached
# listener takes the plain path, which are counted by reason. Each test
# does the same natively and attached, and compares.
# shellcheck disable=SC2154,SC2034,SC2030,SC2031 # set by helpers.bash, used by servers.bash; a test is a subshell
load ../helpers
load servers

setup() {
	usual_setup
	cookies=$(sysctl -n net.ipv4.tcp_syncookies)
}

teardown() {
	sysctl -qw "net.ipv4.tcp_syncookies=$cookies" net.ipv4.tcp_fastopen=1 net.ipv4.tcp_migrate_req=0
	ip link del fsflood0 2>/dev/null || true
	usual_teardown
}

teardown_file() { fs_unload; }

# as_natively FUNCTION ARGUMENTS...: prints the same without and with -f as its first argument
as_natively() {
	"$1" "" "${@:2}" >"$BATS_TEST_TMPDIR/native"
	abandon_servers
	"$1" -f "${@:2}" >"$BATS_TEST_TMPDIR/module"
	abandon_servers
	cat "$BATS_TEST_TMPDIR/native"
	diff -U 10 "$BATS_TEST_TMPDIR/native" "$BATS_TEST_TMPDIR/module" || fail "not as natively"
}

# deltas NAME...: remembers counters; show_deltas prints what they have grown by
deltas() {
	local name
	declare -gA before=()
	for name; do before[$name]=$(tcpext "$name"); done
}

show_deltas() {
	local name
	for name in "${!before[@]}"; do echo "$name +$(($(tcpext "$name") - before[$name]))"; done | sort
}

outcomes() { sed -E 's/ (max|p99)_ms=[0-9]+//g; s/ by=.*//' <<<"$result"; }

# served HOW ARGUMENTS OF FSLOAD...: a server with the options in "options"; prints how its
# clients fared and how many connections it accepted
options=()
served() {
	local how=$1 p
	shift
	port p
	# shellcheck disable=SC2086
	server s $how -p "$p" "${options[@]}"
	clients -p "$p" -n 64 -P 4 -c 0-3 -k 2 "$@"
	outcomes
	look s
	echo "accepted=$(field accepted "$stats") replied=$(field replied "$stats")"
}

# ---- the backlog ----

# backlog HOW BACKLOG CPUS [VERB]: workers do not accept; how many connections clients
# on these CPUs can establish, and what is counted
backlog() {
	local how=$1 p
	port p
	# shellcheck disable=SC2086
	server s $how -p "$p" -b "$2" ${5:-}
	[ -n "${5:-}" ] || warm s "$p"
	[ -n "${5:-}" ] || tell s "${4:-stop}" all
	deltas ListenOverflows ListenDrops
	# an unanswered SYN is given up before the kernel would repeat it
	clients_open -p "$p" -n $(($2 + 5)) -c "$3" -C 300
	echo "established=$established"
	show_deltas
	echo "Recv-Q $(ss -Hltn "sport = :$p" | awk '{ print $2, "Send-Q", $3 }')"
	[ -n "${5:-}" ] || tell s go all
	[ -n "${5:-}" ] && return
	clients_end
	echo "then $(outcomes)"
	look s
	echo "accepted=$(field accepted "$stats")"
}

@test "backlog: as many connections as listen() asked for, all from one CPU" {
	as_natively backlog 16 1
	grep -q '^established=17$' "$BATS_TEST_TMPDIR/native"
	grep -q '^ListenOverflows +4$' "$BATS_TEST_TMPDIR/native"
}

# bats test_tags=debug
@test "backlog: as many connections as listen() asked for, from all CPUs in turn" {
	as_natively backlog 16 0-3
	as_natively backlog 64 0-3
}

@test "backlog: 1 and 0" {
	as_natively backlog 1 0-3
	as_natively backlog 0 0-3
}

@test "backlog: the same when the workers have left epoll" {
	as_natively backlog 16 0-3 del
}

@test "backlog: the same when there never was a worker" {
	as_natively backlog 16 0-3 stop "-n 0"
}

@test "backlog: listen() with another value takes effect" {
	relisten() {
		local p
		port p
		# shellcheck disable=SC2086
		server s $1 -p "$p" -b 4
		warm s "$p"
		tell s stop all
		tell s listen 20
		deltas ListenOverflows ListenDrops
		clients_open -p "$p" -n 25 -c 0-3 -C 300
		echo "established=$established"
		show_deltas
		tell s go all
		clients_end
		echo "then $(outcomes)"
	}
	as_natively relisten
	grep -q '^established=21$' "$BATS_TEST_TMPDIR/native"
}

@test "backlog: a burst at a full listener loses nothing but time" {
	burst() {
		local p
		port p
		# shellcheck disable=SC2086
		server s $1 -p "$p" -b 4
		warm s "$p"
		clients -p "$p" -n 200 -P 4 -c 0-3 -k 10
		outcomes
		look s
		echo "accepted=$(field accepted "$stats")"
	}
	as_natively burst
}

# ---- SYN cookies ----

# bats test_tags=debug
@test "syncookies: always on, every connection is answered by them" {
	always() {
		local recv
		recv=$(tcpext SyncookiesRecv)
		deltas SyncookiesFailed
		served "$1"
		show_deltas
		# Not always all: a SYN that meets its predecessor in TIME_WAIT is answered without.
		at_least "cookies taken back" $(($(tcpext SyncookiesRecv) - recv)) 48
	}
	local counted
	sysctl -qw net.ipv4.tcp_syncookies=2
	counted=$(fs_column syncookies)
	as_natively always
	at_least "counted as syncookies" $(($(fs_column syncookies) - counted)) 16
}

# flooded HOW CLIENTS: the SYN queue is filled from one CPU with requests that nobody
# completes; then, before any of them is given up (after 3 s), clients come: on a machine that
# was too slow for that once more, and not for ever
flooded() {
	local how=$1 p begin
	port p
	# shellcheck disable=SC2086
	server s $how -p "$p" -b 16
	warm s "$p"
	deltas SyncookiesSent SyncookiesRecv SyncookiesFailed TCPReqQFullDoCookies TCPReqQFullDrop ListenDrops ListenOverflows
	begin=${EPOCHREALTIME/./}
	"$FS_BIN/fsflood" 10.98.0.1 "$p" 64 10.99.$((1 + flood++)).1 1
	clients -p "$p" -n "$2" -P 4 -c 0-3 -C 300
	if [ $((${EPOCHREALTIME/./} - begin)) -gt 2500000 ] && [ $flood -lt 8 ]; then
		end s
		flooded "$@"
		return
	fi
	outcomes
	show_deltas
	look s
	echo "accepted=$(field accepted "$stats")"
}

make_flood_route() {
	flood=0
	ip link add fsflood0 type dummy
	ip addr add 10.98.0.1/32 dev fsflood0
	ip link set fsflood0 up
	ip route add 10.99.0.0/16 dev fsflood0
}

@test "syncookies: a flood fills the SYN queue as natively, and clients get through with cookies" {
	make_flood_route
	sysctl -qw net.ipv4.tcp_syncookies=1
	as_natively flooded 32
	# 16 or 17 requests have their place in the queue
	grep -q '^SyncookiesSent +[78][90]$' "$BATS_TEST_TMPDIR/native"
	grep -q '^SyncookiesRecv +32$' "$BATS_TEST_TMPDIR/native"
	grep -q '^accepted=32$' "$BATS_TEST_TMPDIR/native"
}

@test "syncookies: without them a flood shuts clients out, as natively" {
	make_flood_route
	sysctl -qw net.ipv4.tcp_syncookies=0
	as_natively flooded 4
	grep -q '^TCPReqQFullDrop +5[12]$' "$BATS_TEST_TMPDIR/native"
	grep -q ' timeout=4 ' "$BATS_TEST_TMPDIR/native"
}

# ---- features ----

@test "defer accept: a worker sees a connection when its data is there, as natively" {
	deferred() {
		local p
		options=(-o defer=5)
		port p
		# shellcheck disable=SC2086
		server s $1 -p "$p" "${options[@]}"
		warm s "$p"
		clients_open -p "$p" -n 12 -c 0-3
		sleep 0.5
		look s
		echo "accepted without data: $(field accepted "$stats")"
		clients_end
		outcomes
		look s
		echo "accepted: $(field accepted "$stats")"
	}
	deltas TCPDeferAcceptDrop
	as_natively deferred
	grep -q '^accepted without data: 0$' "$BATS_TEST_TMPDIR/native"
	grep -q '^accepted: 12$' "$BATS_TEST_TMPDIR/native"
}

# falls_back COLUMN FUNCTION ARGUMENTS...: as natively, and every SYN of the attached run counted in the column
falls_back() {
	local column=$1 before_column redirected
	shift
	before_column=$(fs_column "$column")
	redirected=$(fs_column redirected)
	as_natively "$@"
	equal "redirected" $(($(fs_column redirected) - redirected)) 0
	at_least "counted as $column" $(($(fs_column "$column") - before_column)) 24
	say "$column: $(($(fs_column "$column") - before_column))"
}

# with_workers HOW ARGUMENTS OF FSLOAD...: as served, but first the workers of an attached
# listener are put on their CPUs by connections like those that are looked at
with_workers() {
	local how=$1 p
	shift
	port p
	# shellcheck disable=SC2086
	server s $how -p "$p" "${options[@]}"
	clients -p "$p" -n 32 -P 4 -c 0-3 "$@" >/dev/null
	tell s reset
	deltas "${watched[@]}"
	clients -p "$p" -n 64 -P 4 -c 0-3 -k 2 "$@"
	outcomes
	look s
	echo "accepted=$(field accepted "$stats") replied=$(field replied "$stats")"
	show_deltas
}
watched=()

# bats test_tags=debug
@test "fast open: requests on the SYN are answered, as natively" {
	sysctl -qw net.ipv4.tcp_fastopen=3
	options=(-o fastopen=64)
	watched=(TCPFastOpenPassive TCPFastOpenActive TCPFastOpenPassiveFail)
	falls_back tfo with_workers -F
	grep -q '^TCPFastOpenPassive +64$' "$BATS_TEST_TMPDIR/native"
}

# bats test_tags=debug
@test "MD5 signatures: clients with the key are served, as natively" {
	options=(-o md5=127.0.0.1)
	watched=(TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure)
	falls_back md5 with_workers -M
	grep -q ' ok=64 ' "$BATS_TEST_TMPDIR/native"
}

@test "MD5 signatures: clients without the key get nothing, as natively" {
	no_key() {
		local p
		port p
		# shellcheck disable=SC2086
		server s $1 -p "$p" -o md5=127.0.0.1
		deltas TCPMD5NotFound
		clients -p "$p" -n 8 -P 4 -c 0-3 -C 600
		outcomes
		look s
		echo "accepted=$(field accepted "$stats")"
		show_deltas
	}
	as_natively no_key
	grep -q ' timeout=8 ' "$BATS_TEST_TMPDIR/native"
	grep -q '^accepted=0$' "$BATS_TEST_TMPDIR/native"
}

# bats test_tags=debug
@test "socket filter: what it drops is dropped, the rest is served, as natively" {
	options=(-o drop=127.0.0.9)
	falls_back filter with_workers
	dropped() {
		local p
		port p
		# shellcheck disable=SC2086
		server s $1 -p "$p" "${options[@]}"
		clients -p "$p" -n 8 -P 4 -c 0-3 -s 127.0.0.9 -C 600
		outcomes
		clients -p "$p" -n 8 -P 4 -c 0-3 -s 127.0.0.8 -C 600
		outcomes
	}
	as_natively dropped
	grep -q ' timeout=8 ' "$BATS_TEST_TMPDIR/native"
	grep -q ' ok=8 ' "$BATS_TEST_TMPDIR/native"
}

@test "SIGIO: a signal for each connection, as natively" {
	signals() {
		local p
		port p
		# shellcheck disable=SC2086
		server s $1 -p "$p" -o async
		clients -p "$p" -n 16 -P 4 -c 0-3 >/dev/null
		tell s reset
		# one after the other: signals that are pending already are not sent twice
		clients -p "$p" -n 40 -c 2 -i 5
		outcomes
		look s
		echo "accepted=$(field accepted "$stats") signals=$(field sig "$stats")"
	}
	falls_back fasync signals
	grep -q 'signals=40' "$BATS_TEST_TMPDIR/native"
}

@test "congestion control of the listener is what its connections get, as natively" {
	options=(-o cong=reno)
	as_natively with_workers
	grep -q ' ok=64 ' "$BATS_TEST_TMPDIR/native"
}

# ---- SO_REUSEPORT groups ----

# group HOW_A HOW_B: two servers on one port
group() {
	local p
	port p
	# shellcheck disable=SC2086
	server a $1 -n 2 -g 1 -p "$p" -o reuseport
	# shellcheck disable=SC2086
	server b $2 -n 2 -g 2 -p "$p" -o reuseport
	clients -p "$p" -n 64 -P 4 -c 0-3
	answered 64
	tell a reset
	tell b reset
	clients -p "$p" -n 200 -P 4 -c 0-3 -k 2
	answered 200
	sooner_than 1000
	counted 200 a b
	look a
	at_least "connections of a" "$(field accepted "$stats")" 50
	look b
	at_least "connections of b" "$(field accepted "$stats")" 50
	end a
	end b
}

@test "reuseport: a group shares the connections, attached or not, and mixed" {
	group "" ""
	group -f -f
	group -f ""
	group "" -f
}

@test "reuseport: a program that selects by CPU gets what it selected" {
	by_cpu() {
		local p cpu
		port p
		for cpu in 0 1 2 3; do
			# shellcheck disable=SC2086
			server "s$cpu" $1 -n 4 -g $cpu -p "$p" -o reuseport -o cpuselect
		done
		for cpu in 0 1 2 3; do
			clients -p "$p" -n 20 -c $cpu -g $cpu
			outcomes
		done
		for cpu in 0 1 2 3; do
			look "s$cpu"
			echo "accepted=$(field accepted "$stats")"
			end "s$cpu"
		done
	}
	as_natively by_cpu
	equal "servers with 20 connections" "$(grep -c '^accepted=20$' "$BATS_TEST_TMPDIR/native")" 4
	equal "no reply from another server" "$(grep -c 'ok=20 .*alien=0 ' "$BATS_TEST_TMPDIR/native")" 4
}

# leaving HOW: one member closes with connections pending; what becomes of them
leaving() {
	local p
	port p
	# shellcheck disable=SC2086
	server a $1 -n 2 -g 1 -p "$p" -o reuseport
	clients -p "$p" -n 32 -P 4 -c 0-3
	tell a stop all
	clients_open -p "$p" -n 8 -c 0-3
	# shellcheck disable=SC2086
	server b $1 -n 2 -g 2 -p "$p" -o reuseport
	tell a close all
	tell a closemine
	clients_end
	outcomes
	clients -p "$p" -n 16 -P 4 -c 0-3 -g 2
	outcomes
	end a
	look b
	echo "b accepted=$(field accepted "$stats")"
	end b
}

@test "reuseport: a member that leaves takes its pending connections with it, as natively" {
	as_natively leaving
	grep -q ' reset=8 ' "$BATS_TEST_TMPDIR/native"
}

# bats test_tags=debug
@test "reuseport: with tcp_migrate_req another member takes them over, as natively" {
	local counted
	sysctl -qw net.ipv4.tcp_migrate_req=1
	counted=$(fs_column migrate)
	as_natively leaving
	grep -q ' ok=8 ' "$BATS_TEST_TMPDIR/native"
	at_least "counted as migrate" $(($(fs_column migrate) - counted)) 1
}

# ---- reasons that come from outside the listener ----

@test "enable_listen_spawn=0 at run time: no SYN goes to a clone any more, counted as disabled" {
	port p
	server s -f -p "$p"
	warm s "$p"
	echo 0 >"$fs_param"
	local redirected disabled
	redirected=$(fs_column redirected) disabled=$(fs_column disabled)
	clients -p "$p" -n 64 -P 4 -c 0-3 -k 2
	answered 64
	equal "SYNs redirected" $(($(fs_column redirected) - redirected)) 0
	equal "SYNs counted as disabled" $(($(fs_column disabled) - disabled)) 64
	echo 2 >"$fs_param"
	clients -p "$p" -n 64 -P 4 -c 0-3 -k 2
	answered 64
	at_least "SYNs redirected when it is 2 again" $(($(fs_column redirected) - redirected)) 50
}

# ---- ss ----

# Recv-Q of ss is the listener's own queue (docs/operating.md, limits). What nobody fetches is
# there after less than a second.
@test "ss shows the backlog, and connections that nobody fetches, as natively" {
	shown() {
		local p
		port p
		# shellcheck disable=SC2086
		server s $1 -p "$p" -b 100
		warm s "$p"
		tell s stop all
		clients_open -p "$p" -n 8 -c 0-3
		sleep 1.2
		ss -Hltn "sport = :$p" | awk '{ print $1, $2, $3 }'
		tell s go all
		clients_end
		outcomes
		ss -Hltn "sport = :$p" | awk '{ print $1, $2, $3 }'
	}
	as_natively shown
	grep -qx 'LISTEN 8 100' "$BATS_TEST_TMPDIR/native"
}

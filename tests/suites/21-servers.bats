#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Other servers, unmodified: HAProxy (threads), redis (a single thread), lighttpd (processes).
# Each runs natively first, then under Fastsocket, with the same clients.

load ../helpers

setup() { ! fs_loaded || fs_unload; }

teardown() {
	touch "$fs_tmp/stop"
	stop_server haproxy
	stop_server redis-server
	stop_server lighttpd
	nginx_stop
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

server_gone() { ! running "$1"; }

# stop_server NAME: the way its init script does it
stop_server() {
	pkill -TERM -x "$1" || return 0
	wait_until 5 server_gone "$1" && return
	pkill -KILL -x "$1"
	wait_until 5 server_gone "$1"
}

listens() { ss -Hltn "( sport = :$1 )" | grep -q .; }

in_every_mode() {
	"$1" native
	fs_load
	"$1" module
}

share() {
	say "$1: $sent connections, $(fs_watch_locality) % accepted on their CPU, by CPU: $(fs_watch_per_cpu)"
}

# haproxy_start STATE [WORDS-OF-BIND...]
haproxy_start() {
	local state=$1
	shift
	cat >"$fs_tmp/haproxy.cfg" <<-CFG
		global
		    nbthread 4
		    stats socket /run/haproxy.sock mode 600 level admin expose-fd listeners
		    maxconn 2000
		defaults
		    mode http
		    timeout connect 10s
		    timeout client 20s
		    timeout server 20s
		frontend web
		    bind 127.0.0.1:8088 $*
		    bind ::1:8088 $*
		    default_backend nginx
		backend nginx
		    server nginx 127.0.0.1:80
		listen stats
		    bind 127.0.0.1:8404
		    stats enable
		    stats uri /
	CFG
	fs_watch_reset
	fs_start "$state" haproxy -D -p /run/haproxy.pid -f "$fs_tmp/haproxy.cfg"
	wait_until 10 listens 8088
}

# haproxy_says COLUMN: of the frontend, from HAProxy's own statistics
haproxy_says() {
	curl -s 'http://127.0.0.1:8404/;csv' | awk -F, -v want="$1" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) column = i }
		$1 == "web" && $2 == "FRONTEND" { print $column }'
}

# haproxy_proxies STATE [WORDS-OF-BIND...]
haproxy_proxies() {
	local total=0
	nginx_configure
	nginx_start "$1"
	haproxy_start "$@"
	for address in 127.0.0.1 ::1; do
		http_load $address 8088 100 4
		all_answered
		total=$((total + sent))
	done
	sent=$total
	share "HAProxy, $*"
	equal "sessions, says HAProxy" "$(haproxy_says stot)" $total
	equal "2xx responses, says HAProxy" "$(haproxy_says hrsp_2xx)" $total
	nginx_logged_exactly $total
}

@test "haproxy: four threads as frontend of nginx answer every request" {
	in_every_mode haproxy_proxies_and_ends
}

haproxy_proxies_and_ends() {
	haproxy_proxies "$1"
	if [ "$1" = module ]; then
		for cpu in 0 1 2 3; do
			at_least "accepted locally on CPU $cpu at port 8088" "$(fs_listener_field 8088 $cpu accepts | paste -sd + | bc)" 1
		done
	fi
	stop_server haproxy
	nginx_stop
}

@test "haproxy: shards by-thread: each thread's listeners serve the CPU that the thread is on" {
	fs_load
	haproxy_proxies module shards by-thread
	at_least "% accepted on their CPU, in tenths" "$(fs_watch_locality | tr -d .)" 950
}

# The new process gets the listening sockets from the old one, over a Unix
# socket: this is the way to replace HAProxy without losing a connection.
haproxy_reload() {
	local old
	nginx_configure
	nginx_start "$1"
	haproxy_start "$1"
	http_load_start 127.0.0.1 8088 2
	for _ in 1 2 3; do
		old=$(cat /run/haproxy.pid)
		fs_start "$1" haproxy -D -p /run/haproxy.pid -f "$fs_tmp/haproxy.cfg" -x /run/haproxy.sock -sf "$old"
		wait_until 20 process_gone "$old" || fail "the old process does not go"
	done
	http_load_stop
	say "$1: HAProxy replaced three times under load: $answered of $sent answered, slowest $slowest ms"
	all_answered
	at_least answered "$answered" 100
	nginx_logged_exactly "$sent"
	http_load 127.0.0.1 8088 20 2
	all_answered
	stop_server haproxy
	nginx_stop
}

process_gone() { ! kill -0 "$1" 2>/dev/null; }

# bats test_tags=debug
@test "haproxy: a new process that takes over the listeners under load fails no connection" {
	in_every_mode haproxy_reload
}

redis_start() {
	fs_watch_reset
	fs_start "$1" redis-server --port 6379 --bind 127.0.0.1 ::1 --save '' --daemonize yes \
		--pidfile /run/redis.pid --dir "$fs_tmp" --logfile "$fs_tmp/redis.log"
	wait_until 10 redis_answers
}

redis_answers() { [ "$(redis-cli ping 2>/dev/null)" = PONG ]; }

redis_says() { redis-cli info stats | tr -d '\r' | sed -n "s/^$1://p"; }

redis_serves() {
	local incremented
	redis_start "$1"
	# a new connection for each request, then kept connections
	spread redis-benchmark -k 0 -n 150 -c 5 -q -t incr
	spread redis-benchmark -k 1 -n 500 -c 10 -q -t incr
	incremented=$(redis-cli get counter:__rand_int__)
	say "redis, $1: $incremented increments, $(redis_says total_connections_received) connections"
	# a client may have one more under way when it has its count, never one less
	at_least "increments in redis" "$incremented" $((4 * 150 + 4 * 500))
	at_most "increments in redis" "$incremented" $((4 * 155 + 4 * 510))
	at_least "connections, says redis" "$(redis_says total_connections_received)" $((4 * 150 + 4 * 10))
	equal "rejected connections" "$(redis_says rejected_connections)" 0
	if [ "$1" = module ]; then
		# The only worker would gain nothing from being bound: it stays native, and counted.
		equal "connections counted by the module" "$(fs_columns local remote global)" "$(fs_watch_accepted)"
		equal "local accepts for a single worker" "$(fs_column local)" 0
		equal "CPUs of redis" "$(taskset -cp "$(cat /run/redis.pid)" | sed 's/.*: //')" 0-3
	fi
	stop_server redis-server
}

@test "redis: a server with one thread answers every request and is left unbound" {
	in_every_mode redis_serves
}

# lighttpd_start HOW EVENT-HANDLER
lighttpd_start() {
	cat >"$fs_tmp/lighttpd.conf" <<-CFG
		server.modules = ( "mod_accesslog" )
		server.document-root = "/var/www/html"
		index-file.names = ( "index.nginx-debian.html" )
		mimetype.assign = ( ".html" => "text/html" )
		server.port = 8090
		server.bind = "127.0.0.1"
		server.pid-file = "/run/lighttpd.pid"
		server.errorlog = "$fs_tmp/lighttpd.errors"
		accesslog.filename = "$fs_tmp/lighttpd.log"
		server.max-worker = 4
		server.event-handler = "$2"
	CFG
	web_files_in_memory
	rm -f "$fs_tmp/lighttpd.log"
	fs_watch_reset
	fs_start "$1" lighttpd -f "$fs_tmp/lighttpd.conf"
	wait_until 10 listens 8090
}

lighttpd_serves() {
	local handler
	for handler in linux-sysepoll poll; do
		lighttpd_start "$1" $handler
		http_load 127.0.0.1 8090 100 4
		all_answered
		share "lighttpd with $handler, $1"
		[ "$1" = native ] || at_least "locality of lighttpd with $handler" "$(fs_watch_locality)" 95
		# the log is written when lighttpd ends
		stop_server lighttpd
		equal "lines in lighttpd's access log" "$(wc -l <"$fs_tmp/lighttpd.log")" "$sent"
	done
}

@test "lighttpd: four processes with epoll and with poll answer every request on its CPU" {
	in_every_mode lighttpd_serves
}

@test "several servers at once under one module do not disturb each other" {
	local total=0
	fs_load
	nginx_configure
	nginx_start module
	haproxy_start module
	redis_start module
	lighttpd_start module linux-sysepoll
	for port in 80 8088 8090; do
		http_load 127.0.0.1 $port 30 3
		all_answered
	done
	spread redis-benchmark -k 0 -n 30 -c 3 -q -t incr
	at_least "increments in redis" "$(redis-cli get counter:__rand_int__)" 120
	nginx_logged_exactly 240
	equal "ports of the attached listeners" "$(awk 'NR > 1 { print $2 }' "$fs_listeners" | sort -n | uniq | xargs)" '80 6379 8088 8090 8404'
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# nginx as Debian ships it: unmodified binary, default nginx.conf with four
# workers. What it does natively is measured in the same machine by the same means.

load ../helpers

setup() { ! fs_loaded || fs_unload; }

teardown() { nginx_teardown; }

url=http://127.0.0.1/

# The access log tells the worker; Debian's default does not.
# shellcheck disable=SC2016
log_pids='s,^\([[:space:]]*\)access_log .*,log_format pids "$pid $status"; access_log /var/log/nginx/access.log pids;,'

# in_every_mode FUNCTION: natively first, so that a broken test does not look like a broken module
in_every_mode() {
	"$1" native
	nginx_stop
	fs_load
	"$1" module
	at_least "connections from local queues" "$(fs_column local)" 1
}

# ab may open a connection or two more than it uses, so the server can see more than ab answers for
logged_at_least_answered() {
	wait_until 10 nginx_has_logged "$answered" || fail "$answered answered, $(nginx_logged) in the access log"
}

locality_of() {
	nginx_configure
	nginx_start "$1"
	ab_load "$2" 300 "$3"
	all_answered
	logged_at_least_answered
	at_least "accepted, says cpuwatch" "$(fs_watch_accepted)" "$sent"
	say "$1, $3 at a time per CPU: $(fs_watch_locality) % of $(fs_watch_accepted) on the CPU that received the SYN; by CPU: $(fs_watch_per_cpu)"
}

# The two numbers agree only if the module counts what an outsider sees.
module_share() {
	awk -v l="$(fs_column local)" -v r="$(fs_column remote)" -v g="$(fs_column global)" \
		'BEGIN { printf "%.1f\n", l + r + g ? 100 * l / (l + r + g) : 0 }'
}

# locality_test URL CONCURRENCY
locality_test() {
	local native
	locality_of native "$@"
	native=$(fs_watch_locality)
	nginx_stop
	fs_load
	locality_of module "$@"
	say "fsocket_stats: $(module_share) % local; $(fs_counters)"
	at_least "locality in mode 2" "$(fs_watch_locality)" 98
	at_most "native locality, which must be clearly lower" "$native" 80
	at_least "locality in mode 2 by the module's own count" "$(module_share)" 98
	equal "connections counted by the module" "$(fs_columns local remote global)" "$(fs_watch_accepted)"
}

@test "nginx: at least 98 % of connections stay on the CPU that received the SYN, under load" {
	locality_test $url 8
}

@test "nginx: at least 98 % of connections stay on their CPU when there is little to do" {
	locality_test $url 1
}

@test "nginx: at least 98 % of connections stay on their CPU over IPv6" {
	locality_test 'http://[::1]/' 4
}

@test "nginx: each of four workers is bound to a CPU of its own in mode 2, to none in mode 1" {
	local pid
	nginx_configure
	fs_load enable_listen_spawn=1
	nginx_start module
	ab_load $url 50 2
	all_answered
	for pid in $(nginx_workers); do equal "CPUs of worker $pid" "$(taskset -cp "$pid" | sed 's/.*: //')" 0-3; done
	equal "local accepts in mode 1" "$(fs_column local)" 0
	nginx_stop
	fs_unload
	fs_load
	nginx_start module
	ab_load $url 50 2
	all_answered
	equal "CPUs of the workers" "$(for pid in $(nginx_workers); do taskset -cp "$pid" | sed 's/.*: //'; done | sort | xargs)" '0 1 2 3'
	equal "CPUs of the master" "$(taskset -cp "$(nginx_master)" | sed 's/.*: //')" 0-3
}

@test "nginx: workers that it binds itself are local in mode 1" {
	fs_load enable_listen_spawn=1
	nginx_configure '/^worker_processes/a worker_cpu_affinity auto;'
	nginx_start module
	ab_load $url 200 4
	all_answered
	at_least locality "$(fs_watch_locality)" 98
	at_least "locality by the module's count" "$(module_share)" 98
}

@test "nginx: in mode 0 everything is native" {
	fs_load enable_listen_spawn=0
	nginx_configure
	nginx_start module
	ab_load $url 50 2
	all_answered
	equal "accepted from local queues" "$(fs_columns local remote redirected)" 0
}

mutex() {
	nginx_configure '/worker_connections/a accept_mutex on; accept_mutex_delay 100ms;'
	nginx_start "$1"
	# bursts with pauses: the mutex changes hands while nothing is pending
	for _ in 1 2; do
		ab_load $url 60 6
		all_answered
		sleep 0.3
	done
	hey_load $url 20 2
	all_answered
}

@test "nginx: with accept_mutex on every connection is answered" {
	mutex native
	nginx_stop
	fs_load
	mutex module
	# no worker starves the others or is starved for good
	at_least "connections accepted" "$(fs_columns local remote global)" 560
}

single() {
	nginx_configure '/worker_connections/a accept_mutex on; accept_mutex_delay 100ms;'
	nginx_start "$1"
	for _ in 1 2 3 4 5; do
		http_load 127.0.0.1 80 1 1
		all_answered
		at_most "ms for one connection" "$slowest" 1000
		sleep 0.15
	done
}

@test "nginx: with accept_mutex on a lone connection is answered within a second, whatever its CPU" {
	in_every_mode_but_local single
}

# A holder of the mutex may be on any CPU, so nothing is said about locality here.
in_every_mode_but_local() {
	"$1" native
	nginx_stop
	fs_load
	"$1" module
}

reload() {
	nginx_configure "$log_pids"
	nginx_start "$1"
	http_load_start 127.0.0.1 80 2
	for _ in 1 2 3; do
		old=$(nginx_workers | xargs)
		kill -HUP "$(nginx_master)"
		wait_until 20 nginx_workers_are_new "$old" || fail "the old workers do not go"
	done
	http_load_stop
	say "$1: $answered of $sent answered during three reloads, slowest $slowest ms"
	all_answered
	nginx_logged_exactly "$sent"
	at_least "workers that served" "$(cut -d ' ' -f 1 "$nginx_log" | sort -u | wc -l)" 9
	nginx_errors_clean
}

# bats test_tags=debug
@test "nginx: reload under load fails no connection" {
	in_every_mode reload
}

@test "nginx: after a reload the new workers are as local as the old ones were" {
	fs_load
	nginx_configure
	nginx_start module
	ab_load $url 50 4
	all_answered
	old=$(nginx_workers | xargs)
	kill -HUP "$(nginx_master)"
	wait_until 10 nginx_workers_are_new "$old"
	fs_watch_zero
	ab_load $url 250 4
	all_answered
	say "after the reload: $(fs_watch_locality) %, by CPU: $(fs_watch_per_cpu); $(fs_counters)"
	at_least "accepted, says cpuwatch" "$(fs_watch_accepted)" "$sent"
	at_least "locality after the reload" "$(fs_watch_locality)" 98
}

# nginx_workers_are_new OLD-PIDS
nginx_workers_are_new() {
	local pid
	nginx_has_workers 4 || return 1
	for pid in $1; do
		if kill -0 "$pid" 2>/dev/null; then return 1; fi
	done
}

# lost_by PID...: connections these workers had accepted, or were accepting, and not finished (that is, logged)
lost_by() {
	local pid sum=0 accepted finished
	for pid; do
		accepted=$(fs_watch_threads | awk -v p="$pid" '$1 == p { print $2 }')
		finished=$(awk -v p="$pid" '$1 == p' "$nginx_log" | wc -l)
		sum=$((sum + ${accepted:-0} - finished))
	done
	echo $sum
}

killing() {
	local victims=() pid
	nginx_configure "$log_pids"
	nginx_start "$1"
	http_load_start 127.0.0.1 80 4
	for _ in 1 2 3 4; do
		pid=$(nginx_workers | head -n 1)
		kill -KILL "$pid"
		victims+=("$pid")
		sleep 0.5
	done
	http_load_stop
	say "$1: $answered of $sent answered, $failed failed; the ${#victims[@]} killed workers had $(lost_by "${victims[@]}") connections; slowest $slowest ms"
	equal "answered and failed" $((answered + failed)) "$sent"
	at_least answered "$answered" 100
	at_most "failed connections, of those that the killed workers had accepted" "$failed" "$(lost_by "${victims[@]}")"
	wait_until 10 nginx_has_workers 4
	http_load 127.0.0.1 80 20 2
	all_answered
}

# bats test_tags=debug
@test "nginx: kill -9 of workers under load fails only connections that they had accepted" {
	in_every_mode killing
}

pending() { ss -Htn state established "( sport = :80 )" | wc -l; }

has_pending() { [ "$(pending)" -ge "$1" ]; }

kill_all() {
	nginx_configure "$log_pids"
	nginx_start "$1"
	http_load 127.0.0.1 80 20 2
	all_answered
	: >"$nginx_log"
	# shellcheck disable=SC2046
	kill -STOP $(nginx_workers)
	http_load_start 127.0.0.1 80 20
	wait_until 10 has_pending 80 || fail "only $(pending) connections are pending"
	equal "answered by stopped workers" "$(nginx_logged)" 0
	# shellcheck disable=SC2046
	kill -KILL $(nginx_workers)
	wait_until 10 nginx_has_logged 80 || fail "only $(nginx_logged) were answered"
	http_load_stop
	say "$1: 80 pending connections, all workers killed: $answered of $sent answered, $failed failed; slowest $slowest ms"
	all_answered
	nginx_logged_exactly "$sent"
}

@test "nginx: connections pending when all workers are killed are answered by their successors" {
	in_every_mode kill_all
}

frozen() {
	local pid
	nginx_configure "$log_pids"
	nginx_start "$1"
	http_load 127.0.0.1 80 20 2
	all_answered
	sleep 0.3
	pid=$(nginx_workers | head -n 1)
	: >"$nginx_log"
	kill -STOP "$pid"
	http_load 127.0.0.1 80 50 2
	kill -CONT "$pid"
	say "$1: $answered of $sent answered while a worker was frozen, slowest $slowest ms"
	all_answered
	equal "answered by the frozen worker" "$(awk -v p="$pid" '$1 == p' "$nginx_log" | wc -l)" 0
	at_most "slowest connection in ms" "$slowest" 1000
}

@test "nginx: connections to the CPU of a frozen worker are answered by others within a second" {
	in_every_mode frozen
}

upgraded() { [ -s /run/nginx.pid.oldbin ] && [ -s /run/nginx.pid ] && nginx_has_workers 4; }

upgrade() {
	local old
	nginx_configure
	nginx_start "$1"
	old=$(nginx_master)
	http_load_start 127.0.0.1 80 2
	kill -USR2 "$old"
	wait_until 20 upgraded || fail "no new nginx"
	kill -WINCH "$old"
	sleep 0.5
	kill -QUIT "$old"
	wait_until 20 process_gone "$old" || fail "the old master does not go"
	http_load_stop
	say "$1: binary upgraded under load: $answered of $sent answered, slowest $slowest ms"
	all_answered
	nginx_logged_exactly "$sent"
	[ "$(nginx_master)" != "$old" ] || fail "no new master"
	http_load 127.0.0.1 80 20 2
	all_answered
	nginx_errors_clean
}

process_gone() { ! kill -0 "$1" 2>/dev/null; }

@test "nginx: a binary upgrade under load fails no connection" {
	in_every_mode upgrade
}

@test "nginx: a new binary goes on with the attached listeners of the old one" {
	local old
	fs_load
	nginx_configure
	nginx_start module
	ab_load $url 50 4
	all_answered
	old=$(nginx_master)
	kill -USR2 "$old"
	wait_until 10 upgraded
	kill -QUIT "$old"
	wait_until 10 process_gone "$old"
	before=$(fs_column local)
	ab_load $url 100 4
	all_answered
	say "accepted locally by the new binary: $(($(fs_column local) - before)) of $sent"
	at_least "accepted locally by the new binary" $(($(fs_column local) - before)) $((sent * 98 / 100))
}

several() {
	local port urls=(http://127.0.0.1:8080/ 'http://[::1]:8080/' http://127.0.0.1:8081/ 'http://[::1]:8082/')
	nginx_configure "$(nginx_server 'server { listen [::]:8080 ipv6only=off; listen 127.0.0.1:8081; listen [::1]:8082; root /var/www/html; index index.nginx-debian.html; }')"
	nginx_start "$1"
	total=0
	for u in "${urls[@]}"; do
		ab_load "$u" 60 3
		all_answered
		total=$((total + sent))
	done
	wait_until 10 nginx_has_logged $total
	at_least "accepted, says cpuwatch" "$(fs_watch_accepted)" $total
	say "$1: $(fs_watch_locality) % of $(fs_watch_accepted) on three listeners, four addresses"
}

@test "nginx: several listeners, IPv4, IPv6 and dual stack, are each served locally" {
	several native
	at_most "native locality" "$(fs_watch_locality)" 80
	nginx_stop
	fs_load
	several module
	at_least locality "$(fs_watch_locality)" 98
	for port in 8080 8081 8082; do
		equal "rows of port $port" "$(fs_listener_field $port '*' cpu | sort | xargs)" '- 0 1 2 3'
		# every CPU's worker has accepted at its own queue
		for cpu in 0 1 2 3; do at_least "accepts at port $port on CPU $cpu" "$(fs_listener_field $port $cpu accepts)" 50; done
	done
}

@test "nginx: wrk with a new connection for each request sees no error" {
	local before requests
	fs_load
	nginx_configure
	nginx_start module
	before=$(fs_columns local remote global)
	spread wrk -t 1 -c 8 -d 4 -H 'Connection: close' $url
	requests=$(awk '/requests in/ { n += $1 } END { print n + 0 }' "$fs_tmp"/client.*)
	say "wrk: $requests requests, $(fs_watch_locality) % local"
	at_least requests "$requests" 200
	equal "wrk's errors" "$(grep -hE 'Socket errors|Non-2xx' "$fs_tmp"/client.* | xargs)" ''
	# at its end wrk drops what is under way: at most one request per connection
	at_least "lines in the access log" "$(nginx_logged)" "$requests"
	at_most "lines in the access log" "$(nginx_logged)" $((requests + 32))
	at_least "connections counted" $(($(fs_columns local remote global) - before)) "$requests"
	at_least locality "$(fs_watch_locality)" 98
}

@test "nginx: enrolled in the kernel it is as local, and a listener that a reload adds is attached" {
	local enrolled=/proc/fastsocket_enrolled
	fs_load
	FS_RUN="$FS_BIN/fastsocket-enrol --"
	nginx_configure
	nginx_start module
	ab_load $url 40 4
	equal "answered" "$answered" "$sent"
	at_least "locality" "$(fs_watch_locality)" 98
	sed -i 's,^http {,http { server { listen 8043; },' "$nginx_conf"
	kill -HUP "$(nginx_master)"
	wait_until 10 sh -c 'ss -Hltn | grep -q :8043'
	equal "the new listener" "$(fs_listener_field 8043 - port)" 8043
	nginx_stop
	wait_until 5 sh -c "[ \$(wc -l <$enrolled) = 1 ]" || fail "still there: $(<$enrolled)"
}

reuseport() {
	nginx_configure "$(nginx_server 'server { listen 80 reuseport; listen [::]:80 reuseport; root /var/www/html; index index.nginx-debian.html; }')"
	nginx_start "$1"
	ab_load $url 40 4
	equal "answered, warming up" "$answered" "$sent"
	fs_watch_zero
	ab_load $url 40 4
	equal "answered" "$answered" "$sent"
	at_least "connections that were seen" "$(fs_watch_accepted)" "$sent"
	say "$1: $(fs_watch_locality) % local, by CPU: $(fs_watch_per_cpu)"
}

@test "nginx: with reuseport, a listener for each worker, it is as local" {
	reuseport native
	at_most "native locality" "$(fs_watch_locality)" 75
	nginx_stop
	fs_load
	reuseport module
	at_least "locality" "$(fs_watch_locality)" 98
}

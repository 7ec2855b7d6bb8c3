# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2119,SC2120
# Helpers of the suites, loaded with `load ../helpers`. The suites run as root
# in a virtual machine; tests/run sets FS_ROOT, FS_KO, FS_BIN and FS_RUN.

: "${FS_ROOT:=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)}"
: "${FS_KO:=$FS_ROOT/fastsocket.ko}"
: "${FS_BIN:=$FS_ROOT/tests/out/bin}"
: "${FS_RUN:=$FS_ROOT/tools/fastsocket run --}"

fs_stats=/proc/net/fsocket_stats
fs_listeners=/proc/net/fsocket_listeners
fs_param=/sys/module/fastsocket/parameters/enable_listen_spawn
fs_tmp=${BATS_TEST_TMPDIR:-${TMPDIR:-/tmp}}
read -r fs_taint_before </proc/sys/kernel/tainted

# say WORDS...: shown while the suite runs and in its log, whatever the outcome
say() {
	if [ -n "${BATS_TEST_NAME:-}" ]; then echo "# $*" >&3; else echo "$*"; fi
}

# fail WORDS...: end the test and say why
fail() {
	echo "FAILED: $*" >&2
	return 1
}

# equal WHAT GOT WANTED
equal() { [ "$2" = "$3" ] || fail "$1: $2, expected $3"; }

# thousandths NAME NUMBER: sets NAME; of more decimals than three the rest is cut off. Without a program, as
# one costs an emulated CPU 50 ms.
thousandths() {
	[[ $2 =~ ^(-?)([0-9]+)(\.([0-9]+))?$ ]] || fail "no number: '$2'" || return
	local decimals=${BASH_REMATCH[4]}000
	printf -v "$1" %s "${BASH_REMATCH[1]}$((10#${BASH_REMATCH[2]}${decimals:0:3}))"
}

# at_least WHAT GOT WANTED, at_most WHAT GOT WANTED: numbers, with fractions too
at_least() {
	local got wanted
	thousandths got "$2" && thousandths wanted "$3" || return
	[ "$got" -ge "$wanted" ] || fail "$1: $2, expected at least $3"
}

at_most() {
	local got wanted
	thousandths got "$2" && thousandths wanted "$3" || return
	[ "$got" -le "$wanted" ] || fail "$1: $2, expected at most $3"
}

# wait_until SECONDS COMMAND...: true as soon as COMMAND is
wait_until() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# ---- kernel log and taint ----

# The log of one test starts at its own mark.
fs_mark="fs-mark-$BASHPID-${EPOCHREALTIME/./}"
echo "<6>$fs_mark ${BATS_TEST_DESCRIPTION:-}" >/dev/kmsg

fs_klog() { dmesg | awk -v mark="$fs_mark" 'found; index($0, mark) { found = 1 }'; }

# The same words as in tests/vm/boot, which looks at the whole run once more, and which of KCSAN's
# reports count those that name our module.
fs_klog_clean() {
	dmesg | awk -v mark="$fs_mark" '
		found && !/BUG: KCSAN/ && /WARNING:|BUG:|Oops|Call Trace|general protection|stall|lockup|possible (circular|recursive)|suspicious RCU|inconsistent lock|refcount_t|segfault at|blocked for more|[Oo]bjects remaining/ {
			print
			bad = 1
		}
		index($0, mark) { found = 1 }
		END { exit bad }'
}

# Out-of-tree (bit 12) and unsigned (bit 13) are what loading the module does, live patch (bit 15) one of the tests' own.
fs_taint_clean() {
	local now
	read -r now </proc/sys/kernel/tainted
	[ $(((fs_taint_before ^ now) & ~((1 << 12) | (1 << 13) | (1 << 15)))) = 0 ] || fail "taint went from $fs_taint_before to $now"
}

# ---- the module ----

fs_loaded() { [ -d /sys/module/fastsocket ]; }

# FS_PARAMETERS: for a run of any suite with other parameters than the default ones
fs_load() {
	# shellcheck disable=SC2086
	insmod "$FS_KO" ${FS_PARAMETERS:-} "$@" && [ -c /dev/fastsocket ]
}

# Killed processes close their sockets some time after the kill.
fs_unload() { wait_until 5 rmmod fastsocket 2>/dev/null || rmmod fastsocket; }

# What holds the module: attached listeners, open devices.
references() { cat /sys/module/fastsocket/refcnt; }
references_are() { [ "$(references)" = "$1" ]; }

# fs_column NAME [FILE]: sum over all CPUs of a column of the statistics
fs_column() {
	awk -v want="$1" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) column = i; next }
		column { sum += $column }
		END { if (!column) exit 1; print sum + 0 }' "${2:-$fs_stats}" || fail "no column $1 in ${2:-$fs_stats}"
}

# fs_columns NAME...: several columns added up
fs_columns() { fs_columns_of "$fs_stats" "$@"; }

# fs_columns_of FILE NAME...
fs_columns_of() {
	local file=$1 name value sum=0
	shift
	for name; do
		value=$(fs_column "$name" "$file") || return 1
		sum=$((sum + value))
	done
	echo "$sum"
}

# fs_counters: all that are not zero, in one line
fs_counters() {
	awk '
		NR == 1 { for (i = 1; i <= NF; i++) name[i] = $i; n = NF; next }
		{ for (i = 2; i <= n; i++) sum[i] += $i }
		END { for (i = 2; i <= n; i++) if (sum[i]) printf("%s=%d ", name[i], sum[i]); print "" }' "$fs_stats"
}

# fs_listener_field PORT CPU FIELD: one line per matching row; CPU may be '*', or '-' for the native queue
fs_listener_field() {
	awk -v port="$1" -v cpu="$2" -v want="$3" '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; if (!(want in at)) exit 1; next }
		$at["port"] == port && (cpu == "*" || $at["cpu"] == cpu) { print $at[want] }' "$fs_listeners"
}

# ---- CPUs ----

fs_online_cpus() {
	local part list part_cpu
	IFS=, read -ra list </sys/devices/system/cpu/online
	for part in "${list[@]}"; do
		for ((part_cpu = ${part%-*}; part_cpu <= ${part#*-}; part_cpu++)); do echo $part_cpu; done
	done
}

# fs_possible_cpus: how many
fs_possible_cpus() {
	local list
	list=$(</sys/devices/system/cpu/possible)
	echo $((${list##*-} + 1))
}

# cpu NUMBER online|offline
cpu() {
	local want=1 file=/sys/devices/system/cpu/cpu$1/online
	[ "$2" = online ] || want=0
	[ "$(<"$file")" = $want ] || echo $want >"$file"
	[ "$(<"$file")" = $want ]
}

# fs_interrupts NAME: sum over CPUs of a line of /proc/interrupts, for example RES
fs_interrupts() {
	awk -v want="$1:" '$1 == want { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' /proc/interrupts
}

# tcpext NAME: a counter of this network namespace
tcpext() {
	awk -v want="$1" '
		$1 != "TcpExt:" { next }
		!at { for (i = 2; i <= NF; i++) if ($i == want) at = i; next }
		{ print $at }' /proc/net/netstat
}

# ---- where connections are accepted, measured without the module ----

fs_watch_file=$fs_tmp/cpuwatch

fs_watch_reset() { rm -f "$fs_watch_file"; }

# fs_watch_zero: starts anew while the server runs (and is idle)
fs_watch_zero() { dd if=/dev/zero of="$fs_watch_file" bs=40960 count=1 conv=notrunc status=none; }

# cpuwatch.c describes the file: 64 x 64 numbers, then pairs.
fs_watch_matrix() { od -An -v -t u8 -w512 -N 32768 "$fs_watch_file"; }

# fs_watch_threads: lines "TID ACCEPTED"
fs_watch_threads() { od -An -v -t u8 -w16 -j 32768 "$fs_watch_file" | awk '$1 { print $1, $2 }'; }

fs_watch_accepted() { fs_watch_matrix | awk '{ for (i = 1; i <= NF; i++) sum += $i } END { print sum + 0 }'; }

# fs_watch_locality: per cent of connections accepted on the CPU that received them
fs_watch_locality() {
	fs_watch_matrix | awk '
		{ local += $NR; for (i = 1; i <= NF; i++) sum += $i }
		END { printf "%.1f\n", sum ? 100 * local / sum : 0 }'
}

# fs_watch_per_cpu: accepted on each possible CPU, in one line
fs_watch_per_cpu() {
	fs_watch_matrix | awk -v cpus="$(fs_possible_cpus)" '
		NR <= cpus { sum = 0; for (i = 1; i <= NF; i++) sum += $i; printf("%s%d", (NR > 1 ? " " : ""), sum) }
		END { print "" }'
}

# ---- servers ----

# running NAME: is there a process of that name? Without a program: pgrep reads of every process more than its
# name, which takes an emulated CPU half a second.
running() {
	local file name
	for file in /proc/[0-9]*/comm; do
		# it may be gone by now
		{ IFS= read -r name <"$file"; } 2>/dev/null || continue
		[ "$name" != "$1" ] || return 0
	done
	return 1
}

# fs_start native|module COMMAND...: COMMAND with cpuwatch; "module" puts it under Fastsocket as well
fs_start() {
	local how=$1 run=()
	shift
	# shellcheck disable=SC2206
	[ "$how" = native ] || run=($FS_RUN)
	CPUWATCH_FILE=$fs_watch_file LD_PRELOAD=$FS_BIN/cpuwatch.so "${run[@]}" "$@" 3>&- </dev/null
}

nginx_conf=$fs_tmp/nginx.conf
nginx_log=/var/log/nginx/access.log
nginx_errors=/var/log/nginx/error.log

# nginx_configure [SED-EXPRESSION...]: Debian's own file with four workers, and what the caller changes besides
nginx_configure() {
	local edits=(-e 's/^worker_processes .*/worker_processes 4;/') e
	for e; do edits+=(-e "$e"); done
	sed "${edits[@]}" /etc/nginx/nginx.conf >"$nginx_conf"
}

# nginx_server BLOCK: replaces Debian's default site; a sed expression for nginx_configure
nginx_server() {
	printf '%s\n' "$1" >"$fs_tmp/site.conf"
	echo "s,include /etc/nginx/sites-enabled/.*,include $fs_tmp/site.conf;,"
}

nginx_master() { echo "$(</run/nginx.pid)"; }

nginx_workers() {
	local master=${1:-$(nginx_master)} pid children title
	[ -r "/proc/$master/task/$master/children" ] || return 0
	read -ra children <"/proc/$master/task/$master/children" || true
	for pid in "${children[@]}"; do
		title=''
		IFS= read -rd '' title 2>/dev/null <"/proc/$pid/cmdline" || true
		[[ $title != 'nginx: worker process'* ]] || echo "$pid"
	done
}

nginx_has_workers() {
	local workers
	mapfile -t workers < <(nginx_workers 2>/dev/null)
	[ ${#workers[@]} = "$1" ]
}

# A worker that waits for the host (9p) at each request is no picture of a server
# with its files in memory, and Fastsocket rightly gives the connections of one
# that sleeps over its disk to others. So the pages are copied to a tmpfs.
web_files_in_memory() {
	local copy=/run/fs-html
	[ ! -d $copy ] || return 0
	cp -a /var/www/html $copy
	mount --bind $copy /var/www/html
}

# nginx_start native|module; by its full path, which it needs to execute itself again
nginx_start() {
	mkdir -p /var/log/nginx
	web_files_in_memory
	rm -f "$nginx_log" "$nginx_errors"
	fs_watch_reset
	fs_start "$1" /usr/sbin/nginx -c "$nginx_conf"
	wait_until 10 test -s /run/nginx.pid
	wait_until 10 nginx_has_workers 4
}

nginx_gone() { ! running nginx; }

nginx_stop() {
	local pid
	nginx_gone && return
	pid=$(nginx_master 2>/dev/null) && kill -TERM "$pid"
	wait_until 5 nginx_gone && return
	pkill -KILL -x nginx
	wait_until 5 nginx_gone
}

# nginx_teardown: of suites in which nginx serves: everything stops and goes, and left no complaint
nginx_teardown() {
	touch "$fs_tmp/stop"
	nginx_stop
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

nginx_logged() { wc -l <"$nginx_log"; }

nginx_has_logged() { [ "$(nginx_logged)" -ge "$1" ]; }

# nginx_logged_exactly NUMBER: the log is written after the reply, so wait for it, and then for lines too many
nginx_logged_exactly() {
	wait_until 10 nginx_has_logged "$1" || true
	sleep 0.3
	equal "lines in nginx's access log" "$(nginx_logged)" "$1"
}

# Nothing from warn upwards; Debian's configuration causes nothing of that kind.
nginx_errors_clean() { ! grep -E '\[(warn|error|crit|alert|emerg)\]' "$nginx_errors"; }

# ---- clients: one per online CPU, bound to it, a connection for each request ----

# spread COMMAND...: runs COMMAND on every CPU at once, output in $fs_tmp/client.CPU
spread() {
	local cpu pids=() pid status=0
	rm -f "$fs_tmp"/client.*
	for cpu in $(fs_online_cpus); do
		taskset -c "$cpu" "$@" >"$fs_tmp/client.$cpu" 2>&1 3>&- </dev/null &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
	return $status
}

# ab_load URL REQUESTS CONCURRENCY (both of each CPU): sets sent, answered and seconds.
# answered is what came back complete and with status 200. ab may open a few
# connections more than it uses, so the server can have seen more.
ab_load() {
	local begin=${EPOCHREALTIME/./}
	sent=$(($(fs_online_cpus | wc -l) * $2))
	spread ab -q -r -s 20 -n "$2" -c "$3" "$1" || true
	seconds=$(awk -v b="$begin" -v e="${EPOCHREALTIME/./}" 'BEGIN { printf "%.3f", (e - b) / 1e6 }')
	answered=$(awk '
		/^Complete requests:/ { ok += $3 }
		/^Failed requests:/ { ok -= $3 }
		/^Non-2xx responses:/ { ok -= $3 }
		END { print ok + 0 }' "$fs_tmp"/client.*)
}

# hey_load URL REQUESTS CONCURRENCY: the same with hey, exact to the connection; sets failed.
# hey rounds REQUESTS down to a multiple of CONCURRENCY.
hey_load() {
	sent=$(($(fs_online_cpus | wc -l) * ($2 / $3 * $3)))
	GOMAXPROCS=1 spread hey -n "$2" -c "$3" -t 20 -disable-keepalive "$1" || true
	answered=$(awk '$1 == "[200]" && $3 == "responses" { n += $2 } END { print n + 0 }' "$fs_tmp"/client.*)
	failed=$(awk '
		FNR == 1 { errors = 0 }
		/^Error distribution:/ { errors = 1; next }
		errors && /^ *\[[0-9]+\]/ { gsub(/[][]/, "", $1); n += $1 }
		END { print n + 0 }' "$fs_tmp"/client.*)
}

# http_load ADDRESS PORT REQUESTS CONCURRENCY: the same with httpload, see
# tests/vm/httpload.c; sets slowest (milliseconds) as well
http_load() {
	spread "$FS_BIN/httpload" -n "$3" -c "$4" "$1" "$2" / || true
	http_result
}

# A program started costs an emulated CPU dearly: one awk for all of it.
http_result() {
	local clients
	read -r clients sent answered failed slowest < <(awk '
		{ for (i = 1; i <= NF; i++) { split($i, pair, "="); v[pair[1]] = pair[2] } }
		/^sent=/ {
			clients++; sent += v["sent"]; answered += v["answered"]; failed += v["failed"]
			if (v["slowest_ms"] + 0 > slowest) slowest = v["slowest_ms"]
		}
		END { print clients + 0, sent + 0, answered + 0, failed + 0, slowest + 0 }' "$fs_tmp"/client.*)
	# every client must have had its say
	set -- "$fs_tmp"/client.*
	equal "clients that reported" "$clients" $#
}

# all_answered: after any of them
all_answered() {
	[ "${sent:-0}" -gt 0 ] || fail "nothing was sent"
	[ "$answered" = "$sent" ] || { tail -n 40 "$fs_tmp"/client.*; fail "$answered of $sent connections were answered"; }
}

# http_load_start ADDRESS PORT CONCURRENCY: load from every CPU until
# http_load_stop, which waits for what is under way and sets the variables. The
# pause leaves an emulated CPU time for what the test does meanwhile.
http_load_start() {
	rm -f "$fs_tmp/stop" "$fs_tmp"/client.*
	spread "$FS_BIN/httpload" -s "$fs_tmp/stop" -p 40 -c "$3" "$1" "$2" / 3>&- &
	load_pid=$!
	# a CPU that goes before its client is there would have none
	wait_until 60 clients_started "$(fs_online_cpus | wc -l)"
	sleep 0.5
}

clients_started() {
	local file line n=0
	for file in "$fs_tmp"/client.*; do
		line=''
		read -r line 2>/dev/null <"$file" || true
		[ "$line" != started ] || n=$((n + 1))
	done
	[ $n -ge "$1" ]
}

http_load_stop() {
	touch "$fs_tmp/stop"
	wait "$load_pid" || true
	load_pid=''
	http_result
}

# ---- what only the debug kernel can tell: memory that nobody points to ----

kmemleak=/sys/kernel/debug/kmemleak

# A scan reports what is older than 5 s, unreferenced, and unchanged since the scan before.
leak_scan() {
	sleep 6
	echo scan >"$kmemleak"
	echo scan >"$kmemleak"
}

leak_clean() {
	if [ "$FS_LANE" = kcsan ]; then
		say "this kernel has no kmemleak"
		return
	fi
	leak_scan
	cat "$kmemleak"
	equal "objects that kmemleak reports" "$(grep -c '^unreferenced object' "$kmemleak" || true)" 0
}

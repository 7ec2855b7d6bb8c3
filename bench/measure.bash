# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154 # set by bench/run
# One repeat of bench/run: servers that are our own, on addresses and ports that are our own; load; what the
# kernel counted meanwhile. Everything is in $tmp, everything that was started is in an array.

# Where the clock counts instructions, all the time that nothing runs passes at once.
patience=1
clients=() server='' backend='' pids=() loaded='' rfd_was=''

# pause SECONDS: a signal ends it at once
pause()
{
	sleep "$1" &
	wait $!
}

# wait_for SECONDS COMMAND...
wait_for()
{
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000 * patience))

	shift
	until "$@"; do
		((${EPOCHREALTIME/./} < end)) || return 1
		pause 0.1
	done
}

# join SEPARATOR WORD...
join()
{
	local IFS=$1

	shift
	printf '%s\n' "$*"
}

# ---- CPUs ----

# expand LIST: 0-2,5 as 0 1 2 5
expand()
{
	local part parts n

	IFS=, read -ra parts <<<"$1"
	for part in "${parts[@]}"; do
		for ((n = ${part%-*}; n <= ${part#*-}; n++)); do printf '%d ' "$n"; done
	done
}

# cpu_order: those that we may use, one thread of each core first
cpu_order()
{
	local allowed cpu file rank
	local -a threads

	allowed=$(taskset -pc $$)
	for cpu in $(expand "${allowed##*: }"); do
		file=/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list
		rank=0
		if [[ -r $file ]]; then
			read -ra threads <<<"$(expand "$(<"$file")")"
			while ((rank < ${#threads[@]} && threads[rank] != cpu)); do rank=$((rank + 1)); done
		fi
		printf '%d %d\n' "$rank" "$cpu"
	done | sort -n -k 1,1 -k 2,2 | while read -r _ cpu; do printf '%d\n' "$cpu"; done
}

# ---- the module ----

module_is_loaded()
{
	[[ -d /sys/module/fastsocket ]]
}

# Loaded for a repeat that needs it and removed after it: the plain kernel is then really plain.
module_begin()
{
	local rfd=0

	[[ $1 != rfd ]] || rfd=1
	if [[ $load ]]; then
		insmod "$module_file" enable_receive_flow_deliver=$rfd || die "$module_file cannot be loaded"
		loaded=yes
	elif ((rfd)) && [[ $(<"$rfd_parameter") != 1 ]]; then
		rfd_was=$(<"$rfd_parameter")
		echo 1 >"$rfd_parameter" || die "Receive Flow Deliver cannot be switched on (needs root)"
	fi
}

module_end()
{
	if [[ $loaded ]]; then
		# Killed processes close their sockets some time after the kill.
		wait_for 10 rmmod fastsocket 2>/dev/null || { say "the module cannot be removed"; return 1; }
		loaded=''
	fi
	if [[ $rfd_was ]]; then
		echo "$rfd_was" >"$rfd_parameter"
		rfd_was=''
	fi
}

# ---- servers ----

# listeners PORT: how many sockets listen there, on any address that is or contains ours
listeners()
{
	ss -Hltn "sport = :$1" | wc -l
}

# listens PORT NUMBER
listens()
{
	(($(listeners "$1") == $2))
}

children()
{
	local file list

	for file in /proc/"$1"/task/*/children; do
		list=''
		read -r list 2>/dev/null <"$file"
		printf '%s' "$list "
	done
}

has_workers()
{
	local -a list

	read -ra list <<<"$(children "$1")"
	((${#list[@]} == $2))
}

# nginx_configure FILE PORT VARIANT
nginx_configure()
{
	local listen="$address:$2 backlog=4096" affinity=''

	case $3 in
	reuseport) listen+=' reuseport' ;;
	bpf)
		listen+=' reuseport'
		affinity="worker_cpu_affinity $(masks);"
		;;
	esac
	cat >"$1" <<-EOT
		daemon off;
		pid $1.pid;
		error_log $1.log warn;
		worker_processes ${#cpus[@]};
		$affinity
		events { worker_connections $((4 * connections * ${#cpus[@]} + 64)); }
		http {
			access_log off;
			default_type text/plain;
			client_body_temp_path $tmp/body;
			proxy_temp_path $tmp/proxy;
			fastcgi_temp_path $tmp/fastcgi;
			uwsgi_temp_path $tmp/uwsgi;
			scgi_temp_path $tmp/scgi;
			server {
				listen $listen;
				root $tmp/html;
			}
		}
	EOT
}

# masks: a CPU for each worker, as worker_cpu_affinity wants them: bit 0 is the last digit
masks()
{
	local cpu zeros

	for cpu in "${cpus[@]}"; do
		printf -v zeros '%*s' "$cpu" ''
		printf '1%s ' "${zeros// /0}"
	done
}

# haproxy_configure FILE VARIANT MODE. HAProxy hands connections of a listener that is shared on to threads
# that have less to do; with a queue per thread it is told not to, or they would leave their CPU again.
haproxy_configure()
{
	local shards='' tune='' close=$'option httpclose\nhttp-reuse never' map=''

	case $2 in
	reuseport) shards=' shards by-thread' ;;
	bpf)
		shards=' shards by-thread'
		map="cpu-map auto:1/1-${#cpus[@]} ${cpus[*]}"
		;;
	fastsocket | rfd) tune='tune.listener.multi-queue off' ;;
	esac
	[[ $3 != tcp ]] || close=''
	cat >"$1" <<-EOT
		global
		nbthread ${#cpus[@]}
		maxconn $((4 * connections * ${#cpus[@]} + 64))
		$tune
		$map
		defaults
		mode $3
		$close
		timeout connect 20s
		timeout client 20s
		timeout server 20s
		listen web
		bind $address:$port$shards
		server nginx $address:$((port + 1))
	EOT
}

# start VARIANT COMMAND...: the server that is measured, in the background; its process is $server
start()
{
	local variant=$1 preload=$bin/cpuwatch.so run=()

	shift
	[[ $1 != haproxy ]] || preload+=:$bin/connwatch.so
	case $variant in
	bpf) preload+=:$bin/cpuselect.so ;;
	fastsocket | rfd) run=("$root/tools/fastsocket" run --) ;;
	esac
	CPUWATCH_FILE=$tmp/cpuwatch CONNWATCH_FILE=$tmp/connwatch CPUSELECT_CPUS=$cpu_list LD_PRELOAD=$preload \
		taskset -c "$cpu_list" "${run[@]}" "$@" >"$tmp/server.out" 2>&1 </dev/null &
	server=$!
}

# start_backend: what HAProxy forwards to, the same in every variant
start_backend()
{
	nginx_configure "$tmp/backend" $((port + 1)) plain
	taskset -c "$cpu_list" nginx -c "$tmp/backend" >"$tmp/backend.out" 2>&1 </dev/null &
	backend=$!
	wait_for 20 listens $((port + 1)) 1 || server_failed backend
	wait_for 20 has_workers $backend ${#cpus[@]} || server_failed backend
}

server_failed()
{
	cat "$tmp/$1.out" "$tmp"/*.log >&2 2>/dev/null
	die "$1 does not start"
}

# start_servers SCENARIO VARIANT
start_servers()
{
	local sockets=1 program=$1

	rm -f "$tmp"/{cpuwatch,connwatch,*.out,*.log}
	[[ $2 != reuseport && $2 != bpf ]] || sockets=${#cpus[@]}
	if [[ $1 = nginx ]]; then
		nginx_configure "$tmp/nginx" "$port" "$2"
		start "$2" nginx -c "$tmp/nginx"
	else
		start_backend
		haproxy_configure "$tmp/haproxy" "$2" "${http[$1]}"
		start "$2" haproxy -db -f "$tmp/haproxy"
		program=haproxy
	fi
	wait_for 20 listens "$port" "$sockets" || server_failed server
	[[ $program != nginx ]] || wait_for 20 has_workers $server ${#cpus[@]} || server_failed server
	read -ra pids <<<"$server $(children $server)"
	is_as_named "$2"
}

# bound_to_all: is there a worker or thread for each CPU, which may not run elsewhere?
bound_to_all()
{
	local pid cpu allowed=' '

	for pid in "${pids[@]}"; do
		allowed+=$(sed -n 's/^Cpus_allowed_list:[[:blank:]]*//p' /proc/"$pid"/task/*/status | tr '\n' ' ')
	done
	for cpu in "${cpus[@]}"; do [[ $allowed = *" $cpu "* ]] || return 1; done
}

# is_attached PORT: is a listener on that port of our address served by the module?
is_attached()
{
	grep -q "^${address//./\\.} $1 " /proc/net/fsocket_listeners 2>/dev/null
}

# is_not_attached NAME PORT: it is not. What an enrolled shell or service starts is enrolled, too.
is_not_attached()
{
	! is_attached "$2" || die "$1 is to be without fastsocket.ko, and its listener is attached: is what started this run enrolled?"
}

# is_as_named VARIANT: a variant that is not in effect must not be measured, nor one that has another's effect
is_as_named()
{
	local pid=$server

	grep -q cpuwatch.so "/proc/$pid/maps" || die "cpuwatch.so is not in the server (LD_PRELOAD)"
	case $1 in
	fastsocket | rfd)
		is_attached "$port" ||
			{ cat "$tmp/server.out" >&2; die "the listener on port $port is not attached to fastsocket.ko"; }
		;;
	*) is_not_attached "$1" "$port" ;;
	esac
	is_not_attached "the backend" $((port + 1))
	if [[ $1 = bpf ]]; then
		grep -q cpuselect.so "/proc/$pid/maps" || die "cpuselect.so is not in the server (LD_PRELOAD)"
		wait_for 20 bound_to_all || die "the server's workers are not bound to a CPU each"
	fi
}

gone()
{
	! kill -0 "$1" 2>/dev/null
}

# stop PID
stop()
{
	local child

	[[ $1 ]] || return
	kill -TERM "$1" 2>/dev/null
	if ! wait_for 5 gone "$1"; then
		for child in $(children "$1"); do kill -KILL "$child" 2>/dev/null; done
		kill -KILL "$1" 2>/dev/null
	fi
	wait "$1" 2>/dev/null
}

stop_all()
{
	local pid

	[[ ! -d $tmp ]] || : >"$tmp/stop"
	for pid in "${clients[@]}"; do kill -TERM "$pid" 2>/dev/null; done
	clients=()
	stop "$server"
	server=''
	stop "$backend"
	backend=''
	module_end
}

# ---- load ----

# have_started: all clients; nothing is executed to see it
have_started()
{
	local cpu word

	for cpu in "${cpus[@]}"; do
		word=''
		read -r word 2>/dev/null <"$tmp/client.$cpu"
		[[ $word = started ]] || return 1
	done
}

# run_load SECONDS: one client on each CPU, then sent, answered and failed of all
run_load()
{
	local cpu pid

	rm -f "$tmp"/{stop,client.*}
	for cpu in "${cpus[@]}"; do
		taskset -c "$cpu" "$bin/httpload" -s "$tmp/stop" -c "$connections" "$address" "$port" / \
			>"$tmp/client.$cpu" 2>&1 </dev/null &
		clients+=($!)
	done
	# On a busy machine that can take longer than what is to be measured.
	wait_for 20 have_started || { cat "$tmp"/client.* >&2; die "a client does not start"; }
	pause "$1"
	: >"$tmp/stop"
	for pid in "${clients[@]}"; do wait "$pid"; done
	clients=()
	read -r reports sent answered failed < <(awk '
		/^sent=/ {
			for (i = 1; i <= NF; i++) { split($i, pair, "="); sum[pair[1]] += pair[2] }
			reports++
		}
		END { print reports + 0, sum["sent"] + 0, sum["answered"] + 0, sum["failed"] + 0 }' "$tmp"/client.*)
	((reports == ${#cpus[@]})) || { cat "$tmp"/client.*; die "a client has ended without a result"; } >&2
}

# ---- what is counted ----

# snapshot NAME: sets NAME to "server softirq busy res cal wakeups ctxt awake", times in clock ticks; awake is
# what the clock says without the time in which the CPUs were idle. Of CPUs only those
# in use; a server's wakeups are its voluntary context switches, of all its threads.
snapshot()
{
	local files=() pid

	for pid in "${pids[@]}"; do files+=("/proc/$pid/stat" /proc/"$pid"/task/*/status); done
	printf -v "$1" '%s' "$(LC_ALL=C awk -v list="$cpu_list" -v tick="$(getconf CLK_TCK)" '
		BEGIN { n = split(list, cpu, ","); for (i = 1; i <= n; i++) ours[cpu[i]] = 1 }
		FILENAME == "/proc/uptime" {
			uptime = $1 * 100
			next
		}
		FILENAME == "/proc/stat" {
			if ($1 == "ctxt")
				ctxt = $2
			else if ($1 ~ /^cpu[0-9]/ && substr($1, 4) in ours) {
				softirq += $8
				busy += $2 + $3 + $4 + $7 + $8
				idle += $5 + $6
			}
			next
		}
		FILENAME == "/proc/interrupts" {
			if (FNR == 1)
				for (i = 1; i <= NF; i++)
					at[i + 1] = substr($i, 4)
			else if ($1 == "RES:" || $1 == "CAL:")
				for (i = 2; i in at; i++)
					if (at[i] in ours)
						count[$1] += $i
			next
		}
		/^voluntary_ctxt_switches:/ { wakeups += $2 }
		FILENAME ~ /\/stat$/ {
			sub(/^.*\) /, "")
			server += $12 + $13
		}
		END {
			printf "%d %d %d %d %d %d %d %d\n", server, softirq, busy, count["RES:"], count["CAL:"], wakeups, ctxt, uptime * tick / 100 - idle
		}' /proc/uptime /proc/stat /proc/interrupts "${files[@]}")"
}

# watch_zero: between warm-up and measurement, while nothing is under way
watch_zero()
{
	dd if=/dev/zero of="$tmp/cpuwatch" bs=40960 count=1 conv=notrunc status=none
	dd if=/dev/zero of="$tmp/connwatch" bs=16 count=1 conv=notrunc status=none
}

# watched: sets accepted, locality and replies; the files are described in tests/vm/cpuwatch.c and
# tests/progs/connwatch.c
watched()
{
	local seen

	read -r accepted locality < <(od -An -v -t u8 -w512 -N 32768 "$tmp/cpuwatch" | awk '
		{ here += $NR; for (i = 1; i <= NF; i++) sum += $i }
		END { printf "%d %s\n", sum, sum ? sprintf("%.3f", 100 * here / sum) : "-" }')
	read -ra seen <<<"$(od -An -t u8 "$tmp/connwatch")"
	replies=-
	((seen[0] == 0)) || replies=$(awk -v n="${seen[1]}" -v all="${seen[0]}" 'BEGIN { printf "%.3f", 100 * n / all }')
}

# Each repeat has an address of its own: connections of the one before that are in TIME_WAIT are not in its way.
next_address()
{
	addresses=$((addresses + 1))
	address=127.77.$((addresses / 250)).$((addresses % 250 + 1))
}

# repeat ROUND ORDER SCENARIO VARIANT NUMBER-OF-CPUS: leaves its line in $line
repeat()
{
	local before after begin end

	# In ascending order, as HAProxy gives them to its threads
	mapfile -t cpus < <(printf '%s\n' "${all_cpus[@]:0:$5}" | sort -n)
	cpu_list=$(join , "${cpus[@]}")
	next_address
	[[ $4 != fastsocket && $4 != rfd ]] || module_begin "$4"
	start_servers "$3" "$4"
	run_load "$warmup"
	((failed == 0)) || say "$failed connections failed in the warm-up, which does not count"
	watch_zero
	snapshot before
	begin=${EPOCHREALTIME/./}
	run_load "$seconds"
	end=${EPOCHREALTIME/./}
	snapshot after
	watched
	stop_all || die "round $1: $3, $4 has left something behind"
	# What the server has not seen was not measured. CPUs from 64 on cpuwatch does not know.
	if ((accepted != sent && failed == 0)); then
		((all_cpus[$5 - 1] >= 64)) || die "of $sent connections the server has seen $accepted"
		locality=-
	fi
	line=$(awk -v before="$before" -v after="$after" -v us="$((end - begin))" -v n="$answered" -v failed=$((sent - answered)) \
		-v where="$1 $2 $3 $4 $5" -v locality="$locality" -v replies="$replies" -v tick="$(getconf CLK_TCK)" -v counts="$counts" '
		function each(i, factor) { return n ? sprintf("%.6g", (b[i] - a[i]) * factor / n) : "-" }
		BEGIN {
			split(before, a, " ")
			split(after, b, " ")
			gsub(/ /, "\t", where)
			t = 1000000 / tick
			if (counts)
				printf "%s\t%d\t%d\t%.3f\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\t%s\n", where, n, failed, us / 1e6,
					n ? sprintf("%.1f", (b[8] - a[8]) * t * 1000 / n) : "-"
			else
				printf "%s\t%d\t%d\t%.3f\t%.6g\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t-\n", where, n, failed, us / 1e6,
					n * 1000000 / us, each(1, t), each(2, t), each(3, t), locality, replies, each(4, 1), each(5, 1),
					each(6, 1), each(7, 1)
		}')
}

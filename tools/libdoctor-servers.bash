# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Checks of fastsocket-doctor: listeners, their workers, and how servers are configured.

# Servers whose workers each wait for connections themselves. Not redis and memcached, where one thread accepts for all, nor programs
# in Go, whose threads share one epoll.
known_servers=" nginx openresty angie haproxy lighttpd apache2 httpd envoy varnishd h2o "

# ---- what is there ----

# read_sockets: sets sockets, a line "ADDRESS PORT BACKLOG QUEUE NAME PID" for each TCP listener; addresses as in
# fsocket_listeners, NAME and PID "?" if we may not know
read_sockets()
{
	sockets=$(ss -Hltnp 2>/dev/null | listener_rows)
}

# listener_rows: of ss
listener_rows()
{
	awk '{
		at = match($4, /:[0-9]+$/)
		if (!at)
			next
		address = substr($4, 1, at - 1)
		port = substr($4, at + 1)
		sub(/%[^]]*/, "", address)
		if (address == "*")
			address = "[::]"
		name = pid = "?"
		if (match($0, /users:\(\("[^"]*"/)) {
			name = substr($0, RSTART + 9, RLENGTH - 10)
			gsub(/[ \t]/, "_", name)
			if (match($0, /pid=[0-9]+/))
				pid = substr($0, RSTART + 4, RLENGTH - 4)
		}
		print address, port, $3, $2, name, pid
	}'
}

# is_attached ADDRESS PORT
is_attached()
{
	grep -qsF "$1 $2 " "$root/proc/net/fsocket_listeners"
}

name_of()
{
	first_line "$root/proc/$1/comm"
	echo "${line:-?}"
}

# unit_of PID: the service that it belongs to, nothing if there is none
unit_of()
{
	local group

	group=$(group_of "$1")
	while [[ $group = /* && $group != / ]]; do
		if [[ $group = *.service ]]; then
			echo "${group##*/}"
			return
		fi
		group=${group%/*}
	done
}

# owner ADDRESS PORT PID: who has it, in words. The module tells a worker, ss who has it open.
owner()
{
	local name=''

	if (($3)); then
		name=$(name_of "$3")
	else
		name=$(awk -v a="$1" -v p="$2" '$1 == a && $2 == p { print $5; exit }' <<<"$sockets")
	fi
	[[ ! $name || $name = '?' ]] || printf ' of %s' "$name"
}

# ---- workers against CPUs ----

# more_workers NAME: how a server gets as many as there are CPUs
more_workers()
{
	case $1 in
	*nginx* | *openresty* | *angie*) echo "worker_processes auto; in nginx.conf" ;;
	*haproxy*) echo "nbthread $ncpu in haproxy.cfg (the default is one per CPU), and no \"process\" or \"thread\" on bind" ;;
	*lighttpd*) echo "server.max-worker = $ncpu" ;;
	*apache2* | *httpd*) echo "StartServers $ncpu and ServerLimit $ncpu at least (mpm_event)" ;;
	*envoy*) echo "--concurrency $ncpu" ;;
	*redis*) echo "nothing: redis accepts in one thread; it may as well not be attached" ;;
	*) echo "as many workers as there are CPUs that receive packets, each of which waits for connections itself" ;;
	esac
}

# check_listener ADDRESS PORT WORKERS CROWDED PID LISTENERS IDLE: CROWDED are CPUs that have several; IDLE of the LISTENERS, a
# SO_REUSEPORT group if there are several, have no worker
check_listener()
{
	local who what has=has

	who=$(owner "$1" "$2" "$5")
	what="the listener $1:$2$who"
	if (($6 > 1)); then
		what="the $6 listeners on $1:$2$who (SO_REUSEPORT)" has=have
	fi
	if (($7 == $6)); then
		finding note no-workers "$what $has no worker: nobody waits for connections now" "nothing, if the server has just started"
		return
	fi
	(($7 == 0)) || finding note no-workers "$7 of $what have no worker: nobody waits for the connections that the kernel gives them" \
		"nothing, if the server has just started; else as many workers as listeners"
	if (($3 == 1)); then
		finding warning one-worker "$what $has one worker: there is nothing to spread" "$(more_workers "$who")"
	elif (($3 < ncpu)); then
		finding warning few-workers "$what $has $3 workers for $ncpu CPUs: what arrives on the others is served natively" "$(more_workers "$who")"
	fi
	[[ ! $4 ]] || finding warning crowded "$what $has several workers on CPU $4" \
		"$( (($3 > ncpu)) && echo "as many workers as CPUs: ")$(more_workers "$who")"
}

# listener_rows_of_module: for each attached listener "ADDRESS PORT PID CPUS"; CPUS are those of its workers, one for each, "-"
# for none. The row of the listener itself comes after those of its local queues.
listener_rows_of_module()
{
	awk '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		$at["cpu"] != "-" {
			for (i = 0; i < $at["workers"]; i++)
				cpus = cpus (cpus == "" ? "" : ",") $at["cpu"]
			if ($at["pid"] > 0)
				pid = $at["pid"]
			next
		}
		{
			if ($at["state"] != "stopped")
				print $at["address"], $at["port"], pid + 0, cpus == "" ? "-" : cpus
			pid = 0
			cpus = ""
		}' "$root/proc/net/fsocket_listeners" 2>/dev/null
}

# groups_of_module: what check_listener takes; listeners of one address and port are one SO_REUSEPORT group. "-" for no CPU.
groups_of_module()
{
	listener_rows_of_module | awk '
		{ key = $1 " " $2 }
		!(key in listeners) { order[++n] = key; pid[key] = 0 }
		{
			listeners[key]++
			if ($3)
				pid[key] = $3
			if ($4 == "-") {
				idle[key]++
				next
			}
			m = split($4, cpu, ",")
			workers[key] += m
			for (i = 1; i <= m; i++)
				if (++on[key, cpu[i]] == 2)
					crowded[key] = crowded[key] (crowded[key] == "" ? "" : ",") cpu[i]
		}
		END {
			for (i = 1; i <= n; i++) {
				key = order[i]
				print key, workers[key] + 0, crowded[key] == "" ? "-" : crowded[key], pid[key], listeners[key], idle[key] + 0
			}
		}'
}

check_listeners()
{
	local address port workers crowded pid listeners idle

	((ncpu > 1)) || return 0
	while read -r address port workers crowded pid listeners idle; do
		check_listener "$address" "$port" "$workers" "${crowded#-}" "$pid" "$listeners" "$idle"
	done < <(groups_of_module)
}

# ---- servers that are not attached ----

# how_to_enrol NAME PID
how_to_enrol()
{
	local unit

	unit=$(unit_of "$2")
	if [[ ! $unit ]]; then
		echo "start it with: fastsocket run -- $1 ..."
	elif [[ $(enabled_units) = *"$unit"* ]]; then
		echo "systemctl restart $unit: it is enabled, but listens since before, or enrolling failed (journalctl -u $unit)"
	else
		echo "fastsocket enable --now $unit (restarts it)"
	fi
}

check_unattached()
{
	local address port name pid
	local -A where=() first=()

	[[ -e $module ]] || return 0
	while read -r address port _ _ name pid; do
		[[ $known_servers = *" $name "* ]] || continue
		is_attached "$address" "$port" && continue
		[[ " ${where[$name]-} " = *" $address:$port "* ]] || where[$name]+=" $address:$port"
		: "${first[$name]:=$pid}"
	done <<<"$sockets"
	for name in "${!where[@]}"; do
		finding problem not-attached "$name listens on${where[$name]} and is not attached" "$(how_to_enrol "$name" "${first[$name]}")"
	done
}

check_mptcp()
{
	local address port name pid

	while read -r address port _ _ name pid; do
		[[ $port ]] || continue
		finding warning mptcp "the listener $address:$port of $name is one of MPTCP: those stay native" \
			"Go: GODEBUG=multipathtcp=0 in its environment; of others the setting that makes it, or sysctl -w net.mptcp.enabled=0 before it starts"
	done < <(ss -HMlnp 2>/dev/null | listener_rows)
}

# is_enrolled GROUP: it, or one above it
is_enrolled()
{
	[[ -r $root/proc/fastsocket_enrolled ]] && GROUP=$1 awk '
		$1 == "cgroup" {
			sub(/^cgroup [0-9]+ /, "")
			sub(/\/$/, "")
			if (index(ENVIRON["GROUP"] "/", $0 "/") == 1)
				found = 1
		}
		END { exit !found }' "$root/proc/fastsocket_enrolled"
}

# check_enabled: services that are enabled and run, but are not enrolled
check_enabled()
{
	local unit group

	[[ -e $module ]] || return 0
	while read -r unit; do
		[[ $unit != *@.service ]] || continue
		group=$(systemctl show --property ControlGroup --value -- "$unit" 2>/dev/null)
		[[ $group ]] || continue
		! is_enrolled "$group" || continue
		finding problem not-enrolled "$unit is enabled and runs, but is not enrolled" \
			"systemctl restart $unit; if that does not help, journalctl -u $unit says why, and fastsocket enable $unit writes its file anew (a unit may use some devices only)"
	done < <(enabled_units)
}

# ---- nginx ----

# nginx_config: all of it, without comments, a directive per line
nginx_config()
{
	local text=''

	if is_root && type -P nginx >/dev/null; then
		text=$(nginx -T 2>/dev/null)
	fi
	# Without nginx -T what Debian's nginx.conf includes.
	[[ $text ]] || text=$(cat "$root"/etc/nginx/{nginx.conf,modules-enabled/*.conf,conf.d/*.conf,sites-enabled/*} 2>/dev/null)
	awk '{ sub(/#.*/, ""); gsub(/\t/, " "); gsub(/[;{}]/, "\n"); printf "%s ", $0 }' <<<"$text" | sed 's/^ *//; s/  */ /g; s/ $//'
}

check_nginx()
{
	local config n

	grep -qE ' (nginx|openresty|angie) [0-9?]+$' <<<"$sockets" || return 0
	config=$(nginx_config)
	if [[ ! ${config//[[:space:]]/} ]]; then
		finding note nginx-config "nginx's configuration cannot be read" "as root: fastsocket doctor"
		return
	fi
	! grep -qx 'accept_mutex on' <<<"$config" ||
		finding warning nginx-accept-mutex "nginx: accept_mutex on: one worker at a time waits for connections, the others are as if they were not there" \
			"accept_mutex off; (the default) in the events block"
	n=$(sed -n 's/^worker_processes //p' <<<"$config" | tail -n 1)
	# Without the directive it is one.
	[[ ${n:=1} != auto ]] || n=$ncpu
	if [[ $n =~ ^[0-9]+$ ]] && ((n < ncpu)); then
		finding warning nginx-workers "nginx: worker_processes $n for $ncpu CPUs" "worker_processes auto;"
	elif [[ $n =~ ^[0-9]+$ ]] && ((n > ncpu)); then
		finding warning nginx-workers "nginx: worker_processes $n for $ncpu CPUs: several share one" "worker_processes auto;"
	fi
	[[ $(parameter enable_listen_spawn) != 1 ]] || grep -q '^worker_cpu_affinity ' <<<"$config" ||
		finding warning nginx-affinity "enable_listen_spawn is 1 and nginx does not bind its workers" "worker_cpu_affinity auto; or echo 2 >/sys/module/fastsocket/parameters/enable_listen_spawn"
}

# ---- HAProxy ----

# haproxy_files PID: what it was started with, a line per file or directory; Debian's file if that cannot be seen
haproxy_files()
{
	local files

	files=$(tr '\0' '\n' 2>/dev/null <"$root/proc/$1/cmdline" | awk 'wanted { print; wanted = 0; next } $0 == "-f" { wanted = 1 }')
	echo "${files:-/etc/haproxy/haproxy.cfg}"
}

# haproxy_config PID: all of it
haproxy_config()
{
	local file

	while IFS= read -r file; do
		if [[ -d $root$file ]]; then cat "$root$file"/*.cfg; else cat "$root$file"; fi
	done < <(haproxy_files "$1") 2>/dev/null
}

# haproxy_says KEYWORD: of the configuration from standard input; the last one holds
haproxy_says() { awk -v want="$1" '{ sub(/#.*/, "") } $1 == want { is = $2 } END { print is }'; }

# A listener with one thread of its own (shards by-thread) hands nothing on; nbthread 1 with several workers is a reload.
check_haproxy()
{
	local address port pid cpus config queue

	while read -r address port pid cpus; do
		[[ $cpus = *,* && $(owner "$address" "$port" "$pid") = *haproxy* ]] || continue
		config=$(haproxy_config "$pid")
		if [[ ! ${config//[[:space:]]/} ]]; then
			finding note haproxy-config "HAProxy's configuration cannot be read" "as root: fastsocket doctor; fastsocket(1) says what it should have"
			return
		fi
		queue=$(haproxy_says tune.listener.multi-queue <<<"$config")
		[[ $queue != off && $(haproxy_says nbthread <<<"$config") != 1 ]] || continue
		finding warning haproxy-multi-queue "HAProxy: tune.listener.multi-queue is ${queue:-on, the default}: threads hand accepted connections on to others, on other CPUs" \
			"tune.listener.multi-queue off in the global section, then reload HAProxy"
		return
	done < <(listener_rows_of_module)
}

# ---- where workers may run ----

# not_in LIST: the online CPUs that are not in it
not_in()
{
	local cpu list out=''

	list=" $(expand "$1") "
	for cpu in "${online[@]}"; do [[ $list = *" $cpu "* ]] || out+=${out:+,}$cpu; done
	echo "$out"
}

# status_of PID KEY: of /proc/PID/status
status_of() { awk -v key="$2:" '$1 == key { print $2 }' "$root/proc/$1/status" 2>/dev/null; }

# first_task PID: the highest process above it of the same name: what it was before we bound a worker
first_task()
{
	local pid=$1 name parent

	name=$(name_of "$pid")
	while parent=$(status_of "$pid" PPid); [[ $parent =~ ^[1-9] && $(name_of "$parent") = "$name" ]]; do pid=$parent; done
	echo "$pid"
}

# check_affinity_of PID
check_affinity_of()
{
	local pid=$1 list missing dir unit what

	unit=$(unit_of "$pid")
	what="${unit:-$(name_of "$pid")}"
	dir=$(cgroup_dir "$(group_of "$pid")")
	if [[ $dir ]] && first_line "$dir/cpuset.cpus.effective"; then
		list=$line missing=$(not_in "$line")
		if [[ $missing ]]; then
			[[ ! ${told["$what"]-} ]] || return 0
			told["$what"]=1
			finding warning cpuset "$what may use CPUs $list only (cpuset of its control group): SYNs on CPUs $missing are served natively" \
				"AllowedCPUs= of the unit or its slice; or packets to these CPUs only: fastsocket nic --cpus $list"
			return
		fi
	fi
	pid=$(first_task "$pid")
	# A worker without a parent of its name is bound by us.
	[[ $pid != "$1" ]] || return 0
	list=$(status_of "$pid" Cpus_allowed_list)
	[[ $list ]] || return 0
	missing=$(not_in "$list")
	[[ $missing && ! ${told["$what"]-} ]] || return 0
	told["$what"]=1
	finding warning affinity "$what may run on CPUs $list only (its affinity): SYNs on CPUs $missing are served natively" \
		"CPUAffinity= of the unit, taskset or the server's own setting; or packets to these CPUs only: fastsocket nic --cpus $list"
}

check_affinity()
{
	local pid
	local -A told=()

	while read -r _ _ pid _; do
		((pid == 0)) || check_affinity_of "$pid"
	done < <(listener_rows_of_module)
}

# ---- what the counters say ----

reasons="no_worker stalled busy queue_full filter md5 tfo fasync xfrm syncookies cong options cgroup migrate disabled"

# reason_todo REASON
reason_todo()
{
	case $1 in
	no_worker)
		if [[ $(parameter enable_listen_spawn) = 1 ]]; then
			echo "bind the workers to a CPU each (mode 1 asks for it), or echo 2 >/sys/module/fastsocket/parameters/enable_listen_spawn"
		else
			echo "as many workers as there are CPUs that receive packets, or packets to fewer CPUs: fastsocket nic --cpus LIST"
		fi
		;;
	stalled) echo "workers are away from accept() for long: shorter work between two waits, more workers; mode 2 where nothing binds them" ;;
	busy) echo "workers spend long in one thing while others are idle: threads for it (nginx: aio threads), or accept it; it is the safety net" ;;
	queue_full) echo "a larger backlog of listen() and net.core.somaxconn, or a server that accepts faster" ;;
	filter) echo "the listener has a socket filter (SO_ATTACH_FILTER, SO_ATTACH_BPF): do without, or filter in nftables" ;;
	md5) echo "the listener has TCP MD5 or AO keys: such a listener stays native, use another one for what has none" ;;
	tfo) echo "TCP Fast Open off for this listener (nginx: no fastopen= on listen, HAProxy: no tfo on bind), or sysctl -w net.ipv4.tcp_fastopen=1" ;;
	fasync) echo "the server uses signal-driven I/O (O_ASYNC) on the listener: epoll instead" ;;
	xfrm) echo "the listener has an IPsec policy of its own: put it into the machine's policies (ip xfrm policy)" ;;
	syncookies) echo "sysctl -w net.ipv4.tcp_syncookies=1: cookies only when the queue is full" ;;
	cong) echo "a congestion control without ECN for this listener (sysctl net.ipv4.tcp_congestion_control, TCP_CONGESTION): not dctcp" ;;
	options) echo "the listener has IPv6 header options, or a BPF program keeps storage in it: do without" ;;
	cgroup) echo "workers and the process that listens in one control group" ;;
	migrate) echo "sysctl -w net.ipv4.tcp_migrate_req=0" ;;
	disabled) echo "echo 2 >/sys/module/fastsocket/parameters/enable_listen_spawn; if that was done, these are from before" ;;
	esac
}

check_reasons()
{
	local reason n syns=${stat[sum.redirected]-0} accepted

	for reason in $reasons; do syns=$((syns + ${stat[sum.$reason]-0})); done
	# Of a few a worker that comes one late is many per cent.
	((syns >= 100)) || return 0
	for reason in $reasons; do
		n=${stat[sum.$reason]-0}
		((100 * n > syns)) || continue
		finding warning "native-$reason" "$(per_cent "$n" "$syns") % of the SYNs on attached listeners were served natively since the module was loaded: $reason" "$(reason_todo "$reason")"
	done
	accepted=$((${stat[sum.local]-0} + ${stat[sum.remote]-0} + ${stat[sum.global]-0}))
	if ((100 * ${stat[sum.remote]-0} > accepted)); then
		finding warning remote "$(per_cent "${stat[sum.remote]-0}" "$accepted") % of the connections were accepted by a task on another CPU than that of the queue" \
			"do not move workers (taskset, numad, cpusets); tasks that accept without waiting for connections themselves take them from others"
	fi
}

# tcpext NAME: a counter of /proc/net/netstat, what nstat calls TcpExtNAME
tcpext()
{
	awk -v want="$1" '
		$1 != "TcpExt:" { next }
		!at { for (i = 2; i <= NF; i++) if ($i == want) at = i; next }
		{ print $at }' "$root/proc/net/netstat" 2>/dev/null
}

check_backlog()
{
	local overflows somaxconn='' small
	overflows=$(tcpext ListenOverflows)

	((${overflows:-0} > 0)) || return 0
	! first_line "$root/proc/sys/net/core/somaxconn" || somaxconn=$line
	# Largest queue first.
	small=$(awk '$3 > 0 && $4 > 0 { print $4 / $3, $1 ":" $2 " (" $5 ", backlog " $3 ", " $4 " waiting)" }' <<<"$sockets" |
		sort -k 1,1gr | head -n 3 | cut -d ' ' -f 2- | paste -s -d ',' | sed 's/,/, /g; s/,  /, /g')
	finding warning backlog "$overflows connections met a full accept queue since boot (ListenOverflows); net.core.somaxconn is ${somaxconn:-unknown}${small:+; queues now: $small}" \
		"a larger backlog (nginx: listen ... backlog=; HAProxy: backlog), and somaxconn, which limits it: sysctl -w net.core.somaxconn=65535; \"nstat -z TcpExtListenOverflows\" tells whether it goes on"
}

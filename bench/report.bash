# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154 # set by bench/run
# What bench/run leaves behind: the machine it ran on, tables, figures.

# ---- the machine ----

# says COMMAND...: the first line, or that it is not there
says()
{
	local line

	line=$("$@" 2>&1 | head -n 1) || line=''
	printf '%s\n' "${line:-not there}"
}

value_of()
{
	local file

	for file; do [[ ! -r $file ]] || printf '  %s = %s\n' "$file" "$(tr '\t' ' ' <"$file" 2>/dev/null)"; done
}

describe_cpus()
{
	lscpu | grep -E '^(Architecture|CPU\(s\)|On-line|Model name|Thread|Core|Socket|CPU (max )?MHz|Hypervisor|Virtualization type|L[123]|NUMA)' |
		sed 's/^/  /'
	value_of /sys/devices/system/cpu/cpu0/cpufreq/scaling_{driver,governor} /sys/devices/system/cpu/cpufreq/boost \
		/sys/devices/system/cpu/intel_pstate/no_turbo /sys/devices/system/cpu/smt/active
}

describe_nics()
{
	local dev name driver

	for dev in /sys/class/net/*; do
		name=${dev##*/}
		driver=$(readlink -e "$dev/device/driver") || driver=none
		printf '  %s: driver %s, speed %s, receive queues %d\n' "$name" "${driver##*/}" \
			"$(cat "$dev/speed" 2>/dev/null || echo -)" "$(find "$dev/queues" -name 'rx-*' 2>/dev/null | wc -l)"
		value_of "$dev"/queues/rx-*/rps_cpus
	done
}

describe_module()
{
	local file=$module_file

	if module_is_loaded; then
		value_of /sys/module/fastsocket/{version,srcversion,parameters/*}
	elif [[ $load && -r $file ]]; then
		printf '  loaded for its repeats, parameters as by default: %s\n' "${file##*/}"
		modinfo "$file" | grep -E '^(version|srcversion|vermagic):' | sed 's/^/  /'
		insmod "$file" && value_of /sys/module/fastsocket/parameters/* && wait_for 10 rmmod fastsocket
	else
		printf '  not used\n'
	fi
}

describe()
{
	printf 'Command\n  %s\n' "${FS_BENCH_COMMAND:-$command_line}"
	printf 'Date\n  %s\n' "$(date -u '+%Y-%m-%d %H:%M:%S UTC')"
	printf 'Source\n  %s\n' "$(git -C "$root" -c safe.directory="$root" describe --always --dirty 2>/dev/null || echo 'no git tree')"
	printf 'Kernel\n  %s\n  %s\n' "$(uname -srvm)" "$(</proc/cmdline)"
	printf 'Times\n  %s\n' "$([[ $emulated = yes ]] && echo 'emulated: not those of any hardware' || echo real)"
	printf 'CPUs\n'
	describe_cpus
	printf '  in this order: %s\n  load before: %s\n' "${all_cpus[*]}" "$(</proc/loadavg)"
	printf 'Memory\n  %s\n' "$(grep MemTotal /proc/meminfo)"
	printf 'Network devices (the load goes over lo)\n'
	describe_nics
	printf 'Settings\n'
	value_of /proc/sys/net/core/{somaxconn,netdev_max_backlog,netdev_budget,rps_sock_flow_entries,busy_poll} \
		/proc/sys/net/ipv4/{ip_local_port_range,tcp_max_syn_backlog,tcp_syncookies,tcp_tw_reuse,tcp_fin_timeout,tcp_max_tw_buckets} \
		/proc/sys/net/ipv4/{tcp_migrate_req,tcp_congestion_control} /proc/sys/kernel/{sched_autogroup_enabled,numa_balancing} \
		/proc/sys/net/netfilter/nf_conntrack_max
	printf 'Module\n'
	describe_module
	printf 'Programs\n  %s\n  %s\n  bash %s\n  %s\n' "$(says nginx -v)" "$(says haproxy -v)" "$BASH_VERSION" "$(says gcc --version)"
	printf 'Measurement\n  %s rounds, %s s each after %s s of warm-up, %s connections at once on each CPU, seed %s\n' \
		"$repeats" "$seconds" "$warmup" "$connections" "$seed"
}

# ---- figures ----

# plot_data SUMMARY SCENARIO MEASURE: a block for each variant, lines "PLACE CPUS MEDIAN LOW HIGH"
plot_data()
{
	awk -F '\t' -v scenario="$2" -v measure="$3" -v order="${variants[*]}" '
		NR > 1 && $1 == scenario && $4 == measure {
			if (!($2 in place)) { place[$2] = ++places }
			low = $7 == "-" ? $6 : $7
			high = $8 == "-" ? $6 : $8
			block[$3] = block[$3] place[$2] " " $2 " " $6 " " low " " high "\n"
		}
		END {
			n = split(order, variant, " ")
			for (i = 1; i <= n; i++)
				if (variant[i] in block)
					printf "%s\n\n", block[variant[i]]
		}' "$1"
}

# plot DIR SCENARIO MEASURE NAME TITLE
plot()
{
	local data=$1/.plot names cpus

	plot_data "$1/summary.tsv" "$2" "$3" >"$data"
	if [[ -s $data ]]; then
		names=$(awk -F '\t' -v s="$2" -v m="$3" '$1 == s && $4 == m && !seen[$3]++ { print $3 }' "$1/summary.tsv")
		# in the order of the blocks
		names=$(for v in "${variants[@]}"; do grep -qx "$v" <<<"$names" && printf '%s ' "$v"; done)
		cpus=$(awk -F '\t' -v s="$2" -v m="$3" '$1 == s && $4 == m && !seen[$2]++ { printf "%s ", $2 }' "$1/summary.tsv")
		gnuplot -e "data='$data'; file='$1/$2-$4'; names='$names'; cpus='$cpus'; heading='$2: $5'; percent=$([[ $3 = locality ]] && echo 1 || echo 0)" \
			"$here/plot.gp" || say "gnuplot failed: no figure of $4"
	fi
	rm -f "$data"
}

plots()
{
	local s mark=''

	[[ $emulated = no ]] || mark=' (emulated: not a benchmark)'
	for s in "${scenarios[@]}"; do
		plot "$1" "$s" rate throughput "connections per second$mark"
		plot "$1" "$s" locality locality 'accepted on the CPU that received the SYN, %'
		plot "$1" "$s" res ipis 'rescheduling IPIs per connection'
	done
}

# ---- tables ----

# column_of NAME FILE: what there is in it, the usual order first
column_of()
{
	"$here/stats" --as summary "$2" | awk -F '\t' -v want="$1" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) column = i; next }
		!seen[$column]++ { print $column }'
}

# report DIR: of its raw.tsv; the status is that of bench/stats
report()
{
	local status=0 name f

	"$here/stats" "$1/raw.tsv" | tee "$1/report.txt"
	status=${PIPESTATUS[0]}
	"$here/stats" --as summary "$1/raw.tsv" >"$1/summary.tsv"
	plots "$1"
	{
		printf '# fastsocket bench\n\n'
		"$here/stats" --as markdown "$1/raw.tsv"
		for f in "$1"/*.svg; do
			name=${f##*/}
			[[ ! -e $f ]] || printf '![%s](%s)\n\n' "${name%.svg}" "$name"
		done
		printf '## Machine\n\n```\n'
		cat "$1/machine.txt" 2>/dev/null
		printf '```\n'
	} >"$1/report.md"
	say "results are in $1: report.md, raw.tsv, summary.tsv, machine.txt and the figures"
	case $status in
	3) say "connections failed: the run is void" ;;
	4) say "from some of it nothing can be concluded; the report says of what" ;;
	esac
	return "$status"
}

# SPDX-License-Identifier: GPL-2.0
# What fastsocket-stat prints. Reads one or two looks at /proc/net/fastsocket (lines "KEY VALUE"), the
# older one first, with a line "--" between them. Any awk will do.
#
# mode: table, json or prometheus. With two looks, seconds apart, the table has rates.
# rows: if not 0, at most so many rows for CPUs, and of all other counters only sums.
# netns: a label for Prometheus

function learn(key, value,   dot, cpu, name)
{
	if (key !~ /^cpu[0-9]+\./) {
		if (!(key in setting))
			settings[++nsettings] = key
		setting[key] = value
		return
	}
	dot = index(key, ".")
	cpu = substr(key, 4, dot - 4)
	name = substr(key, dot + 1)
	if (!(cpu in seen)) {
		seen[cpu] = 1
		cpus[++ncpus] = cpu
	}
	if (!(name in known)) {
		known[name] = 1
		names[++nnames] = name
	}
	count[look, cpu, name] = value
}

# of CPU and NAME: since the module was loaded, or since the last look. A number that became smaller is one of a
# module that was loaded anew.
function number(cpu, name,   now, before)
{
	now = count[look, cpu, name] + 0
	before = rates ? count[look - 1, cpu, name] + 0 : 0
	return now < before ? now : now - before
}

function total(name,   i, sum)
{
	sum = 0
	for (i = 1; i <= ncpus; i++)
		sum += number(cpus[i], name)
	return sum
}

# A family is what stands before the first "_" of some names. Without one a name is a column of accepted
# connections, a reason, or something that is newer than this program.
function family(name)
{
	if (name ~ /^rfd_/)
		return "rfd"
	if (name ~ /^epoll_/)
		return "epoll"
	if (name ~ /^sockfs_/)
		return "sockfs"
	if (name ~ /^(local|remote|global|redirected|drained|private|published)$/)
		return "accepted"
	return name in means ? "reason" : "other"
}

# ---- tables ----

function show(n)
{
	if (!rates)
		return sprintf("%.0f", n)
	n /= seconds
	return n && n < 100 ? sprintf("%.1f", n) : sprintf("%.0f", n)
}

function percent(part, whole)
{
	return whole ? sprintf("%.1f%%", 100 * part / whole) : "-"
}

function accepted_row(cpu, l, r, g, redirected, drained)
{
	printf "  %-4s %12s %12s %12s %8s %12s %9s\n", cpu, show(l), show(r), show(g),
		percent(l, l + r + g), show(redirected), show(drained)
}

function accepted_table(   i, c)
{
	print "Accepted connections" per ", by CPU"
	printf "  %-4s %12s %12s %12s %8s %12s %9s\n", "CPU", "local", "remote", "global", "locality", "redirected", "drained"
	for (i = 1; i <= ncpus && !(rows && i > rows); i++) {
		c = cpus[i]
		accepted_row(c, number(c, "local"), number(c, "remote"), number(c, "global"),
			number(c, "redirected"), number(c, "drained"))
	}
	if (i <= ncpus)
		printf "  ... %d more\n", ncpus - i + 1
	accepted_row("all", total("local"), total("remote"), total("global"), total("redirected"), total("drained"))
}

function reason_table(   i, n, syns, any)
{
	print "\nSYNs on attached listeners" per " that were served natively, by reason"
	syns = total("redirected")
	for (i = 1; i <= nnames; i++)
		if (family(names[i]) == "reason")
			syns += total(names[i])
	for (i = 1; i <= nnames; i++) {
		if (family(names[i]) != "reason")
			continue
		n = total(names[i])
		if (!n)
			continue
		printf "  %-11s %12s  %s (%s)\n", names[i], show(n), means[names[i]], percent(n, syns)
		any = 1
	}
	if (!any)
		print "  none"
}

# family_table FAMILY TITLE: a row per CPU, if something was counted
function family_table(which, title,   i, j, n, list, width, line, name)
{
	n = 0
	for (i = 1; i <= nnames; i++)
		if (family(names[i]) == which && total(names[i]) > 0)
			list[++n] = names[i]
	if (!n)
		return
	print "\n" title per
	line = sprintf("  %-4s", "CPU")
	for (j = 1; j <= n; j++) {
		name = list[j]
		sub("^" which "_", "", name)
		width[j] = length(name) > 9 ? length(name) : 9
		line = line sprintf(" %" width[j] "s", name)
	}
	print line
	for (i = 1; i <= ncpus && !rows; i++) {
		line = sprintf("  %-4s", cpus[i])
		for (j = 1; j <= n; j++)
			line = line sprintf(" %" width[j] "s", show(number(cpus[i], list[j])))
		print line
	}
	line = sprintf("  %-4s", "all")
	for (j = 1; j <= n; j++)
		line = line sprintf(" %" width[j] "s", show(total(list[j])))
	print line
}

function tables()
{
	per = rates ? " per second" : ""
	accepted_table()
	reason_table()
	family_table("rfd", "Receive Flow Deliver")
	family_table("epoll", "Fast Epoll, calls")
	family_table("sockfs", "Inodes of sockets")
	family_table("other", "Others")
}

# With gsub() backslashes are more or less in one awk than in another.
function escaped(v,   i, c, result)
{
	result = ""
	for (i = 1; i <= length(v); i++) {
		c = substr(v, i, 1)
		result = result (c == "\\" || c == "\"" ? "\\" : "") c
	}
	return result
}

# ---- JSON ----

function json_value(v)
{
	if (v ~ /^(0|-?[1-9][0-9]*)$/)
		return v
	gsub(/[^ -~]/, "?", v)
	return "\"" escaped(v) "\""
}

function json_counters(cpu,   i, line)
{
	line = ""
	for (i = 1; i <= nnames; i++)
		line = line sprintf("%s\"%s\": %s", i > 1 ? ", " : "", names[i],
			cpu == "all" ? sprintf("%.0f", total(names[i])) : json_value(count[look, cpu, names[i]] + 0 ? count[look, cpu, names[i]] : "0"))
	return line
}

function json(   i)
{
	print "{"
	for (i = 1; i <= nsettings; i++)
		printf "  %s: %s,\n", json_value(settings[i] ""), json_value(setting[settings[i]])
	print "  \"cpus\": ["
	for (i = 1; i <= ncpus; i++)
		printf "    {\"cpu\": %s, %s}%s\n", cpus[i], json_counters(cpus[i]), (i < ncpus ? "," : "")
	print "  ],"
	printf "  \"total\": {%s}\n", json_counters("all")
	print "}"
}

# ---- Prometheus, text format 0.0.4 ----

function metric(name, type, help)
{
	gsub(/[^a-zA-Z0-9_]/, "_", name)
	name = "fastsocket_" name
	print "# HELP " name " " help
	print "# TYPE " name " " type
	return name
}

# labels LIST: with that of the namespace
function labels(list)
{
	if (netns != "")
		list = list (list == "" ? "" : ",") "netns=\"" escaped(netns) "\""
	return list == "" ? "" : "{" list "}"
}

function sample(name, list, value)
{
	print name labels(list) " " value
}

function value_of(cpu, name)
{
	return count[look, cpu, name] ~ /^[0-9]+$/ ? count[look, cpu, name] : 0
}

function prometheus_settings(   i, key)
{
	sample(metric("info", "gauge", "Version of the module and of its statistics."),
		"version=\"" escaped(setting["module"]) "\",interface=\"" escaped(setting["version"]) "\"", 1)
	for (i = 1; i <= nsettings; i++) {
		key = settings[i]
		if (key == "version" || key == "module" || setting[key] !~ /^-?[0-9]+$/)
			continue
		sample(metric(key, "gauge", key in help ? help[key] : "See fastsocket(7)."), "", setting[key])
	}
}

function prometheus_reasons(   i, j, name)
{
	name = ""
	for (i = 1; i <= nnames; i++) {
		if (family(names[i]) != "reason")
			continue
		if (name == "")
			name = metric("native_total", "counter", "SYNs on attached listeners that were served natively, by reason.")
		for (j = 1; j <= ncpus; j++)
			sample(name, "cpu=\"" cpus[j] "\",reason=\"" names[i] "\"", value_of(cpus[j], names[i]))
	}
}

function prometheus(   i, j, name)
{
	prometheus_settings()
	prometheus_reasons()
	for (i = 1; i <= nnames; i++) {
		if (family(names[i]) == "reason")
			continue
		name = metric(names[i] "_total", "counter", names[i] in help ? help[names[i]] : "See fastsocket(7).")
		for (j = 1; j <= ncpus; j++)
			sample(name, "cpu=\"" cpus[j] "\"", value_of(cpus[j], names[i]))
	}
}

BEGIN {
	look = 1
	means["no_worker"] = "no worker of the listener on that CPU"
	means["stalled"] = "the worker of that CPU is not bound yet, does not poll or is gone"
	means["busy"] = "the worker of that CPU was busy, another one idle"
	means["queue_full"] = "the backlog of the listener is used up"
	means["filter"] = "the listener has a socket filter"
	means["md5"] = "the listener has TCP MD5 or AO keys"
	means["tfo"] = "the listener has TCP Fast Open"
	means["fasync"] = "the listener has signal-driven I/O (O_ASYNC)"
	means["xfrm"] = "the listener has an IPsec policy"
	means["syncookies"] = "net.ipv4.tcp_syncookies is 2"
	means["cong"] = "the congestion control of the listener needs ECN"
	means["options"] = "the listener has IPv6 header options or BPF storage"
	means["cgroup"] = "the worker is in another control group than the listener"
	means["migrate"] = "SO_REUSEPORT group with net.ipv4.tcp_migrate_req"
	means["disabled"] = "enable_listen_spawn is 0"

	help["enable_listen_spawn"] = "The parameter: 0 off, 1 bound workers, 2 all workers."
	help["enable_private_bind"] = "The parameter: 0 off, 1 on."
	help["enable_receive_flow_deliver"] = "The parameter: 0 off, 1 on."
	help["enable_fast_epoll"] = "The parameter: 0 off, 1 on."
	help["fast_sockfs"] = "Whether inodes of sockets are used again: 0 no, 1 yes."
	help["listeners"] = "Attached listeners of this network namespace."
	help["workers"] = "Workers of attached listeners."
	help["clones"] = "Local accept queues."
	help["enrolled_processes"] = "Processes that are enrolled."
	help["enrolled_cgroups"] = "Control groups that are enrolled."
	help["local"] = "Connections accepted on the CPU that received their SYN, from its own queue."
	help["remote"] = "Connections accepted from the queue of a CPU by a task on another one."
	help["global"] = "Connections accepted from the queue of the listener itself."
	help["redirected"] = "SYNs that went to a local queue."
	help["drained"] = "Connections moved from a local queue to that of the listener itself."
	help["private"] = "Connections that are listed in bind buckets of their local queue."
	help["published"] = "Sockets moved from there to the bind buckets of the port."
	help["rfd_port"] = "Connections made with a port that names the CPU."
	help["rfd_given"] = "Connections made with a port or a range that the program has chosen."
	help["rfd_any"] = "Connections made with any port because tries with those of the CPU found none free."
	help["rfd_backoff"] = "Connections made with any port, without a try."
	help["rfd_steered"] = "Packets that arrived on another CPU and were sent to that of their port."
	help["rfd_here"] = "Packets that arrived on the CPU of their port."
	help["rfd_syn"] = "SYNs to a port that was handed out once; not steered."
	help["rfd_offline"] = "Packets whose CPU is offline; not steered."
	help["rfd_taken"] = "Ports that a listener has taken over."
	help["epoll_mod"] = "EPOLL_CTL_MOD of sockets without a search."
	help["epoll_del"] = "EPOLL_CTL_DEL of sockets without a search."
	help["epoll_other"] = "Calls of epoll_ctl that were left to the kernel."
	help["sockfs_reused"] = "New sockets with an inode that was kept."
	help["sockfs_fresh"] = "New sockets with an inode from the kernel's cache."
	help["sockfs_kept"] = "Closed sockets whose inode was kept."
	help["sockfs_freed"] = "Closed sockets whose inode went back to the kernel's cache."
	help["sockfs_trimmed"] = "Kept inodes that went back because nobody needed them."
}

$1 == "--" { look++; next }
NF >= 2 { key = $1; sub(/^[^ \t]+[ \t]+/, ""); learn(key, $0) }

END {
	rates = look > 1
	if (!(seconds > 0))
		seconds = 1
	if (mode == "json")
		json()
	else if (mode == "prometheus")
		prometheus()
	else
		tables()
}

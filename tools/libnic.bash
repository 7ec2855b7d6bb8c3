# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What a machine says of its CPUs and of the queues of its NICs. Sourced by fastsocket-nic; it only
# reads, and needs no privileges. FASTSOCKET_ROOT is another root than /, with sys/ and proc/.

root=${FASTSOCKET_ROOT:-}
root=${root%/}
# What is printed can be pasted, so paths are quoted for the shell where they need it.
root_q=${root:+$(printf '%q' "$root")}
# Where ethtool is, and users have no path to. A machine that is made up has what PATH says.
[[ $root ]] || PATH=$PATH:/usr/sbin:/sbin

# first_line FILE: sets line, empty if it cannot be read
first_line()
{
	line=''
	[[ -r $1 ]] || return
	IFS= read -r line 2>/dev/null <"$1"
	[[ $line ]]
}

# ---- CPUs ----

# expand LIST: "0-2,8" as "0 1 2 8"
expand()
{
	local part i
	local -a parts out=()

	IFS=, read -ra parts <<<"$1"
	for part in "${parts[@]}"; do
		for ((i = ${part%-*}; i <= ${part#*-}; i++)); do out+=("$i"); done
	done
	echo "${out[*]}"
}

# mask_of CPU...: as the kernel writes masks, in words of 32 bits
mask_of()
{
	local cpu i top=0
	local -a word=()

	for cpu; do
		((word[cpu / 32] |= 1 << cpu % 32, top = cpu / 32 > top ? cpu / 32 : top))
	done
	printf '%x' "${word[top]-0}"
	for ((i = top - 1; i >= 0; i--)); do printf ',%08x' "${word[i]-0}"; done
	echo
}

# same_mask A B: the kernel pads masks to the number of its CPUs
same_mask()
{
	local a=${1//,/} b=${2//,/}

	a=${a#"${a%%[!0]*}"} b=${b#"${b%%[!0]*}"}
	[[ ${a,,} = "${b,,}" ]]
}

# Where in a port its CPU's code is: CPU = (port >> rfd_shift) & (rfd_codes - 1), as the module has it.
readonly rfd_shift=1

# How many codes RFD has for CPUs: as many as CPUs may ever come, rounded up to a power of two, so
# that no CPU's coming or going changes what a port means.
rfd_encoding()
{
	local possible

	first_line "$root/sys/devices/system/cpu/possible"
	possible=$(expand "${line:-0}")
	rfd_codes=1
	while ((rfd_codes <= ${possible##* })); do ((rfd_codes *= 2)); done
}

# Does the module steer? Without the parameter it cannot.
rfd_enabled()
{
	first_line "$root/sys/module/fastsocket/parameters/enable_receive_flow_deliver" && [[ $line = 1 ]]
}

# online_cpus [LIST]: sets online, of the CPUs in LIST only those
online_cpus()
{
	local cpu wanted

	first_line "$root/sys/devices/system/cpu/online" || return
	read -ra online <<<"$(expand "$line")"
	[[ ${1-} ]] || return 0
	wanted=" $(expand "$1") "
	for cpu in "${!online[@]}"; do
		[[ $wanted = *" ${online[cpu]} "* ]] || unset "online[cpu]"
	done
	online=("${online[@]}")
}

# is_first_thread CPU: no thread of its core that we may use has a lower number
is_first_thread()
{
	local thread

	first_line "$root/sys/devices/system/cpu/cpu$1/topology/thread_siblings_list" || return 0
	for thread in $(expand "$line"); do
		[[ " ${online[*]} " != *" $thread "* ]] || break
	done
	((thread == $1))
}

# cpu_order NODE: the CPUs in the order in which they get queues. Those of the device's node come first, of
# each node a thread of every core before the second threads.
cpu_order()
{
	local cpu rank near=''

	if first_line "$root/sys/devices/system/node/node$1/cpulist" && [[ $line ]]; then
		near=" $(expand "$line") "
	fi
	for cpu in "${online[@]}"; do
		rank=0
		[[ ! $near || $near = *" $cpu "* ]] || rank=2
		is_first_thread "$cpu" || rank=$((rank + 1))
		echo "$rank $cpu"
	done | sort -n -k 1,1 -k 2,2 | while read -r _ cpu; do echo "$cpu"; done
}

# ---- the device ----

# real_devices DEVICE: itself, or the NICs below a bond, VLAN, bridge or the like
real_devices()
{
	local lower below=''

	for lower in "$root/sys/class/net/$1"/lower_*; do
		[[ -e $lower || -L $lower ]] || continue
		below=1
		real_devices "${lower##*/lower_}"
	done
	[[ $below ]] || echo "$1"
}

# ask DEVICE COMMAND...: ethtool's answer in answer; on failure why, in one line
ask()
{
	local device=$1 rc=0
	shift

	answer="ethtool is not installed"
	type -P ethtool >/dev/null || return
	answer=$(LC_ALL=C ethtool "$@" "$device" 2>&1) || rc=$?
	((rc)) || return 0
	answer=$(reason "$answer" $rc)
	return 1
}

# reason TEXT STATUS: what a command that failed said, in a few words
reason()
{
	local text=${1##*: }

	text=${text%%$'\n'*}
	echo "${text:-exit status $2}"
}

# channels DEVICE: sets kind ("combined", "rx" for rings of their own, empty: cannot be set), most, now, and
# channel_words, what "ethtool -L" sets that with
channels()
{
	local text tx

	kind='' most=0 now=0 channel_words=''
	ask "$1" -l || return
	text=$(awk '
		/^Pre-set/ { part = "max" }
		/^Current/ { part = "now" }
		part && $2 ~ /^[0-9]+$/ { v[part, $1] = $2 }
		END {
			if (v["max", "Combined:"] > 0)
				print "combined", v["max", "Combined:"], v["now", "Combined:"] + 0, 0
			else if (v["max", "RX:"] > 0 && v["max", "TX:"] > 0)
				print "rx", v["max", "RX:"] < v["max", "TX:"] ? v["max", "RX:"] : v["max", "TX:"], v["now", "RX:"] + 0, v["now", "TX:"] + 0
		}' <<<"$answer")
	if [[ ! $text ]]; then
		answer="ethtool -l says nothing that can be read"
		return 1
	fi
	read -r kind most now tx <<<"$text"
	channel_words="$kind $now"
	[[ $kind = combined ]] || channel_words+=" tx $tx"
}

# count_queues DEVICE rx|tx
count_queues()
{
	local -a queues

	queues=("$root/sys/class/net/$1/queues/$2"-*)
	[[ -e ${queues[0]} ]] || queues=()
	echo ${#queues[@]}
}

# msi_irqs DEVICE: of its PCI device, which virtio's is behind
msi_irqs()
{
	local dir

	for dir in "$root/sys/class/net/$1/device"{,/..}/msi_irqs; do
		if [[ -d $dir ]]; then
			(cd "$dir" && echo *)
			return
		fi
	done
}

# vectors DEVICE: a line "rx|tx|both INDEX IRQ" for each interrupt of a queue. What a driver calls them is its
# own affair; the number at the end counts queues in all of them. Without MSI it is the device's name that tells.
vectors()
{
	awk -v dev="$1" -v list="$(msi_irqs "$1")" '
	BEGIN {
		n = split(list, irqs, " ")
		for (i = 1; i <= n; i++)
			mine[irqs[i]] = 1
	}
	$1 ~ /^[0-9]+:$/ {
		irq = $1
		sub(/:/, "", irq)
		name = $NF
		at = index(name, dev)
		if (n ? !(irq in mine) : !at)
			next
		sub(/@.*/, "", name)
		whole = name == dev
		if (!whole && at && substr(name, 1, length(dev)) == dev)
			name = substr(name, length(dev) + 1)
		name = tolower(name)
		if (name ~ /async|mgm|ctrl|config|event|misc|fdir|cmd|admin|aeq|pages|err|link|ptp|xdp|mbx|mailbox|oicr|other|lsc|-sp-/)
			next
		if (name !~ /[0-9]$/ && !whole)
			next
		number = name
		sub(/.*[^0-9]/, "", number)
		r = name ~ /rx|input/
		t = name ~ /tx|output/
		kind = whole ? "whole" : r && t ? "both" : r ? "rx" : t ? "tx" : "plain"
		seen[kind]++
		line[++lines] = kind " " number + 0 " " irq
	}
	END {
		# A vector with no more than a number is a queue only where none says that it is one; one that has
		# the name of the device only if it is the only one.
		named = seen["rx"] + seen["tx"] + seen["both"]
		for (i = 1; i <= lines; i++) {
			split(line[i], f, " ")
			if (f[1] == "plain" && named || f[1] == "whole" && lines > 1)
				continue
			print f[1] == "plain" || f[1] == "whole" ? "both" : f[1], f[2], f[3]
		}
	}' "$root/proc/interrupts" 2>/dev/null | sort -k 1,1 -k 2,2n -k 3,3n |
		awk '{ print $1, at[$1]++ + 0, $3 }'
}

# examine DEVICE: sets driver, node, rxq and txq (numbers of queues), channels_why, kind, most, now, and rx_irq and
# tx_irq by queue; tx_irq only where tx queues have interrupts of their own
examine()
{
	local which index irq

	driver=$(readlink "$root/sys/class/net/$1/device/driver")
	driver=${driver##*/}
	node=-1
	! first_line "$root/sys/class/net/$1/device/numa_node" || node=$line
	((node >= 0)) || ! first_line "$root/sys/class/net/$1/device/../numa_node" || node=$line
	rxq=$(count_queues "$1" rx) txq=$(count_queues "$1" tx)
	channels_why=''
	channels "$1" || channels_why=$answer
	rx_irq=() tx_irq=()
	while read -r which index irq; do
		if [[ $which = tx ]]; then
			tx_irq[index]=$irq
		else
			rx_irq[index]=$irq
		fi
	done < <(vectors "$1")
}

affinity()
{
	first_line "$root/proc/irq/$1/smp_affinity_list"
	echo "$line"
}

# indirection DEVICE: sets table, the queue of each entry
indirection()
{
	ask "$1" -x || return
	read -ra table <<<"$(awk '
		/indirection table/ { inside = 1; next }
		inside && !/^ *[0-9]+:/ { inside = 0 }
		inside { for (i = 2; i <= NF; i++) printf "%d ", $i }' <<<"$answer")"
	answer="ethtool -x shows no table"
	((${#table[@]}))
}

# is_spread QUEUES: each of them has its part of table, and no other has one
is_spread()
{
	printf '%s\n' "${table[@]}" | awk -v queues="$1" '
		{ if (++n[$1] == 1) different++; if ($1 >= queues) bad = 1 }
		END {
			for (q in n) if (n[q] < int(NR / queues) || n[q] > int((NR + queues - 1) / queues)) bad = 1
			exit bad || different != (NR < queues ? NR : queues)
		}'
}

# table_words: what "ethtool -X" sets table with; fails if it cannot
table_words()
{
	printf '%s\n' "${table[@]}" | awk '
		{ t[NR - 1] = $1; n[$1]++; if ($1 > max) max = $1; if ($1 < last) unsorted = 1; last = $1 }
		END {
			for (i = 0; i < NR && t[i] == i % (max + 1); i++);
			if (i == NR) {
				print "equal", max + 1
				exit
			}
			if (unsorted)
				exit 1
			printf "weight"
			for (q = 0; q <= max; q++)
				printf " %d", n[q]
			print ""
		}'
}

# ntuple DEVICE: sets filters to on, off, or "fixed" for off that stays off
ntuple()
{
	filters=''
	ask "$1" -k || return
	filters=$(awk '$1 == "ntuple-filters:" { print $2 == "off" && /fixed/ ? "fixed" : $2 }' <<<"$answer")
	answer="ethtool -k says nothing of them"
	[[ $filters ]]
}

# rules DEVICE: sets rules: a line "tcp4|tcp6 PORT MASK QUEUE ID" for each that looks at the destination port
# and at nothing else, "other 0 0 0 ID" for the rest
rules()
{
	rules=''
	ask "$1" -n || return
	rules=$(awk '
		function put() {
			if (id == "")
				return
			print (plain && type && queue != "" && mask != "0xffff") ? type " " port " " mask " " queue : "other 0 0 0", id
			id = ""
		}
		/^Filter:/ { put(); id = $2; plain = 1; type = queue = ""; mask = "0xffff" }
		/Rule Type: TCP over IPv4/ { type = "tcp4" }
		/Rule Type: TCP over IPv6/ { type = "tcp6" }
		/(Src|Dest) IP addr:/ && !/mask: (255\.255\.255\.255|ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff)$/ { plain = 0 }
		/(TOS|Traffic Class):/ && !/mask: 0xff$/ { plain = 0 }
		/Src port:/ && !/mask: 0xffff$/ { plain = 0 }
		/(VLAN|User-defined|Dest MAC|RSS Context)/ { plain = 0 }
		/Dest port:/ { port = $3; mask = $NF }
		/Action: Direct to queue/ { queue = $NF }
		END { put() }' <<<"$answer")
	grep -q '^Total [0-9]* rules' <<<"$answer" && return
	answer="ethtool -n says nothing that can be read"
	return 1
}

# ---- irqbalance ----

# irqbalance_pid: of the running one
irqbalance_pid()
{
	local comm

	for comm in "$root"/proc/[0-9]*/comm; do
		first_line "$comm"
		[[ $line = irqbalance ]] || continue
		comm=${comm%/comm}
		echo "${comm##*/}"
		return
	done
	return 1
}

# irqbalance_spares PID IRQ...: was it told to leave all these alone?
irqbalance_spares()
{
	local irq args

	args=" $(tr '\0' ' ' 2>/dev/null <"$root/proc/$1/cmdline") "
	args=${args//--banirq /--banirq=}
	args=${args// -i / --banirq=}
	shift
	for irq; do
		[[ $args = *" --banirq=$irq "* ]] || return 1
	done
}

# ---- RFD's ports ----

# listening: the ports on which something listens in this network namespace, and the reserved ones, as ranges
listening()
{
	awk '
		BEGIN { hex = "0123456789abcdef" }
		FNR > 1 && $4 == "0A" {
			n = split(tolower($2), part, ":")
			port = 0
			for (i = 1; i <= 4; i++)
				port = port * 16 + index(hex, substr(part[n], i, 1)) - 1
			print port, port
		}' "$root/proc/net/tcp" "$root/proc/net/tcp6" 2>/dev/null
	! first_line "$root/proc/sys/net/ipv4/ip_local_reserved_ports" ||
		tr ',' '\n' <<<"$line" | awk -F- 'NF && $1 != "" { print $1, $NF }'
}

# port_blocks FIRST LAST SMALLEST: the range as blocks "FIRST SIZE", the largest first. A block is what a mask can tell: its
# size is a power of two, and its first port a multiple of it. Ports that must not be caught are read
# from standard input as ranges; blocks with one of them are divided until they are SMALLEST.
port_blocks()
{
	awk -v first="$1" -v last="$2" -v smallest="$3" '
		function divide(from, size) {
			if (from > last || from + size - 1 < first)
				return
			if (from >= first && from + size - 1 <= last && before[from + size] == before[from]) {
				print from, size
				return
			}
			if (size <= smallest)
				return
			divide(from, size / 2)
			divide(from + size / 2, size / 2)
		}
		{ for (i = $1; i <= $2 && i < 65536; i++) bad[i] = 1 }
		END {
			before[0] = 0
			for (i = 0; i < 65536; i++)
				before[i + 1] = before[i] + (i in bad)
			divide(0, 65536)
		}' | sort -k 2,2nr -k 1,1n
}

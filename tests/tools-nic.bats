#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# "fastsocket nic" on machines that are made up: directories with sys/ and proc/, and an ethtool that
# answers as 6.1 does and keeps what it was told. Runs on the host.
bats_require_minimum_version 1.5.0

setup() {
	tool=$BATS_TEST_DIRNAME/../tools/fastsocket
	export FASTSOCKET_ROOT=$BATS_TEST_TMPDIR/root
	root=$FASTSOCKET_ROOT
	mkdir -p "$BATS_TEST_TMPDIR/bin" "$root/proc/net" "$root/proc/sys/net/ipv4" "$root/sys/class/net" "$root/ethtool"
	fake_ethtool
	fake_systemctl
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
	cpus 8
	range 32768 60999
	listeners
}

fail() {
	echo "FAILED: $*" >&2
	return 1
}

# equal WHAT GOT WANTED
equal() { [ "$2" = "$3" ] || fail "$1: '$2', expected '$3'"; }

# ---- machines ----

# put TEXT FILE: with its directories
put() {
	mkdir -p "${2%/*}"
	echo "$1" >"$2"
}

# cpus N: all online, each a core of its own, one node
cpus() {
	put "0-$(($1 - 1))" "$root/sys/devices/system/cpu/online"
	put "0-$(($1 - 1))" "$root/sys/devices/system/cpu/possible"
	put "0-$(($1 - 1))" "$root/sys/devices/system/node/node0/cpulist"
}

# threads CPU,CPU...: they are one core
threads() {
	local cpu
	for cpu in ${1//,/ }; do
		put "$1" "$root/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list"
	done
}

range() { printf '%d\t%d\n' "$1" "$2" >"$root/proc/sys/net/ipv4/ip_local_port_range"; }

# listeners PORT...: IPv4, the last one IPv6
listeners() {
	local port row='  sl  local_address rem_address   st tx_queue'
	echo "$row" >"$root/proc/net/tcp"
	echo "$row" >"$root/proc/net/tcp6"
	for port; do
		printf '   0: 00000000:%04X 00000000:0000 0A 00000000:00000000\n' "$port" >>"$root/proc/net/tcp"
		# One that is connected is none.
		printf '   1: 0100007F:A00F 0100007F:%04X 01 00000000:00000000\n' "$port" >>"$root/proc/net/tcp"
	done
	[ $# = 0 ] || printf '   0: %032d:%04X %032d:0000 0A 00000000:00000000\n' 0 "${!#}" 0 >>"$root/proc/net/tcp6"
}

# nic NAME MOST NOW [SETTING=VALUE...]: settings are files of the ethtool above: driver, vectors (what the driver calls
# them), kind, ntuple, table, and "broken-OPTION", what it does instead
nic() {
	local dev=$1 dir=$root/ethtool/$1 setting
	mkdir -p "$dir" "$root/sys/devices/pci/$dev/msi_irqs" "$root/sys/class/net/$dev"
	: >"$dir/rules"
	put up "$root/sys/class/net/$dev/operstate"
	put 0 "$root/sys/devices/pci/$dev/numa_node"
	put "$2" "$dir/most"
	put combined "$dir/kind"
	put off "$dir/ntuple"
	put 1024 "$dir/room"
	put "$dev-TxRx-" "$dir/vectors"
	put mlx5_core "$dir/driver"
	shift 2
	put "$1" "$dir/now"
	shift
	for setting; do put "${setting#*=}" "$dir/${setting%%=*}"; done
	mkdir -p "$root/sys/bus/drivers/$(<"$dir/driver")"
	ln -s "$root/sys/bus/drivers/$(<"$dir/driver")" "$root/sys/devices/pci/$dev/driver"
	ln -s "../../../devices/pci/$dev" "$root/sys/class/net/$dev/device"
	ethtool --make "$dev" "$(<"$dir/now")"
	: >"$root/log"
}

# virtual NAME DRIVER [LOWER...]
virtual() {
	local dev=$1 lower
	mkdir -p "$root/sys/class/net/$dev" "$root/ethtool/$dev"
	echo "$2" >"$root/ethtool/$dev/driver"
	shift 2
	for lower; do ln -s "../$lower" "$root/sys/class/net/$dev/lower_$lower"; done
}

# irqbalance [ARGUMENT...]
irqbalance() {
	put irqbalance "$root/proc/77/comm"
	printf '%s\0' /usr/sbin/irqbalance --foreground "$@" >"$root/proc/77/cmdline"
}

fake_systemctl() {
	cat >"$BATS_TEST_TMPDIR/bin/systemctl" <<-'END'
		#!/bin/bash
		echo "systemctl $*" >>"$FASTSOCKET_ROOT/log"
		case $1 in
		stop) rm -r "$FASTSOCKET_ROOT/proc/77" ;;
		start) mkdir "$FASTSOCKET_ROOT/proc/77" && echo irqbalance >"$FASTSOCKET_ROOT/proc/77/comm" ;;
		esac
	END
	chmod +x "$BATS_TEST_TMPDIR/bin/systemctl"
}

fake_ethtool() {
	cat >"$BATS_TEST_TMPDIR/bin/ethtool" <<-'END'
		#!/bin/bash
		root=$FASTSOCKET_ROOT
		option=$1 dev=$2 dir=$root/ethtool/$2 all=$*
		shift 2

		# as the driver does it: new interrupts with the default affinity, queues with nothing set
		make_queues() {
			local i n=$1 net=$root/sys/devices/pci/$dev queues=$root/sys/class/net/$dev/queues all name base
			local made=("$root"/ethtool/*/made)
			[ -e "${made[0]}" ] || made=()
			[ -e "$dir/made" ] || echo $((40 + 100 * ${#made[@]})) >"$dir/made"
			read -r base <"$dir/made"
			read -r all <"$root/sys/devices/system/cpu/online"
			read -r name <"$dir/vectors"
			rm -rf "$net/msi_irqs"
			mkdir -p "$net/msi_irqs"
			for ((i = 0; i < n; i++)); do
				[ -e "$queues/rx-$i" ] || {
					mkdir -p "$queues"/{rx,tx}-$i
					echo 00 >"$queues/rx-$i/rps_cpus"
					echo 00 >"$queues/tx-$i/xps_cpus"
				}
				: >"$net/msi_irqs/$((base + i))"
				[ -e "$root/proc/irq/$((base + i))" ] || mkdir -p "$root/proc/irq/$((base + i))"
				echo "$all" >"$root/proc/irq/$((base + i))/smp_affinity_list"
				echo "$((base + i)): $name$i"
			done >"$dir/irqs"
			for ((; i < 64; i++)); do
				[ ! -e "$queues/rx-$i" ] || rm -r "$queues"/{rx,tx}-$i "$root/proc/irq/$((base + i))"
			done
			: >"$net/msi_irqs/$((base + 64))"
			echo "$((base + 64)): $dev-async-0" >>"$dir/irqs"
			{
				echo '            CPU0       CPU1'
				for f in "$root"/ethtool/*/irqs; do
					while read -r irq name; do echo " $irq      0       12  PCI-MSI 524288-edge      $name"; done <"$f"
				done
				echo ' NMI:          0          0   Non-maskable interrupts'
			} >"$root/proc/interrupts"
			echo "$n" >"$dir/now"
			[ -e "$dir/by-hand" ] || default_table
		}

		default_table() {
			local i t=()
			rm -f "$dir/by-hand"
			for ((i = 0; i < 128; i++)); do t[i]=$((i % $(<"$dir/now"))); done
			echo "${t[*]}" >"$dir/table"
		}

		weights() {
			local t=() q=0 w i
			for w; do
				for ((i = 0; i < w; i++)); do t+=($q); done
				((++q))
			done
			echo "${t[*]}" >"$dir/table"
		}

		channels() {
			local rx=n/a tx=n/a combined=n/a
			if [ "$(<"$dir/kind")" = rx ]; then rx=$1 tx=$1; else combined=$1; fi
			printf 'RX:\t\t%s\nTX:\t\t%s\nOther:\t\tn/a\nCombined:\t%s\n' $rx $tx $combined
		}

		not_supported() {
			echo "$1: Operation not supported" >&2
			exit 1
		}

		show_rule() {
			echo "Filter: $1"
			if [ "$2" = tcp6 ]; then
				printf '\tRule Type: TCP over IPv6\n\tSrc IP addr: :: mask: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n'
				printf '\tDest IP addr: :: mask: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n\tTraffic Class: 0x0 mask: 0xff\n'
			else
				printf '\tRule Type: TCP over IPv4\n\tSrc IP addr: %s\n' "${6:-0.0.0.0 mask: 255.255.255.255}"
				printf '\tDest IP addr: 0.0.0.0 mask: 255.255.255.255\n\tTOS: 0x0 mask: 0xff\n'
			fi
			printf '\tSrc port: 0 mask: 0xffff\n\tDest port: %d mask: %s\n\tAction: Direct to queue %s\n\n' "$3" "$4" "$5"
		}

		case $option in
		--make) make_queues "$1"; exit ;;
		-[LXKN]) echo "ethtool $all" >>"$root/log" ;;
		esac
		if [ -e "$dir/broken$option" ]; then
			case $(<"$dir/broken$option") in
			garbage) printf 'what \001 is\n\n: this?\n'; exit 0 ;;
			nothing) exit 0 ;;
			noise) printf 'netlink error: \033[2Jno\r # such thing\n' >&2; exit 1 ;;
			killed) kill -KILL $$ ;;
			tcp6) [[ $all != *tcp6* ]] || { echo 'rmgr: Cannot insert RX class rule: Invalid argument' >&2; exit 1; } ;;
			one-mask) [ "$1" = delete ] || [ ! -s "$dir/rules" ] || [[ $(head -n 1 "$dir/rules") = *" $6 "* ]] || { echo 'rmgr: Cannot insert RX class rule: Invalid argument' >&2; exit 1; } ;;
			*) not_supported 'netlink error' ;;
			esac
		fi
		case $option in
		-l)
			echo "Channel parameters for $dev:"
			echo "Pre-set maximums:"
			channels "$(<"$dir/most")"
			echo "Current hardware settings:"
			channels "$(<"$dir/now")"
			;;
		-L)
			if [ -e "$dir/by-hand" ] && (($2 <= $(tr ' ' '\n' <"$dir/table" | sort -n | tail -n 1))); then
				echo 'netlink error: requested channel counts are too low for existing indirection table settings' >&2
				echo 'netlink error: Invalid argument' >&2
				exit 1
			fi
			make_queues "$2"
			;;
		-x)
			echo "RX flow hash indirection table for $dev with $(<"$dir/now") RX ring(s):"
			tr ' ' '\n' <"$dir/table" | awk '
				(NR - 1) % 8 == 0 { printf "%5d: ", NR - 1 }
				{ printf " %5d", $1 }
				NR % 8 == 0 { print "" }'
			printf 'RSS hash key:\nOperation not supported\nRSS hash function:\n    toeplitz: on\n    xor: off\n    crc32: off\n'
			;;
		-X)
			: >"$dir/by-hand"
			case $1 in
			default) default_table ;;
			equal) for ((i = 0; i < 128; i++)); do t[i]=$((i % $2)); done; echo "${t[*]}" >"$dir/table" ;;
			weight) shift; weights "$@" ;;
			esac
			;;
		-k)
			printf 'Features for %s:\nrx-checksumming: on [fixed]\n\ttx-checksum-ipv4: off [fixed]\n' "$dev"
			echo "ntuple-filters: $(<"$dir/ntuple")"
			echo 'receive-hashing: on'
			;;
		-K) echo "$2" >"$dir/ntuple" ;;
		-n)
			echo "$(<"$dir/now") RX rings available"
			touch "$dir/rules"
			echo "Total $(wc -l <"$dir/rules") rules"
			echo
			while read -r rule; do show_rule $rule; done <"$dir/rules"
			;;
		-N)
			if [ "$1" = delete ]; then
				grep -q "^$2 " "$dir/rules" || { echo 'rmgr: Cannot delete RX class rule: No such file or directory' >&2; exit 1; }
				sed -i "/^$2 /d" "$dir/rules"
				exit
			fi
			id=1023
			[ ! -s "$dir/id" ] || read -r id <"$dir/id"
			mapfile -t r <"$dir/rules"
			((${#r[@]} < $(<"$dir/room"))) || { echo 'rmgr: Cannot insert RX class rule: No space left on device' >&2; exit 1; }
			echo "$id $2 $4 $6 $8" >>"$dir/rules"
			echo $((id - 1)) >"$dir/id"
			echo "Added rule with ID $id"
			;;
		-i) printf 'driver: %s\nversion: 6.1.0\n' "$(<"$dir/driver")" ;;
		*) exit 2 ;;
		esac
	END
	chmod +x "$BATS_TEST_TMPDIR/bin/ethtool"
}

# ---- what is there ----

# all_of_it: everything that can be set, to compare
all_of_it() {
	(cd "$root" && grep -r '' sys/class/net/*/queues proc/irq ethtool/*/{now,table,ntuple,rules} 2>/dev/null | sort
		ls -d proc/77 2>/dev/null || true)
}

commands() { grep -v '^#' <<<"$output" || true; }

# plan STATUS [ARGUMENT...]
plan() {
	local wanted=$1
	shift
	run "$tool" nic "$@"
	echo "$output"
	equal "exit status of nic $*" "$status" "$wanted"
}

# affinities: of the interrupts of the first NIC, in order
affinities() { cat "$root"/proc/irq/*/smp_affinity_list | xargs; }

says() {
	local text
	for text; do [[ $output = *"$text"* ]] || fail "not said: $text"; done
}

says_not() {
	local text
	for text; do [[ $output != *"$text"* ]] || fail "said: $text"; done
}

# ---- queues, interrupts, RSS, XPS, RPS ----

@test "dry run: says what is to be set, changes nothing" {
	nic eth0 63 8
	all_of_it >"$BATS_TEST_TMPDIR/before"
	plan 1
	all_of_it | diff "$BATS_TEST_TMPDIR/before" -
	equal "changes" "$(cat "$root/log")" ""
	[ ! -e "$root/run" ]
	says "echo 0 >$root/proc/irq/40/smp_affinity_list" "echo 7 >$root/proc/irq/47/smp_affinity_list" \
		"echo 80 >$root/sys/class/net/eth0/queues/tx-7/xps_cpus"
	says_not "rps_cpus" "ethtool -L" "ethtool -X" "irq/104/"
	equal "commands" "$(commands | wc -l)" 16
}

@test "apply: a queue per CPU, its interrupt and XPS there, then there is nothing to do" {
	nic eth0 63 4
	plan 1
	equal "first" "$(commands)" "ethtool -L eth0 combined 8"
	plan 0 --apply
	equal "queues" "$(<"$root/ethtool/eth0/now")" 8
	equal "interrupts" "$(affinities)" "0 1 2 3 4 5 6 7"
	equal "XPS" "$(cat "$root"/sys/class/net/eth0/queues/tx-*/xps_cpus | xargs)" "1 2 4 8 10 20 40 80"
	plan 0
	says "nothing to do"
	equal "commands" "$(commands)" ""
}

@test "what is printed can be pasted, until nothing is left to do" {
	nic eth0 63 4 table="0 0 0 0 1 1 2 3" by-hand=yes
	irqbalance
	for _ in 1 2 3; do
		run "$tool" nic --rfd
		[ "$status" != 0 ] || break
		bash -e <<<"$output"
	done
	equal "exit status" "$status" 0
	equal "interrupts" "$(affinities)" "0 1 2 3 4 5 6 7"
	[ -s "$root/ethtool/eth0/rules" ]
}

@test "a queue that has a CPU keeps it, the others get what is free" {
	nic eth0 8 8
	echo 5 >"$root/proc/irq/40/smp_affinity_list"
	echo 5 >"$root/proc/irq/41/smp_affinity_list"
	echo 0 >"$root/proc/irq/47/smp_affinity_list"
	plan 0 --apply
	equal "interrupts" "$(affinities)" "5 1 2 3 4 6 7 0"
}

@test "rings of their own for receiving and sending" {
	nic eth0 16 2 kind=rx
	plan 1
	equal "commands" "$(commands)" "ethtool -L eth0 rx 8 tx 8"
	plan 0 --apply
	plan 0 --undo --apply
	equal "queues" "$(tail -n 1 "$root/log")" "ethtool -L eth0 rx 2 tx 2"
}

@test "fewer queues than CPUs: RPS over all, XPS shared, and said" {
	nic eth0 4 4
	plan 1
	says "cannot: have more queues, 4 for 8 CPUs" "echo ff >$root/sys/class/net/eth0/queues/rx-3/rps_cpus"
	plan 0 --apply
	equal "interrupts" "$(affinities)" "0 1 2 3"
	equal "XPS" "$(cat "$root"/sys/class/net/eth0/queues/tx-*/xps_cpus | xargs)" "11 22 44 88"
	plan 0
}

@test "more queues than CPUs: they share, no queue is taken away" {
	cpus 4
	nic eth0 8 6
	plan 0 --apply
	equal "interrupts" "$(affinities)" "0 1 2 3 0 1"
	equal "changes" "$(cat "$root/log")" ""
	plan 0
}

@test "RPS off where every CPU has a queue" {
	nic eth0 8 8
	echo ff >"$root/sys/class/net/eth0/queues/rx-2/rps_cpus"
	plan 0 --apply
	equal "RPS" "$(<"$root/sys/class/net/eth0/queues/rx-2/rps_cpus")" 0
}

@test "order: the device's node first, of it a thread of every core before the second ones" {
	put 0,2,4,6 "$root/sys/devices/system/node/node0/cpulist"
	put 1,3,5,7 "$root/sys/devices/system/node/node1/cpulist"
	threads 0,2 && threads 1,3 && threads 4,6 && threads 5,7
	nic eth0 6 6
	put 1 "$root/sys/devices/pci/eth0/numa_node"
	plan 0 --apply
	equal "interrupts" "$(affinities)" "1 5 3 7 0 4"
}

@test "order: the second thread is the first where the first is offline" {
	threads 0,2 && threads 1,3 && threads 4,6 && threads 5,7
	put 1-7 "$root/sys/devices/system/cpu/online"
	nic eth0 4 4
	plan 0 --apply
	equal "interrupts" "$(affinities)" "1 2 4 5"
}

@test "offline CPUs get no queue; --cpus leaves out others" {
	put 0-2,5,7 "$root/sys/devices/system/cpu/online"
	nic eth0 63 5
	plan 0 --apply
	equal "interrupts" "$(affinities)" "0 1 2 5 7"
	plan 0 --apply --cpus 0-3,7
	equal "interrupts" "$(affinities)" "0 1 2 0 7"
	plan 2 --cpus 3,4,6
	plan 2 --cpus all
}

@test "masks of more than 32 CPUs, as the kernel pads them" {
	cpus 40
	nic eth0 40 40
	plan 1
	says "echo 80000000 >$root/sys/class/net/eth0/queues/tx-31/xps_cpus" \
		"echo 1,00000000 >$root/sys/class/net/eth0/queues/tx-32/xps_cpus"
	plan 0 --apply
	echo 00000001,00000000 >"$root/sys/class/net/eth0/queues/tx-32/xps_cpus"
	plan 0
}

@test "RSS: an unequal table is spread" {
	nic eth0 8 8 table="0 1 2 3 4 5 6 6 0 1 2 3 4 5 6 6" by-hand=yes
	plan 1
	says "ethtool -X eth0 equal 8"
	plan 0 --apply
	equal "RSS" "$(cut -d ' ' -f 1-9 "$root/ethtool/eth0/table")" "0 1 2 3 4 5 6 7 0"
}

@test "RSS: an equal one in another order is left alone" {
	nic eth0 8 8 table="7 6 5 4 3 2 1 0 0 1 2 3 4 5 6 7" by-hand=yes
	plan 0 --apply
	equal "changes" "$(cat "$root/log")" ""
}

@test "irqbalance: stopped, unless it leaves these interrupts alone; started again" {
	cpus 2
	nic eth0 2 2
	irqbalance --banirq=40 -i 41
	plan 0 --apply
	equal "changes" "$(cat "$root/log")" ""
	irqbalance --banirq=40
	plan 1
	says "systemctl stop irqbalance" "--banirq=40 --banirq=41"
	plan 0 --apply
	plan 0
	plan 0 --undo --apply
	grep -qx 'systemctl start irqbalance' "$root/log"
}

@test "the interrupts of queues are found, whatever the driver calls them" {
	cpus 2
	local names
	for names in 'eth0-TxRx-0 eth0-TxRx-1 eth0' 'i40e-eth0-TxRx-0 i40e-eth0-TxRx-1 i40e-0000:03:00.0:misc' \
		'mlx5_comp0@pci:0000:03:00.0 mlx5_comp1@pci:0000:03:00.0 mlx5_async0@pci:0000:03:00.0' \
		'eth0-Tx-Rx-0 eth0-Tx-Rx-1 ena-mgmnt@pci:0000:00:05.0' 'eth0-txrx-1 eth0-txrx-2 eth0-0' \
		'eth0-rxtx-0 eth0-rxtx-1 eth0-event-2' 'eth0-fp-0 eth0-fp-1 eth0-sp-0'; do
		rm -rf "$root"/ethtool/eth0 "$root"/sys/{devices/pci,class/net}/eth0 "$root/run"
		nic eth0 2 2
		read -ra name <<<"$names"
		sed -Ei "s/eth0-TxRx-0/${name[0]}/; s/eth0-TxRx-1/${name[1]}/; s/eth0-async-0/${name[2]}/" "$root/proc/interrupts"
		plan 1
		equal "$names" "$(commands | sed -n "s,>$root/proc/irq/,,; s,/smp.*,,p" | xargs)" "echo 0 40 echo 1 41"
	done
}

@test "virtio-net: vectors of its PCI device, one for receiving and one for sending; how to get more queues" {
	cpus 4
	nic eth0 2 2 driver=virtio_net
	local pci=$root/sys/devices/pci/eth0
	mkdir "$pci/virtio0"
	mv "$pci/driver" "$pci/virtio0"
	ln -sfn ../../../devices/pci/eth0/virtio0 "$root/sys/class/net/eth0/device"
	rm "$pci"/msi_irqs/*
	touch "$pci"/msi_irqs/{37..41}
	local n=37 name
	for name in config input.0 output.0 input.1 output.1; do
		echo " $n:  0  0 PCI-MSIX-0000:00:03.0   0-edge      virtio0-$name"
		put 0-3 "$root/proc/irq/$n/smp_affinity_list"
		n=$((n + 1))
	done >"$root/proc/interrupts"
	plan 1
	says "virtio_net, 2 of 2 queues" "libvirt" "echo 0 >$root/proc/irq/38/" "echo 0 >$root/proc/irq/39/" \
		"echo 1 >$root/proc/irq/40/" "echo 1 >$root/proc/irq/41/" "echo f >$root/sys/class/net/eth0/queues/rx-1/rps_cpus"
	says_not "irq/37/"
	plan 0 --apply
	plan 0
}

# ---- Receive Flow Deliver ----

# deliver CODES [PORT...]: lets every port go through the rules of both families. Those that are caught have to be
# of the range, without these PORTs, and go to the queue of their CPU, queue and CPU having the same number. Sets caught.
deliver() {
	local family codes=$1 first last not
	shift
	not=$*
	read -r first last <"$root/proc/sys/net/ipv4/ip_local_port_range"
	for family in tcp4 tcp6; do
		mapfile -t r < <(awk -v f=$family '$2 == f { print $3, $4, $5 }' "$root/ethtool/eth0/rules")
		caught[${#caught[@]}]=$(perl -e '
			my ($codes, $first, $last, $not, @rules) = @ARGV;
			my %not = map { $_ => 1 } split / /, $not;
			my $caught = 0;
			for my $port (0 .. 65535) {
				my %to;
				for (@rules) {
					my ($value, $mask, $queue) = split / /;
					my $care = 0xffff & ~hex $mask;
					$to{$queue} = 1 if ($port & $care) == ($value & $care);
				}
				my @to = keys %to or next;
				$caught++;
				die "port $port goes to queues @to\n" if @to > 1;
				die "port $port is not of the range\n" if $port < $first || $port > $last;
				die "port $port is not to be caught\n" if $not{$port};
				die "port $port goes to queue @to\n" if $to[0] != ($port >> 1 & $codes - 1);
			}
			print "$caught\n"' "$codes" "$first" "$last" "$not" "${r[@]}") || return
	done
}

@test "nothing of RFD without the parameter or --rfd; with them ntuple filters" {
	nic eth0 8 8
	plan 0 --apply
	equal "changes" "$(cat "$root/log")" ""
	plan 1 --rfd
	says "ethtool -K eth0 ntuple on" "ethtool -N eth0 flow-type tcp4 dst-port 32774 m 0x3ff1 action 3" \
		"ethtool -N eth0 flow-type tcp6 dst-port 60942 m 0x31 action 7"
	put 1 "$root/sys/module/fastsocket/parameters/enable_receive_flow_deliver"
	plan 1
	says "ethtool -K eth0 ntuple on"
}

@test "rules: every port of the range goes to its CPU's queue, no other is caught" {
	local caught=()
	nic eth0 8 8
	plan 0 --apply --rfd
	deliver 8
	equal "ports" "${caught[*]}" "28224 28224"
	equal "rules" "$(wc -l <"$root/ethtool/eth0/rules")" $((6 * 8 * 2))
	plan 0 --rfd
	plan 0
}

@test "rules: a range that is no block at either end, queues elsewhere than their number says" {
	local caught=()
	range 1025 5003
	cpus 2
	nic eth0 8 2
	plan 0 --apply --rfd
	deliver 2
	equal "ports" "${caught[*]}" "3976 3976"
	plan 0 --undo --apply
	echo 1 >"$root/proc/irq/40/smp_affinity_list"
	plan 1 --rfd
	says "dst-port 2050 m 0x7fd action 0"
}

@test "rules: CPUs that may come have a code too, and no rule while they are not there" {
	local caught=()
	put 0-11 "$root/sys/devices/system/cpu/possible"
	put 0-5 "$root/sys/devices/system/cpu/online"
	nic eth0 8 6
	plan 0 --apply --rfd
	deliver 16
	equal "ports" "${caught[*]}" "$((6 * 28224 / 16)) $((6 * 28224 / 16))"
}

@test "rules: ports on which something listens and reserved ones are not caught" {
	local caught=()
	listeners 80 40000 40001 60000
	put 50000-50020,33000 "$root/proc/sys/net/ipv4/ip_local_reserved_ports"
	cpus 2
	nic eth0 8 2
	plan 0 --apply --rfd
	deliver 2 40000 40001 60000 33000 {50000..50020}
	equal "ports" "${caught[0]}" $((28232 - 4 - 4 - 4 - 24))
}

@test "rules: a listener that comes later: what catches it goes, others' rules stay" {
	local caught=()
	cpus 2
	nic eth0 8 2 ntuple=on rules=$'7 tcp4 8080 0x0 2 \n8 tcp4 45000 0x0 1 10.0.0.1 mask: 0.0.0.255'
	plan 0 --apply --rfd
	listeners 45000
	plan 1
	says "delete 1023"
	plan 0 --apply
	grep -q '^7 tcp4 8080' "$root/ethtool/eth0/rules"
	grep -q '^8 tcp4 45000' "$root/ethtool/eth0/rules"
	sed -i '/^[78] /d' "$root/ethtool/eth0/rules"
	deliver 2 45000
}

@test "rules: at most as many as asked for, the largest blocks first" {
	local caught=()
	nic eth0 8 8
	plan 0 --apply --rfd --rules 40
	equal "rules" "$(wc -l <"$root/ethtool/eth0/rules")" 32
	deliver 8
	equal "ports" "${caught[0]}" $((16384 + 8192))
	says "cover 87 %" "32768 65535"
}

@test "rules: fewer queues than CPUs, those without have none" {
	nic eth0 2 2
	plan 0 --apply --rfd
	equal "queues" "$(cut -d ' ' -f 5 "$root/ethtool/eth0/rules" | sort -u | xargs)" "0 1"
	plan 0
}

@test "rules: an interrupt that cannot be bound is where the kernel says it is" {
	nic eth0 8 8
	ln -sf /proc/version "$root/proc/irq/43/smp_affinity_list"
	put 6 "$root/proc/irq/43/effective_affinity_list"
	plan 1 --apply --rfd --rules 14
	says "refused: Input/output error"
	grep -q '^[0-9]* tcp4 32780 0x3ff1 3 *$' "$root/ethtool/eth0/rules"
	run ! grep -q ' tcp4 32774 ' "$root/ethtool/eth0/rules"
	plan 0 --rules 14
	says "cannot: echo 3 >$root/proc/irq/43/"
}

# ---- what NICs refuse ----

@test "refused: IPv6 rules, further masks, a full table, filters at all; said, and then there is nothing to do" {
	local caught
	cpus 2
	nic eth0 8 2 broken-N=tcp6
	plan 1 --apply --rfd
	says "cannot: take 14 of these 28 rules (Invalid argument): the module steers"
	plan 0
	says "cannot: take 14 of these 28 rules (Invalid argument)"
	plan 0 --undo --apply
	rm "$root/ethtool/eth0/broken-N"

	put one-mask "$root/ethtool/eth0/broken-N"
	plan 1 --apply --rfd
	says "net.ipv4.ip_local_port_range = 32768 65535"
	caught=()
	deliver 2
	equal "ports" "${caught[*]}" "16384 16384"
	plan 0
	plan 0 --undo --apply
	rm "$root/ethtool/eth0/broken-N"

	put 5 "$root/ethtool/eth0/room"
	plan 1 --apply --rfd
	says "No space left on device"
	equal "rules" "$(wc -l <"$root/ethtool/eth0/rules")" 5
	caught=()
	deliver 2
	plan 0
	plan 0 --undo --apply

	put 'off [fixed]' "$root/ethtool/eth0/ntuple"
	plan 0 --apply --rfd
	says "cannot: ntuple filters: the module steers"
}

@test "refused: the number of queues; the rest is done with those that are there" {
	nic eth0 8 4 broken-L=no
	plan 1 --apply
	says "refused: Operation not supported"
	equal "interrupts" "$(affinities)" "0 1 2 3"
	equal "RPS" "$(<"$root/sys/class/net/eth0/queues/rx-3/rps_cpus")" ff
	plan 0
	says "cannot: ethtool -L eth0 combined 8"
}

@test "refused with words that are no text: they do not reach the terminal" {
	nic eth0 8 4 broken-L=noise
	plan 1 --apply
	says "such thing"
	run ! grep -q '[[:cntrl:]]' <<<"$output"
}

@test "a driver that says yes and does nothing is found out" {
	nic eth0 8 4 broken-L=nothing
	plan 1 --apply
	says "not as it should be after all: ethtool -L eth0 combined 8"
	equal "interrupts" "$(affinities)" "0 1 2 3"
}

@test "an answer that is broken stops nothing and is said" {
	local option how
	cpus 2
	for option in -l -x -k -n; do
		for how in garbage nothing killed no; do
			rm -rf "$root"/ethtool/eth0 "$root"/sys/{devices/pci,class/net}/eth0 "$root/run"
			nic eth0 8 2 ntuple=on "broken$option=$how"
			plan 1 --rfd --rules 4
			says "irq/41/smp_affinity_list" "tx-1/xps_cpus"
			[ $option = -l ] || says "cannot: "
			[ $option = -k ] || [ $option = -n ] || says "dst-port 32770"
			plan 0 --apply --rfd --rules 4
			equal "interrupts, $option $how" "$(affinities)" "0 1"
			plan 0 --undo --apply
			equal "interrupts, $option $how" "$(affinities)" "0-1 0-1"
		done
	done
}

@test "no ethtool: said, and the rest is planned" {
	local dir=$BATS_TEST_TMPDIR/only program
	nic eth0 8 8
	mkdir "$dir"
	for program in awk bash cat cut env grep mkdir mv printf readlink rm sed sort tr wc; do
		ln -s "$(type -P $program)" "$dir/$program"
	done
	PATH=$dir plan 1 --rfd
	says "ethtool is not installed" "irq/47/smp_affinity_list" "tx-7/xps_cpus"
	says_not "command not found"
}

# ---- the way back ----

@test "undo brings back exactly what was there" {
	nic eth0 63 3 table="0 0 1 1 2 2 2 2" by-hand=yes ntuple=on rules='7 tcp4 8080 0x0 2 '
	nic eth1 63 8
	irqbalance
	echo 2-3 >"$root/proc/irq/41/smp_affinity_list"
	echo 5 >"$root/proc/irq/144/smp_affinity_list"
	echo 0f >"$root/sys/class/net/eth0/queues/rx-1/rps_cpus"
	echo 03 >"$root/sys/class/net/eth1/queues/tx-6/xps_cpus"
	all_of_it >"$BATS_TEST_TMPDIR/before"
	plan 0 --apply --rfd --rules 16
	run ! diff <(all_of_it) "$BATS_TEST_TMPDIR/before"
	# A second time: what was there at first counts.
	range 32768 65535
	plan 0 --apply --rules 16
	plan 1 --undo
	plan 0 --undo --apply
	all_of_it | diff "$BATS_TEST_TMPDIR/before" -
	[ ! -e "$root/run/fastsocket/nic-eth0" ] && [ ! -e "$root/run/fastsocket/nic-eth1" ]
	plan 0 --undo --apply
	says "nothing was applied"
}

@test "undo: what is refused is said, and the way back is kept" {
	nic eth0 8 8
	plan 0 --apply --rfd --rules 16
	put no "$root/ethtool/eth0/broken-N"
	plan 1 --undo --apply
	says "refused: Operation not supported"
	[ -e "$root/run/fastsocket/nic-eth0" ]
	rm "$root/ethtool/eth0/broken-N"
	plan 0 --undo --apply
	equal "rules" "$(cat "$root/ethtool/eth0/rules")" ""
}

@test "undo before anything was applied: a script to keep" {
	nic eth0 8 8
	echo 3-4 >"$root/proc/irq/42/smp_affinity_list"
	all_of_it >"$BATS_TEST_TMPDIR/before"
	plan 0 --undo
	commands >"$BATS_TEST_TMPDIR/back"
	plan 1
	bash -e <<<"$output"
	plan 0
	bash -e "$BATS_TEST_TMPDIR/back"
	all_of_it | diff "$BATS_TEST_TMPDIR/before" -
}

@test "nothing is changed where nothing can be saved" {
	nic eth0 8 8
	all_of_it >"$BATS_TEST_TMPDIR/before"
	: >"$root/run"
	plan 2 --apply
	says "nothing was changed"
	all_of_it | diff "$BATS_TEST_TMPDIR/before" -
}

# ---- devices ----

@test "bonds, VLANs and bridges: the NICs below, each once" {
	nic eth0 8 8
	nic eth1 8 8
	virtual bond0 bonding eth0 eth1
	virtual bond0.5 802.1Q bond0
	virtual br0 bridge bond0.5 veth0
	virtual veth0 veth
	plan 1 br0 eth0
	equal "devices" "$(sed -nE 's/^# ([a-z0-9]+): .*(NUMA|veth:).*/\1/p' <<<"$output" | sort | xargs)" "eth0 eth1 veth0"
	plan 1
	equal "NICs" "$(grep -c NUMA <<<"$output")" 2
}

@test "loopback, veth and others without hardware: said why, nothing to do" {
	virtual lo ''
	virtual veth0 veth
	virtual dummy0 dummy
	plan 0 lo veth0 dummy0
	says "lo: loopback" "veth0: veth" "dummy0: no hardware"
	plan 0
	says "there is no NIC"
}

@test "a NIC that is down is left out unless it is named" {
	nic eth0 8 8
	put down "$root/sys/class/net/eth0/operstate"
	plan 0
	plan 1 eth0
}

@test "a name that the shell would read otherwise is quoted" {
	nic 'a;b$c' 8 4
	plan 1
	says 'ethtool -L a\;b\$c combined 8'
	plan 0 --apply
	plan 0
}

@test "one CPU: nothing to do" {
	cpus 1
	nic eth0 8 1
	echo 0 >"$root/proc/irq/40/smp_affinity_list"
	plan 0 --rfd
	equal "commands" "$(commands)" ""
}

@test "wrong use: 2, a word why, nothing done" {
	nic eth0 8 8
	plan 2 eth7
	says "there is no device eth7"
	plan 2 ../net/eth0
	plan 2 --aply
	plan 2 --rules
	plan 2 --rules many
	plan 2 --rules 0-3
	plan 2 --cpus 0-
	plan 2 --apply eth0 eth7
	equal "changes" "$(cat "$root/log")" ""
	equal "interrupts" "$(affinities | tr ' ' '\n' | sort -u)" "0-7"
	plan 0 --help
	says "Exit status"
}

@test "without root: the dry run works, --apply is refused" {
	[ "$EUID" = 0 ] || skip "needs root to become somebody else"
	install -d "$BATS_TEST_TMPDIR/tools"
	install -m 755 "$BATS_TEST_DIRNAME"/../tools/fastsocket{,-nic} "$BATS_TEST_TMPDIR/tools"
	install -m 644 "$BATS_TEST_DIRNAME/../tools/libnic.bash" "$BATS_TEST_TMPDIR/tools"
	nic eth0 8 8
	chmod -R a+rX "$BATS_RUN_TMPDIR"
	tool=$BATS_TEST_TMPDIR/tools/fastsocket
	run setpriv --reuid=65534 --regid=65534 --clear-groups "$tool" nic
	equal "exit status" "$status" 1
	says "irq/47/smp_affinity_list"
	run setpriv --reuid=65534 --regid=65534 --clear-groups env -u FASTSOCKET_ROOT "$tool" nic --apply
	equal "exit status" "$status" 2
	says "needs root"
}

@test "installed, the command finds its parts" {
	nic eth0 8 8
	make -s -C "$BATS_TEST_DIRNAME/../tools" install O="$BATS_TEST_TMPDIR/o" DESTDIR="$BATS_TEST_TMPDIR/to" PREFIX=/usr
	tool=$BATS_TEST_TMPDIR/to/usr/bin/fastsocket
	plan 1
	says "irq/47/smp_affinity_list"
}

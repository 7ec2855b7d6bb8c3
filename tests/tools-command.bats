#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The fastsocket command but for "nic", on machines that are made up: directories with proc/, sys/ and etc/, and programs that
# answer for them. The command is installed as users have it. Runs on the host.
bats_require_minimum_version 1.5.0

setup_file() {
	make -s -C "$BATS_TEST_DIRNAME/../tools" install O="$BATS_FILE_TMPDIR/o" DESTDIR="$BATS_FILE_TMPDIR/to" PREFIX=/usr
}

setup() {
	usr=$BATS_FILE_TMPDIR/to/usr
	tool=$usr/bin/fastsocket
	bin=$BATS_TEST_TMPDIR/bin
	export FASTSOCKET_ROOT=$BATS_TEST_TMPDIR/root LC_ALL=C.UTF-8
	root=$FASTSOCKET_ROOT
	unset LD_PRELOAD
	mkdir -p "$bin" "$root/proc/net" "$root/proc/sys" "$root/sys"
	PATH=$bin:$PATH
	: >"$root/log"
	enrol_program
	put 6.1.0-9-amd64 "$root/proc/sys/kernel/osrelease"
	cpus 4
	for program in ss dmesg journalctl dkms mokutil modinfo ethtool nginx; do stand_in $program </dev/null; done
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

# cpus N: all online
cpus() {
	put "0-$(($1 - 1))" "$root/sys/devices/system/cpu/online"
	put "0-$(($1 - 1))" "$root/sys/devices/system/cpu/possible"
}

# stand_in PROGRAM: answers by the script that is standard input, and says nothing if that is empty
stand_in() {
	{ echo '#!/bin/bash' && cat; } >"$bin/$1"
	chmod +x "$bin/$1"
}

# enrol_program: a fastsocket-enrol that keeps what it was told, and ends as the file enrol-status says
enrol_program() {
	cat >"$usr/libexec/fastsocket/fastsocket-enrol" <<-'END'
		#!/bin/bash
		echo "enrol $*" >>"$FASTSOCKET_ROOT/log"
		rc=0
		[ ! -e "$FASTSOCKET_ROOT/enrol-status" ] || rc=$(<"$FASTSOCKET_ROOT/enrol-status")
		[ "$rc" = 0 ] || echo "fastsocket-enrol: it says $rc" >&2
		exit "$rc"
	END
	chmod 755 "$usr/libexec/fastsocket/fastsocket-enrol"
}

# module [PARAMETER=VALUE...]: loaded, nothing counted yet
module() {
	local setting
	put 0.1.0 "$root/sys/module/fastsocket/version"
	put 1 "$root/proc/sys/kernel/ftrace_enabled"
	put '' "$root/sys/kernel/btf/vmlinux"
	for setting in enable_listen_spawn=2 enable_private_bind=1 enable_receive_flow_deliver=0 enable_fast_epoll=1 "$@"; do
		put "${setting#*=}" "$root/sys/module/fastsocket/parameters/${setting%%=*}"
	done
	echo 'address port cpu pid workers queue accepts state' >"$root/proc/net/fsocket_listeners"
	counters
}

columns="local remote global redirected drained no_worker stalled busy queue_full filter md5 tfo fasync xfrm syncookies cong options
	cgroup migrate disabled private published rfd_port rfd_given rfd_any rfd_backoff rfd_steered rfd_here rfd_syn rfd_offline rfd_taken epoll_mod epoll_del
	epoll_other sockfs_reused sockfs_fresh sockfs_kept sockfs_freed sockfs_trimmed"

# counters [CPU.NAME=VALUE | KEY=VALUE]...: what the module says of itself, on CPUs 0 and 1
counters() {
	local cpu name setting
	local -A value=()
	for setting; do value[${setting%%=*}]=${setting#*=}; done
	{
		echo version 1
		echo module 0.1.0
		for name in enable_listen_spawn=2 enable_private_bind=1 enable_receive_flow_deliver=0 enable_fast_epoll=1 fast_sockfs=1 listeners=1 workers=4 clones=4 \
			enrolled_processes=0 enrolled_cgroups=1; do
			echo "${name%=*} ${value[${name%=*}]:-${name#*=}}"
			unset "value[${name%=*}]"
		done
		for cpu in 0 1; do
			for name in $columns; do
				echo "cpu$cpu.$name ${value[$cpu.$name]:-0}"
				unset "value[$cpu.$name]"
			done
		done
		# What is new.
		for name in "${!value[@]}"; do
			if [[ $name = [0-9]*.* ]]; then echo "cpu$name ${value[$name]}"; else echo "$name ${value[$name]}"; fi
		done | sort
	} >"$root/proc/net/fastsocket"
}

# listener ADDRESS PORT WORKERS-OF-CPU0 WORKERS-OF-CPU1... [pid=PID]: attached
listener() {
	local address=$1 port=$2 cpu=0 sum=0 n pid=0
	shift 2
	[[ ${!#} != pid=* ]] || pid=${!##pid=}
	for n; do
		[[ $n != pid=* ]] || continue
		sum=$((sum + n))
		[ "$n" = 0 ] || echo "$address $port $cpu $pid $n 0 7 live" >>"$root/proc/net/fsocket_listeners"
		cpu=$((cpu + 1))
	done
	echo "$address $port - 0 $sum 0 3 live" >>"$root/proc/net/fsocket_listeners"
}

# sockets LINE...: what ss says of TCP
sockets() {
	printf '%s\n' "$@" >"$root/ss"
	stand_in ss <<<'[[ $* != *M* ]] && cat "$FASTSOCKET_ROOT/ss"'
}

# process PID NAME PARENT CPUS GROUP
process() {
	put "$2" "$root/proc/$1/comm"
	printf 'Name:\t%s\nPPid:\t%d\nCpus_allowed_list:\t%s\n' "$2" "$3" "$4" >"$root/proc/$1/status"
	echo "0::$5" >"$root/proc/$1/cgroup"
}

# control_groups GROUP...: a hierarchy of version 2
control_groups() {
	local group
	put '30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw' "$root/proc/self/mountinfo"
	put '' "$root/sys/fs/cgroup/cgroup.procs"
	put '' "$root/sys/fs/cgroup/cgroup.controllers"
	for group; do
		put domain "$root/sys/fs/cgroup$group/cgroup.type"
		put '' "$root/sys/fs/cgroup$group/cgroup.procs"
		put '' "$root/sys/fs/cgroup$group/cgroup.controllers"
	done
}

# systemd_runs: with units that are files in units/, lines PROPERTY=VALUE
systemd_runs() {
	mkdir -p "$root/run/systemd/system" "$root/units"
	stand_in systemctl <<-'END'
		echo "systemctl $*" >>"$FASTSOCKET_ROOT/log"
		command=$1
		shift
		[ ! -e "$FASTSOCKET_ROOT/fails-$command" ] || exit 1
		[ "$command" = show ] || exit 0
		while [ $# -gt 0 ]; do
			case $1 in
			--property) wanted=$2; shift ;;
			--value) value=yes ;;
			--) ;;
			*) unit=$1 ;;
			esac
			shift
		done
		file=$FASTSOCKET_ROOT/units/$unit
		if [ ! -e "$file" ]; then
			file=$FASTSOCKET_ROOT/not-found
			printf '%s\n' LoadState=not-found ActiveState=inactive ControlGroup= >"$file"
		fi
		grep -E "^(${wanted//,/|})=" "$file" | if [ "${value:-}" ]; then cut -d= -f2-; else cat; fi
	END
}

# unit NAME [PROPERTY=VALUE...]: installed by a package
unit() {
	local name=$1
	shift
	put "[Service]
ExecStart=/bin/true" "$root/usr/lib/systemd/system/$name"
	[ ! -d "$root/units" ] || printf '%s\n' LoadState=loaded ActiveState=active "ControlGroup=/system.slice/$name" "$@" >"$root/units/$name"
}

drop_in() { echo "$root/etc/systemd/system/$1.d/50-fastsocket.conf"; }

# ---- what is said ----

# fastsocket STATUS ARGUMENT...
fastsocket() {
	local wanted=$1
	shift
	run timeout 60 "$tool" "$@"
	echo "$output"
	equal "exit status of fastsocket $*" "$status" "$wanted"
}

says() {
	local text
	for text; do [[ $output = *"$text"* ]] || fail "not said: $text"; done
}

says_not() {
	local text
	for text; do [[ $output != *"$text"* ]] || fail "said: $text"; done
}

log() { cat "$root/log"; }

# json EXPRESSION: of the output, in Perl, where the object is $o
json() { perl -MJSON::PP -e 'local $/; my $o = decode_json(<STDIN>); print scalar(do { '"$1"' })' <<<"$output"; }

# row NAME: of the first table, blanks squeezed
row() { grep -E "^ +$1 " <<<"$output" | head -n 1 | xargs; }

# ---- stat ----

@test "stat: per CPU and in total, locality, and the reasons that occurred" {
	module
	counters 0.local=900 1.local=60 1.global=40 0.redirected=900 1.redirected=60 1.no_worker=30 0.drained=2 1.busy=10
	fastsocket 0 stat
	equal "CPU 0" "$(row 0)" "0 900 0 0 100.0% 900 2"
	equal "CPU 1" "$(row 1)" "1 60 0 40 60.0% 60 0"
	equal "all" "$(row all)" "all 960 0 40 96.0% 960 2"
	equal "no_worker" "$(row no_worker)" "no_worker 30 no worker of the listener on that CPU (3.0%)"
	says "busy "
	says_not stalled "Receive Flow Deliver" "Fast Epoll" "Inodes"
}

@test "stat: tables of RFD, epoll and inodes where something was counted" {
	module
	counters 0.rfd_port=5 1.rfd_port=6 1.rfd_any=1 0.epoll_mod=70 1.sockfs_reused=8
	fastsocket 0 stat
	says "Receive Flow Deliver" "Fast Epoll" "Inodes of sockets"
	equal "RFD" "$(sed -n '/Receive/,/all/p' <<<"$output" | tail -n 1 | xargs)" "all 11 1"
	equal "RFD, CPU 1" "$(sed -n '/Receive/,/all/p' <<<"$output" | sed -n 4p | xargs)" "1 6 1"
}

@test "stat --json: one object with every key, numbers as the kernel has them" {
	module
	counters 0.local=18446744073709551615 1.no_worker=7 0.no_worker=1 listeners=3 note='a "word" \ more'
	fastsocket 0 stat --json
	equal "a setting" "$(json '$o->{listeners}')" 3
	equal "a counter" "$(grep -o '"local": 18446744073709551615' <<<"$output" | head -n 1)" '"local": 18446744073709551615'
	equal "CPU" "$(json '$o->{cpus}[1]{cpu} . $o->{cpus}[1]{no_worker}')" 17
	equal "sum" "$(json '$o->{total}{no_worker}')" 8
	equal "keys" "$(json 'scalar(keys %{$o->{cpus}[0]})')" $(($(wc -w <<<"$columns") + 1))
	equal "text" "$(json '$o->{note}')" 'a "word" \ more'
	equal "module" "$(json '$o->{module}')" 0.1.0
}

# The grammar of format 0.0.4, and more: each metric has its HELP, then its TYPE, then its samples and nothing after
# that; no sample twice; counters end in _total, and nothing else does.
exposition() {
	awk '
		function bad(why) { print "line " NR ": " why ": " $0; failed = 1 }
		/^# HELP / { if ($3 in helped) bad("second HELP"); helped[$3] = 1; last = $3; if (NF < 4) bad("no text"); next }
		/^# TYPE / {
			if ($3 != last || NF != 4) bad("TYPE")
			if (($4 == "counter") != ($3 ~ /_total$/)) bad("name and type")
			if ($4 !~ /^(counter|gauge)$/) bad("type")
			type = $4; next
		}
		/^[a-zA-Z_:][a-zA-Z0-9_:]*({[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*"(,[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*")*})? -?[0-9]+$/ {
			name = $1; sub(/{.*/, "", name)
			if (name != last) bad("not below its HELP")
			key = $0; sub(/ -?[0-9]+$/, "", key)
			if (key in samples) bad("twice")
			samples[key] = 1; n++
			next
		}
		{ bad("what is this") }
		END { if (!n) { print "no sample"; failed = 1 } exit failed }' <<<"$output"
}

@test "stat --prometheus: text format 0.0.4, counters end in _total, labels cpu and reason" {
	module
	counters 0.local=5 1.no_worker=7 1.rfd_port=9 'strange key'=1 strange-key=4
	fastsocket 0 stat --prometheus
	exposition
	says 'fastsocket_local_total{cpu="0"} 5' 'fastsocket_native_total{cpu="1",reason="no_worker"} 7' 'fastsocket_rfd_port_total{cpu="1"} 9' \
		'fastsocket_info{version="0.1.0",interface="1"} 1' 'fastsocket_listeners 1' 'fastsocket_strange_key 4'
	equal "reasons" "$(grep -c '^fastsocket_native_total{cpu="0"' <<<"$output")" 15
	equal "HELP of none is missing" "$(grep -c 'See fastsocket' <<<"$output")" 1
	# The check itself can fail.
	output=$(printf '%s\n' "$output" 'fastsocket_local_total{cpu="0"} 5')
	run exposition
	equal "a sample twice and in another's place" "$status" 1
}

@test "stat: what a newer module counts is shown, and taken for no reason" {
	module
	counters 0.redirected=50 0.no_worker=50 0.binds=4 0.sockfs_new=3 1.binds=5
	fastsocket 0 stat
	says Others binds "(50.0%)" Inodes
	fastsocket 0 stat --prometheus
	says 'fastsocket_binds_total{cpu="1"} 5' 'fastsocket_sockfs_new_total{cpu="0"} 3'
	exposition
	fastsocket 0 stat --json
	equal "sum" "$(json '$o->{total}{binds}')" 9
}

@test "stat: every awk that Debian may have prints the same" {
	local other
	module
	counters 0.local=5 1.no_worker=7 1.rfd_port=9 0.redirected=12345678901 note='"a" \ & b'
	for mode in '' --json --prometheus; do
		run -0 "$tool" stat $mode
		echo "$output" >"$BATS_TEST_TMPDIR/first"
		for other in mawk gawk original-awk 'busybox awk'; do
			type -P "${other%% *}" >/dev/null || continue
			stand_in awk <<<"exec $other \"\$@\""
			run -0 "$tool" stat $mode
			diff "$BATS_TEST_TMPDIR/first" - <<<"$output"
			rm "$bin/awk"
		done
	done
	type -P busybox >/dev/null
}

# time_passes: "sleep" is no pause, but what happens on this machine meanwhile: the scripts in later/, one each time
time_passes() {
	put '100.00 50' "$root/proc/uptime"
	stand_in sleep <<-'END'
		echo "sleep $*" >>"$FASTSOCKET_ROOT/log"
		for script in "$FASTSOCKET_ROOT"/later/*; do
			[ -e "$script" ] || exit 1
			. "$script"
			rm "$script"
			exit
		done
	END
	mkdir "$root/later"
}

# later N UPTIME COUNTER...
later() {
	local n=$1 uptime=$2
	shift 2
	counters "$@"
	mv "$root/proc/net/fastsocket" "$root/look-$n"
	printf 'cp "%s" "%s"\necho "%s 1" >"%s"\n' "$root/look-$n" "$root/proc/net/fastsocket" "$uptime" "$root/proc/uptime" >"$root/later/$n"
}

@test "stat --watch: without a terminal reports follow each other, with what was counted per second" {
	module
	time_passes
	later 1 102.00 0.local=1200 0.redirected=1200 1.global=100 1.no_worker=100
	later 2 106.00 0.local=1202 0.redirected=1202 1.global=100 1.no_worker=100 1.busy=100
	counters 0.local=1000 0.redirected=1000 1.global=100 1.no_worker=50
	fastsocket 0 stat --watch 2.5 --count 2
	says_not $'\033'
	equal "pauses" "$(log | xargs)" "sleep 2.5 sleep 2.5"
	equal "reports" "$(grep -c '^fastsocket.ko 0.1.0' <<<"$output")" 2
	equal "first, CPU 0" "$(row 0)" "0 100 0 0 100.0% 100 0"
	equal "first, reason" "$(row no_worker)" "no_worker 25.0 no worker of the listener on that CPU (20.0%)"
	output=$(awk '/^fastsocket.ko/ { n++ } n == 2' <<<"$output")
	equal "second, CPU 0" "$(row 0)" "0 0.5 0 0 100.0% 0.5 0"
	equal "second, reason" "$(row busy)" "busy 25.0 the worker of that CPU was busy, another one idle (98.0%)"
	says_not no_worker
}

@test "stat --watch: a module that was loaded anew does not count backwards" {
	module
	time_passes
	later 1 101.00 0.local=30 0.redirected=30
	counters 0.local=1000 0.redirected=1000
	fastsocket 0 stat --watch --count 1
	equal "CPU 0" "$(row 0)" "0 30.0 0 0 100.0% 30.0 0"
	equal "pause" "$(log)" "sleep 1"
	says "enrolled: 0 processes, 1 control groups"
	# Another network namespace does not show what is enrolled.
	later 1 102.00
	sed -i '/^enrolled/d' "$root/look-1"
	cp "$root/look-1" "$root/proc/net/fastsocket"
	fastsocket 0 stat --watch --count 1
	says_not enrolled
}

@test "stat --watch: the module goes while it watches: 3, and a word" {
	module
	time_passes
	printf 'rm -r "%s" "%s"\n' "$root/sys/module/fastsocket" "$root/proc/net/fastsocket" >"$root/later/1"
	fastsocket 3 stat --watch
	says "the module is not loaded"
}

# on_terminal KEYS [COMMAND]: stat --watch on a terminal of 100 columns; KEYS are typed after the first rates, COMMAND gets its PID
on_terminal() {
	module
	counters 0.local=1000
	cat >"$BATS_TEST_TMPDIR/session" <<-END
		stty rows 24 columns 100
		stty -a >"$BATS_TEST_TMPDIR/before"
		"$tool" stat --watch 0.2 &
		echo \$! >"$BATS_TEST_TMPDIR/pid"
		fg >/dev/null
		echo \$? >"$BATS_TEST_TMPDIR/status"
		stty -a >"$BATS_TEST_TMPDIR/after"
	END
	mkfifo "$BATS_TEST_TMPDIR/keys"
	# Not as what a shell starts in the background, which ignores Ctrl-C.
	TERM=xterm env --default-signal script -qec "bash -m $BATS_TEST_TMPDIR/session" "$BATS_TEST_TMPDIR/screen" <"$BATS_TEST_TMPDIR/keys" >/dev/null 3>&- &
	local session=$!
	exec 7>"$BATS_TEST_TMPDIR/keys"
	for _ in {1..100}; do
		! grep -q 'locality' "$BATS_TEST_TMPDIR/screen" 2>/dev/null || break
		sleep 0.1
	done
	printf '%b' "$1" >&7
	[ ! "${2:-}" ] || "${@:2}" "$(<"$BATS_TEST_TMPDIR/pid")"
	for _ in {1..50}; do [ ! -s "$BATS_TEST_TMPDIR/after" ] || break; sleep 0.1; done
	exec 7>&-
	[ -s "$BATS_TEST_TMPDIR/after" ] || kill "$session" "$(<"$BATS_TEST_TMPDIR/pid")"
	wait "$session" || true
	diff "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
	# The last thing on the other screen is that it is left, and that the cursor is back.
	[[ $(<"$BATS_TEST_TMPDIR/screen") = *$'\033[?1049h\033[?25l'*"Accepted connections per second"*$'\033[?25h\033[?1049l'* ]]
	equal "left once" "$(grep -o '1049l' "$BATS_TEST_TMPDIR/screen" | wc -l)" 1
}

@test "stat --watch: on a terminal q ends it, and the terminal is as before" {
	on_terminal xyq
	equal "exit status" "$(<"$BATS_TEST_TMPDIR/status")" 0
}

@test "stat --watch: Ctrl-C ends it in the same way" {
	on_terminal '\003'
	equal "exit status" "$(<"$BATS_TEST_TMPDIR/status")" 0
}

@test "stat --watch: so does a signal" {
	on_terminal '' kill -TERM
	equal "exit status" "$(<"$BATS_TEST_TMPDIR/status")" 143
}

@test "stat: 3 without the module, and with one that has no /proc/net/fastsocket" {
	local mode
	for mode in '' --json --prometheus --watch; do
		run --separate-stderr -3 "$tool" stat $mode
		equal "output" "$output" ""
		equal "message" "$stderr" "fastsocket: stat: the module is not loaded (modprobe fastsocket)"
	done
	put 0.0.9 "$root/sys/module/fastsocket/version"
	put 'cpu local' "$root/proc/net/fsocket_stats"
	fastsocket 3 stat
	says "older than this command" "/proc/net/fastsocket" "fastsocket status"
}

@test "stat --netns: of a process without privileges, of a name by nsenter, with a label for Prometheus" {
	module
	counters 0.local=1
	mkdir -p "$root/proc/77/net" "$root/run/netns"
	cp "$root/proc/net/fastsocket" "$root/proc/77/net"
	sed -i 's/^cpu0.local .*/cpu0.local 77/' "$root/proc/77/net/fastsocket"
	: >"$root/run/netns/blue"
	stand_in nsenter <<-'END'
		echo "nsenter $*" >>"$FASTSOCKET_ROOT/log"
		[ ! -e "$FASTSOCKET_ROOT/no-entry" ] || exit 1
		[ "$2" = cat ] || exit 9
		[ "$3" != "$FASTSOCKET_ROOT/proc/net/fastsocket" ] || sed 's/^cpu0.local .*/cpu0.local 55/' "$3"
	END
	fastsocket 0 stat --netns 77
	equal "of the process" "$(row 0)" "0 77 0 0 100.0% 0 0"
	equal "nsenter" "$(log)" ""
	fastsocket 0 stat --netns blue --prometheus
	says 'fastsocket_local_total{cpu="0",netns="blue"} 55' 'fastsocket_listeners{netns="blue"} 1'
	exposition
	[[ $(log) = *"nsenter --net=$root/run/netns/blue cat $root/proc/net/fastsocket"* ]]
	fastsocket 0 status --netns 77
	equal "status" "$(row 0)" "0 77 0 0 100.0% 0 0"
	fastsocket 2 stat --netns red
	says "there is no network namespace and no process red"
	fastsocket 2 stat --netns ../netns/blue
	: >"$root/no-entry"
	fastsocket 2 stat --netns blue
	says "cannot be entered"
}

@test "stat, status: wrong use: 2 and the usage" {
	local words
	module
	for words in "stat now" "stat --json --prometheus" "stat --json --watch" "stat --watch 0" "stat --watch 0.01" "stat --watch 1x" "stat --count 3" \
		"stat --watch --count 0" "stat --watch --count" "stat --netns" "status now" "status --json"; do
		# shellcheck disable=SC2086 # words
		run --separate-stderr -2 timeout 60 "$tool" $words
		equal "output of $words" "$output" ""
		[[ $stderr = *"Usage: fastsocket ${words%% *}"* ]] || fail "$words: $stderr"
	done
}

# ---- status ----

@test "status: parameters, listeners and statistics, from /proc/net/fastsocket" {
	module enable_listen_spawn=1
	listener 0.0.0.0 80 1 1
	counters 0.local=3 1.local=4
	fastsocket 0 status
	says "fastsocket.ko 0.1.0 is loaded." "enable_listen_spawn = 1  (for workers that are bound to one CPU)" "Attached listeners"
	equal "all" "$(row all)" "all 7 0 0 100.0% 0 0"
	grep -qE '^ +0.0.0.0 +80 +- ' <<<"$output"
}

@test "status: from the files of an older module where there is no other" {
	module
	rm "$root/proc/net/fastsocket"
	printf 'cpu local remote global redirected drained no_worker\n0 5 0 0 5 0 0\n1 6 0 1 6 0 9\n' >"$root/proc/net/fsocket_stats"
	printf 'cpu port given\n0 5 0\n1 8 0\n' >"$root/proc/net/fsocket_rfd"
	fastsocket 0 status
	equal "all" "$(row all)" "all 11 0 1 91.7% 11 0"
	says "Receive Flow Deliver" "no_worker "
	rm -r "$root/sys/module/fastsocket"
	fastsocket 3 status
	equal "output" "$output" "The module is not loaded."
}

# ---- run ----

@test "run: enrols itself and executes the command, without LD_PRELOAD and without a word" {
	module
	run --separate-stderr -0 "$tool" run -- bash -c 'echo "$$ ${LD_PRELOAD-none}"'
	equal "stderr" "$stderr" ""
	equal "enrolled" "$(log)" "enrol --pid ${output% *}"
	equal "LD_PRELOAD" "${output#* }" none
	echo 0 >"$root/sys/module/fastsocket/parameters/enable_listen_spawn"
	run --separate-stderr -7 "$tool" run bash -c 'exit 7'
	[[ $stderr = *"enable_listen_spawn is 0"* ]]
}

@test "run: a static or privileged program is no matter where it is enrolled, and said where it is not" {
	local program=$BATS_TEST_TMPDIR/static
	# The head of an ELF file of 64 bits without program headers: enough to be told, not to be run.
	{ printf '\177ELF\002\001\001' && head -c 57 /dev/zero; } >"$program"
	printf '\070\000\001\000' | dd of="$program" bs=1 seek=54 conv=notrunc status=none
	head -c 64 /dev/zero >>"$program"
	printf '\100' | dd of="$program" bs=1 seek=32 conv=notrunc status=none
	chmod +x "$program"
	module
	run --separate-stderr "$tool" run "$program"
	[[ $stderr != *"statically linked"* ]]
	echo 3 >"$root/enrol-status"
	run --separate-stderr "$tool" run "$program"
	[[ $stderr = *"statically linked"* ]]
}

@test "run: LD_PRELOAD where the module does not know of enrolling, where the helper is missing, or where it is asked for" {
	local library=$usr/lib/fastsocket/libfsocket.so
	module
	echo 3 >"$root/enrol-status"
	run --separate-stderr -0 "$tool" run bash -c 'echo $LD_PRELOAD'
	equal "status 3" "$output" "$library"
	[[ $stderr != *"it says 3"* ]]
	rm "$root/enrol-status"
	run --separate-stderr -0 "$tool" run --preload -- bash -c 'echo $LD_PRELOAD'
	equal "--preload" "$output" "$library"
	equal "helper was asked" "$(log | wc -l)" 1
	rm "$usr/libexec/fastsocket/fastsocket-enrol"
	run --separate-stderr -0 "$tool" run bash -c 'echo $LD_PRELOAD'
	equal "no helper" "$output" "$library"
}

@test "run: what the module refuses is said, the command runs natively" {
	module
	echo 1 >"$root/enrol-status"
	run --separate-stderr -0 "$tool" run bash -c 'echo ${LD_PRELOAD-none}'
	equal "LD_PRELOAD" "$output" none
	[[ $stderr = *"it says 1; running without Fastsocket: bash"* ]]
}

# ---- enrol, revoke, enrolled ----

@test "enrol, revoke: processes, with the helper's exit status" {
	process 41 nginx 1 0-3 /
	process 42 nginx 41 0-3 /
	fastsocket 0 enrol 41 42
	fastsocket 0 revoke 42
	equal "told" "$(log)" $'enrol --pid 41 42\nenrol --off --pid 42'
	echo 1 >"$root/enrol-status"
	fastsocket 1 enrol 41
	says "it says 1"
	echo 3 >"$root/enrol-status"
	fastsocket 3 revoke 41
	: >"$root/log"
	fastsocket 2 enrol 43
	says "there is no process 43"
	fastsocket 2 enrol nginx
	says "--unit nginx"
	fastsocket 2 enrol
	fastsocket 2 enrol --pod x
	fastsocket 2 enrol --unit
	equal "told" "$(log)" ""
}

@test "enrol --unit: its control group; a unit that is not there, or does not run, is said" {
	systemd_runs
	control_groups /system.slice/nginx.service /machine.slice
	unit nginx.service
	unit idle.service ActiveState=inactive ControlGroup=
	sed -i '/active$/d; /ControlGroup=\/.*idle/d' "$root/units/idle.service"
	echo ActiveState=inactive >>"$root/units/idle.service"
	fastsocket 0 enrol --unit nginx
	fastsocket 0 revoke --unit nginx.service
	equal "told" "$(log | grep '^enrol')" "enrol --cgroup $root/sys/fs/cgroup/system.slice/nginx.service
enrol --off --cgroup $root/sys/fs/cgroup/system.slice/nginx.service"
	fastsocket 2 enrol --unit nosuch
	says "there is no unit nosuch.service"
	fastsocket 2 enrol --unit idle
	says "idle.service is inactive" "fastsocket enable idle"
	: >"$root/fails-show"
	fastsocket 2 enrol --unit nginx
	says "does systemd run here?"
}

@test "enrol --cgroup: a directory, or what /proc/PID/cgroup has; nothing else" {
	control_groups /machine.slice/pod
	fastsocket 0 enrol --cgroup "$root/sys/fs/cgroup/machine.slice/pod" /machine.slice/pod
	equal "told" "$(log)" "enrol --cgroup $root/sys/fs/cgroup/machine.slice/pod $root/sys/fs/cgroup/machine.slice/pod"
	mkdir "$root/plain"
	fastsocket 2 enrol --cgroup "$root/plain"
	says "is no control group of version 2"
	fastsocket 2 enrol --cgroup /machine.slice/other
	says "there is no control group /machine.slice/other"
	# As in a container that shares the host's hierarchy.
	put '30 23 0:26 /docker/1234 /sys/fs/cgroup rw - cgroup2 cgroup2 rw' "$root/proc/self/mountinfo"
	fastsocket 0 enrol --cgroup /docker/1234/machine.slice/pod
	equal "told" "$(tail -n 1 "$root/log")" "enrol --cgroup $root/sys/fs/cgroup/machine.slice/pod"
}

@test "enrol --own-cgroup: its own, that of the unit where systemd has put it below; never the top one" {
	control_groups /system.slice/nginx.service /system.slice/nginx.service/.control
	printf '5:devices:/else\n0::/system.slice/nginx.service\n' >"$root/proc/self/cgroup"
	fastsocket 0 enrol --own-cgroup
	put 0::/system.slice/nginx.service/.control "$root/proc/self/cgroup"
	fastsocket 0 enrol --own-cgroup
	equal "told" "$(log | uniq -c | xargs)" "2 enrol --cgroup $root/sys/fs/cgroup/system.slice/nginx.service"
	# Refused, and the device cannot be opened.
	mkdir -p "$root/dev/fastsocket"
	echo 1 >"$root/enrol-status"
	fastsocket 1 enrol --own-cgroup
	says "may use some devices only"
	fastsocket 1 enrol --cgroup /system.slice/nginx.service
	says_not "some devices only"
	echo 3 >"$root/enrol-status"
	fastsocket 3 enrol --own-cgroup
	says_not "some devices only"
	rm "$root/enrol-status"
	put 0::/ "$root/proc/self/cgroup"
	fastsocket 2 enrol --own-cgroup
	says "in the top one"
	put 1:name=systemd:/x "$root/proc/self/cgroup"
	fastsocket 2 enrol --own-cgroup
	says "no control group of version 2"
	fastsocket 2 enrol --own-cgroup 7
}

@test "enrolled: a table, or that there is nothing, or why it is not known" {
	fastsocket 3 enrolled
	says "not loaded"
	module
	fastsocket 3 enrolled
	says "does not know of enrolling"
	put 'kind id name' "$root/proc/fastsocket_enrolled"
	fastsocket 0 enrolled
	equal "output" "$output" "nothing is enrolled"
	printf 'process 41 my server\ncgroup 1234 /system.slice/nginx.service\n' >>"$root/proc/fastsocket_enrolled"
	fastsocket 0 enrolled
	equal "process" "$(sed -n 2p <<<"$output")" "process        41  my server"
	equal "cgroup" "$(sed -n 3p <<<"$output" | xargs)" "cgroup 1234 /system.slice/nginx.service"
	fastsocket 2 enrolled now
}

# ---- enable, disable ----

@test "enable: writes the drop-in, has systemd read it, and says what comes next; disable removes it" {
	systemd_runs
	unit nginx.service
	fastsocket 0 enable nginx
	says "nginx.service is enabled" "systemctl restart nginx.service" "worker_processes auto"
	file=$(drop_in nginx.service)
	grep -qxF "ExecStartPre=+-$usr/bin/fastsocket enrol --own-cgroup" "$file"
	grep -qx 'Wants=systemd-modules-load.service' "$file"
	grep -qx 'After=systemd-modules-load.service' "$file"
	[[ $(<"$file") != *DeviceAllow=/* ]]
	equal "changes" "$(log | grep -v show)" "systemctl daemon-reload"
	fastsocket 0 enable
	equal "list" "$output" nginx.service
	# Once more changes nothing.
	cp "$file" "$BATS_TEST_TMPDIR/before"
	fastsocket 0 enable nginx.service
	diff "$file" "$BATS_TEST_TMPDIR/before"
	fastsocket 0 disable nginx
	says "nginx.service is disabled" "systemctl restart nginx.service" "revoke --unit nginx.service"
	[ ! -e "${file%/*}" ]
	fastsocket 0 disable nginx
	says "is not enabled"
	fastsocket 0 enable
	says "no service is enabled"
}

@test "enable --now, disable --now: restart; what fails is 1" {
	systemd_runs
	unit nginx.service
	unit haproxy.service
	fastsocket 0 enable --now nginx haproxy
	equal "changes" "$(log | grep -v show)" $'systemctl daemon-reload\nsystemctl restart nginx.service haproxy.service'
	says_not "takes effect"
	: >"$root/log"
	fastsocket 0 disable nginx --now
	equal "changes" "$(log | grep -v show)" $'systemctl daemon-reload\nsystemctl restart nginx.service'
	: >"$root/fails-restart"
	fastsocket 1 enable --now nginx
	: >"$root/fails-daemon-reload"
	fastsocket 1 enable nginx
	says "daemon-reload has failed"
	fastsocket 2 enable --now
	fastsocket 2 disable
	fastsocket 2 enable --later nginx
}

@test "enable, disable: a file that is somebody else's is left alone" {
	systemd_runs
	unit nginx.service
	unit haproxy.service
	put '[Service]' "$(drop_in nginx.service)"
	fastsocket 1 enable nginx haproxy
	says "is not from this command" "haproxy.service is enabled"
	equal "file" "$(<"$(drop_in nginx.service)")" '[Service]'
	fastsocket 1 disable nginx haproxy
	equal "file" "$(<"$(drop_in nginx.service)")" '[Service]'
	[ ! -e "$(drop_in haproxy.service)" ]
	fastsocket 0 enable
	says "no service is enabled"
}

@test "enable: templates, instances and aliases" {
	systemd_runs
	unit redis-server@.service
	unit redis-server.service
	mkdir -p "$root/etc/systemd/system"
	ln -s /usr/lib/systemd/system/redis-server.service "$root/etc/systemd/system/redis.service"
	ln -s "$root/usr/lib/systemd/system/redis-server.service" "$root/usr/lib/systemd/system/valkey.service"
	fastsocket 0 enable redis-server@ redis-server@one.service
	[ -e "$(drop_in redis-server@.service)" ]
	[ -e "$(drop_in redis-server@one.service)" ]
	says "systemctl restart redis-server@\\*.service redis-server@one.service"
	fastsocket 0 enable valkey
	says "redis-server.service is enabled" "one thread"
	[ -e "$(drop_in redis-server.service)" ]
	fastsocket 0 disable valkey redis-server@ redis-server@one
	[ ! -e "$(drop_in redis-server.service)" ]
	fastsocket 0 enable
	says "no service is enabled"
}

@test "enable: a unit that is not there, is masked, or no service: 1 and a word" {
	systemd_runs
	unit redis-server.service
	fastsocket 1 enable redis
	says "there is no service redis.service; there is redis-server.service"
	fastsocket 1 enable quux
	says "there is no service quux.service"
	says_not "there is no service quux.service;"
	ln -s /dev/null "$root/usr/lib/systemd/system/off.service"
	fastsocket 1 enable off
	says "off.service is masked"
	: >"$root/usr/lib/systemd/system/empty.service"
	fastsocket 1 enable empty
	says "empty.service is masked"
	fastsocket 1 enable ssh.socket
	says "ssh.socket is no service"
	fastsocket 1 enable ../nginx
	says "no name of a service"
	equal "changes" "$(log | grep -v show)" ""
	[ ! -e "$root/etc" ]
}

@test "enable: a unit that may use some devices only may use ours, no other unit loses any" {
	local property
	systemd_runs
	for property in PrivateDevices=yes DevicePolicy=closed DevicePolicy=strict ProtectClock=yes 'DeviceAllow=/dev/null rw'; do
		unit hard.service PrivateDevices=no DevicePolicy=auto ProtectClock=no "$property"
		sed -i "0,/^${property%%=*}=/{/^${property%%=*}=no\|^${property%%=*}=auto/d}" "$root/units/hard.service"
		fastsocket 0 enable hard
		grep -qx 'DeviceAllow=/dev/fastsocket rw' "$(drop_in hard.service)" || fail "no DeviceAllow with $property"
	done
	# What is ours is no reason.
	unit hard.service PrivateDevices=no DevicePolicy=auto ProtectClock=no 'DeviceAllow=/dev/fastsocket rw'
	fastsocket 0 enable hard
	[[ $(<"$(drop_in hard.service)") != *DeviceAllow=/* ]]
	# A template's properties are those of an instance.
	unit soft@.service
	put DevicePolicy=closed "$root/units/soft@fastsocket.service"
	fastsocket 0 enable soft@
	grep -qx 'DeviceAllow=/dev/fastsocket rw' "$(drop_in soft@.service)"
}

@test "enable: where systemd does not run, the units' files tell, and it says that it reads them later" {
	unit redis-server.service
	echo PrivateDevices=true >>"$root/usr/lib/systemd/system/redis-server.service"
	unit nginx.service
	stand_in systemctl <<<'exit 1'
	fastsocket 0 enable redis-server nginx --now
	grep -qx 'DeviceAllow=/dev/fastsocket rw' "$(drop_in redis-server.service)"
	[[ $(<"$(drop_in nginx.service)") != *DeviceAllow=/* ]]
	says "systemd does not run here"
	# It runs, and does not answer.
	mkdir -p "$root/run/systemd/system"
	fastsocket 1 enable redis-server
	grep -qx 'DeviceAllow=/dev/fastsocket rw' "$(drop_in redis-server.service)"
}

@test "enable: a root directory of its own and sockets from systemd are said" {
	systemd_runs
	unit jail.service RootDirectory=/srv/jail
	unit sock.service TriggeredBy=sock.socket
	unit free.service RootDirectory=/srv/jail RootDirectoryStartOnly=yes
	fastsocket 0 enable jail
	says "/srv/jail" "RootDirectoryStartOnly=yes"
	fastsocket 0 enable sock
	says "sock.socket" "listen() already"
	fastsocket 0 enable free
	says_not "RootDirectoryStartOnly"
}

@test "enable: what it writes is a unit file for systemd, wherever the command is" {
	local dir
	for dir in usr 'a b%n;'; do
		rm -rf "${root:?}"/{etc,usr}
		mkdir -p "$root/$dir/bin" "$root/$dir/libexec"
		cp "$usr/bin/fastsocket" "$root/$dir/bin"
		cp -r "$usr/libexec/fastsocket" "$root/$dir/libexec"
		put $'[Service]\nExecStart=/bin/true\nPrivateDevices=yes' "$root/etc/systemd/system/fs-verify.service"
		run -0 "$root/$dir/bin/fastsocket" enable fs-verify
		run env -u FASTSOCKET_ROOT SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$root/etc/systemd/system/fs-verify.service"
		echo "$output"
		equal "exit status in $dir" "$status" 0
		grep -qF "/${dir/\%/%%}/bin/fastsocket" "$(drop_in fs-verify.service)" || fail "% is not doubled"
		says_not 50-fastsocket.conf fs-verify.service
	done
	mkdir -p "$root/quote\"/libexec" "$root/quote\"/bin"
	cp "$usr/bin/fastsocket" "$root/quote\"/bin"
	cp -r "$usr/libexec/fastsocket" "$root/quote\"/libexec"
	run ! "$root/quote\"/bin/fastsocket" enable fs-verify
	says "cannot name"
	# What it does not take would be seen.
	echo 'ExecStartPre=+-bin/fastsocket "' >>"$(drop_in fs-verify.service)"
	run env -u FASTSOCKET_ROOT systemd-analyze verify --man=no "$root/etc/systemd/system/fs-verify.service"
	says 50-fastsocket.conf
}

@test "enable: without root it says what cannot be written" {
	[ "$EUID" = 0 ] || skip "needs root to become somebody else"
	systemd_runs
	unit nginx.service
	chmod -R a+rX "$BATS_RUN_TMPDIR"
	chmod a+w "$root/log"
	run setpriv --reuid=65534 --regid=65534 --clear-groups "$tool" enable nginx
	equal "exit status" "$status" 1
	says "50-fastsocket.conf cannot be written"
}

# ---- doctor ----

# findings: "SEVERITY ID" of each but notes
findings() { json 'join "\n", map { "$_->{severity} $_->{id}" } grep { $_->{severity} ne "note" } @{$o->{findings}}'; }

notes() { json 'join "\n", map { $_->{id} } grep { $_->{severity} eq "note" } @{$o->{findings}}'; }

# doctor "SEVERITY ID"...: these are found, nothing else is
doctor() {
	local wanted=0
	[ $# = 0 ] || wanted=1
	fastsocket $wanted doctor --json
	equal "findings" "$(findings)" "$(printf '%s\n' "$@")"
	json '1' >/dev/null
	# Every one says what to do.
	equal "without a word what to do" "$(json 'scalar grep { $_->{todo} eq "" || $_->{found} eq "" } @{$o->{findings}}')" 0
}

@test "doctor: nothing to do: 0, and it says so" {
	module
	listener 0.0.0.0 80 1 1 1 1
	fastsocket 0 doctor
	equal "output" "$output" "nothing to do"
	doctor
}

@test "doctor: findings by severity, each with what to do; 2 where it cannot look" {
	module enable_listen_spawn=0
	listener 0.0.0.0 80 1 1
	put 4-7 "$root/sys/devices/system/cpu/offline"
	fastsocket 1 doctor
	equal "order" "$(grep -o '^[a-z]*:' <<<"$output" | xargs)" "problem: warning: note:"
	equal "what to do" "$(grep -c '^    -> .' <<<"$output")" 3
	says "2 to do"
	fastsocket 2 doctor --yaml
	fastsocket 2 doctor now
	rm "$root/sys/devices/system/cpu/online"
	fastsocket 2 doctor
	says "online cannot be read"
}

# module_file VERMAGIC [SIGNER]: installed for the kernel that runs, not loaded
module_file() {
	put x "$root/lib/modules/6.1.0-9-amd64/updates/dkms/fastsocket.ko.xz"
	put 'updates/dkms/fastsocket.ko.xz:' "$root/lib/modules/6.1.0-9-amd64/modules.dep"
	put '' "$root/lib/modules/6.1.0-9-amd64/build/Makefile"
	put 1 "$root/proc/sys/kernel/ftrace_enabled"
	put '' "$root/sys/kernel/btf/vmlinux"
	stand_in modinfo <<<"case \$2 in vermagic) echo '$1 SMP preempt mod_unload modversions' ;; signer) echo '${2:-}' ;; esac"
}

@test "doctor: the module is not loaded, blacklisted, unknown to modprobe, or of another kernel" {
	module_file 6.1.0-9-amd64
	doctor "problem module-not-loaded"
	says "modprobe fastsocket"
	put 'blacklist fastsocket' "$root/etc/modprobe.d/x.conf"
	doctor "problem module-blacklist"
	says "$root/etc/modprobe.d/x.conf"
	: >"$root/lib/modules/6.1.0-9-amd64/modules.dep"
	doctor "problem module-depmod"
	module_file 6.1.0-8-amd64
	doctor "problem module-vermagic"
	says "built for 6.1.0-8-amd64; 6.1.0-9-amd64 runs"
}

@test "doctor: the module is not installed, installed for others, or dkms has it" {
	doctor "problem module-missing"
	says "apt-get install linux-headers-6.1.0-9-amd64"
	mkdir -p "$root/lib/modules/6.1.0-9-amd64/build"
	put '' "$root/lib/modules/6.1.0-9-amd64/build/Makefile"
	put x "$root/lib/modules/6.1.0-8-amd64/extra/fastsocket.ko"
	doctor "problem module-missing"
	says "is installed for 6.1.0-8-amd64"
	says_not "linux-headers"
	stand_in dkms <<<'echo "fastsocket/0.1.0, 6.1.0-8-amd64, x86_64: installed"'
	doctor "problem module-missing"
	says "dkms autoinstall -k 6.1.0-9-amd64"
	stand_in dkms <<<'echo "fastsocket/0.1.0, 6.1.0-8-amd64, x86_64: installed"; echo "fastsocket/0.1.0, 6.1.0-9-amd64, x86_64: built"'
	doctor "problem module-missing"
	says "dkms install fastsocket -k 6.1.0-9-amd64"
}

@test "doctor: Secure Boot, lockdown or sig_enforce and a module without a signature, or of an unknown key" {
	local efi=$root/sys/firmware/efi/efivars
	module_file 6.1.0-9-amd64
	mkdir -p "$efi"
	printf '\006\000\000\000\001' >"$efi/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	doctor "problem module-unsigned"
	says "Secure Boot is on"
	printf '\006\000\000\000\000' >"$efi/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	doctor "problem module-not-loaded"
	rm -r "$efi"
	stand_in mokutil <<<'echo "SecureBoot enabled"'
	doctor "problem module-unsigned"
	stand_in mokutil <<<'echo "SecureBoot disabled"'
	doctor "problem module-not-loaded"
	put 'none [integrity] confidentiality' "$root/sys/kernel/security/lockdown"
	doctor "problem module-unsigned"
	says "locked down"
	put '[none] integrity confidentiality' "$root/sys/kernel/security/lockdown"
	put Y "$root/sys/module/module/parameters/sig_enforce"
	doctor "problem module-unsigned"
	says "sig_enforce"
	module_file 6.1.0-9-amd64 'DKMS module signing key'
	doctor "problem module-not-loaded"
	put '1 I--- 1 perm 1f030000 0 0 asymmetri Debian Secure Boot CA: 6ccece7e: X509.rsa 1 []' "$root/proc/keys"
	doctor "problem module-key"
	says "DKMS module signing key"
	echo '2 I--- 1 perm 1f030000 0 0 asymmetri DKMS module signing key: 1234: X509.rsa 2 []' >>"$root/proc/keys"
	doctor "problem module-not-loaded"
}

@test "doctor: a service is enabled and nothing loads the module at boot; an older module" {
	systemd_runs
	unit nginx.service ControlGroup=
	sed -i '/ControlGroup=\//d' "$root/units/nginx.service"
	module
	fastsocket 0 enable nginx
	doctor "warning module-boot"
	put fastsocket "$root/etc/modules-load.d/fastsocket.conf"
	doctor
	rm "$root/proc/net/fastsocket"
	doctor "warning module-old"
}

@test "doctor: parameters that are not what modprobe.d says, with the log's line and what the kernel lacks" {
	module enable_fast_epoll=0 enable_receive_flow_deliver=0
	doctor
	put 'options fastsocket enable_receive_flow_deliver=1 enable_fast_epoll=1' "$root/etc/modprobe.d/fastsocket.conf"
	doctor "warning feature-off" "warning feature-off"
	says "enable_fast_epoll is 0, $root/etc/modprobe.d/fastsocket.conf says 1" "enable_receive_flow_deliver is 0"
	put 'root=/dev/sda1 fastsocket.enable_receive_flow_deliver=0' "$root/proc/cmdline"
	rm "$root/etc/modprobe.d/fastsocket.conf"
	stand_in dmesg <<<'echo "[    5.1] Fastsocket: Fast Epoll stays off: this kernel has no BTF"'
	rm "$root/sys/kernel/btf/vmlinux"
	doctor "warning feature-off"
	says "Fast Epoll is off: this kernel has no BTF" CONFIG_DEBUG_INFO_BTF
	put 0 "$root/proc/sys/kernel/ftrace_enabled"
	put '# CONFIG_KALLSYMS_ALL is not set' "$root/boot/config-6.1.0-9-amd64"
	mkdir -p "$root/sys/kernel/livepatch/fix"
	doctor "warning feature-off"
	says "kernel.ftrace_enabled=1" CONFIG_KALLSYMS_ALL "live patch fix"
	echo 1 >"$root/sys/module/fastsocket/parameters/enable_fast_epoll"
	echo 1 >"$root/sys/module/fastsocket/parameters/enable_receive_flow_deliver"
	doctor
	equal "notes" "$(notes)" parameter
	counters fast_sockfs=0
	doctor "warning feature-off"
	says "Fast Sockfs is off"
	counters
	stand_in dmesg <<<'echo "Fastsocket: Enrolment stays off: not on a PREEMPT_RT kernel"'
	doctor "warning feature-off"
	says "Enrolment is off: not on a PREEMPT_RT kernel"
	stand_in dmesg <<<'echo "Fastsocket: Enrolment and TCP_ULP stay off: task_work_add is not in this kernel"'
	doctor "warning feature-off"
	says "Enrolment is off: task_work_add"
}

@test "doctor: before the module is loaded, what its features will lack" {
	module_file 6.1.0-9-amd64
	rm "$root/sys/kernel/btf/vmlinux" "$root/proc/sys/kernel/ftrace_enabled"
	doctor "problem module-not-loaded"
	equal "notes" "$(notes)" feature-lacks
	says CONFIG_FUNCTION_TRACER CONFIG_DEBUG_INFO_BTF
}

@test "doctor: enable_listen_spawn is 0" {
	module enable_listen_spawn=0
	doctor "problem disabled"
}

@test "doctor: CPUs that are offline or isolated are notes" {
	module
	put 4-7 "$root/sys/devices/system/cpu/offline"
	put 'quiet isolcpus=2,3' "$root/proc/cmdline"
	doctor
	equal "notes" "$(notes | xargs)" "cpu-offline cpu-isolated"
	says "CPUs 4-7 are offline" "isolcpus=2,3"
}

@test "doctor: what fastsocket nic would change, in its words" {
	module
	mkdir -p "$root/sys/class/net/eth0/device" "$root/sys/class/net/eth0/queues/rx-0" "$root/sys/class/net/eth0/queues/tx-0"
	echo up >"$root/sys/class/net/eth0/operstate"
	echo 0 >"$root/sys/class/net/eth0/queues/rx-0/rps_cpus"
	stand_in ethtool <<<'echo "netlink error: Operation not supported" >&2; exit 1'
	doctor "warning nic"
	says "eth0: RPS on: 4 CPUs share 1 queues" "fastsocket nic --apply eth0"
	[[ $(notes) = *nic-cannot* ]]
	echo f >"$root/sys/class/net/eth0/queues/rx-0/rps_cpus"
	doctor
	# Two devices are two findings.
	cp -r "$root/sys/class/net/eth0" "$root/sys/class/net/eth1"
	echo 0 | tee "$root"/sys/class/net/eth?/queues/rx-0/rps_cpus
	doctor "warning nic" "warning nic"
	says "--apply eth1"
}

@test "doctor: RFS beside Receive Flow Deliver, half of RFS, and ports that are used up" {
	module enable_receive_flow_deliver=1
	put 'options fastsocket enable_receive_flow_deliver=1' "$root/etc/modprobe.d/fastsocket.conf"
	put 32768 "$root/proc/sys/net/core/rps_sock_flow_entries"
	doctor
	equal "notes" "$(notes)" rfs-half
	put 4096 "$root/sys/class/net/eth0/queues/rx-0/rps_flow_cnt"
	doctor
	equal "notes" "$(notes)" rfs
	echo 0 >"$root/proc/sys/net/core/rps_sock_flow_entries"
	counters 0.rfd_port=980 1.rfd_any=15 1.rfd_backoff=5
	doctor "warning rfd-ports"
	says "2.0 %" ip_local_port_range
	counters 0.rfd_port=995 1.rfd_any=5
	doctor
}

@test "doctor: a listener with fewer workers than CPUs, with one, with several on a CPU, with none" {
	module
	listener 0.0.0.0 80 1 1 pid=50
	process 50 nginx 1 0-3 /
	doctor "warning few-workers"
	says "the listener 0.0.0.0:80 of nginx has 2 workers for 4 CPUs" "worker_processes auto"
	module
	listener '[::]' 8080 1
	doctor "warning one-worker"
	says "the listener [::]:8080 has one worker"
	module
	listener 0.0.0.0 80 2 1 3 1
	doctor "warning crowded"
	says "several workers on CPU 0,2"
	# What one has is not the next one's.
	listener 0.0.0.0 81 1 1 1 1
	doctor "warning crowded"
	module
	listener 0.0.0.0 80 0 0
	doctor
	equal "notes" "$(notes)" no-workers
	# A listener that was shut down is none.
	module
	echo '0.0.0.0 80 - 0 1 0 3 stopped' >>"$root/proc/net/fsocket_listeners"
	doctor
	# On one CPU there is nothing to spread.
	cpus 1
	module
	listener 0.0.0.0 80 1
	doctor
}

@test "doctor: a listener per worker (SO_REUSEPORT): workers of all of them are counted together" {
	module
	listener 0.0.0.0 443 1 pid=50
	listener 0.0.0.0 443 0 1
	listener 0.0.0.0 80 1 1 1 1
	listener 0.0.0.0 443 0 0 1
	process 50 nginx 1 0-3 /
	doctor "warning few-workers"
	says "the 3 listeners on 0.0.0.0:443 of nginx (SO_REUSEPORT) have 3 workers for 4 CPUs" "worker_processes auto; in nginx.conf"
	listener 0.0.0.0 443 0 0 0 1
	doctor
	equal "notes" "$(notes)" ""
	listener 0.0.0.0 443 0 0 1
	doctor "warning crowded"
	says "the 5 listeners on 0.0.0.0:443 of nginx (SO_REUSEPORT) have several workers on CPU 2" "as many workers as CPUs"
	# Another address is another group.
	module
	listener 0.0.0.0 443 1 1 1 1
	listener '[::]' 443 1 1 1 1
	doctor
	# One of them without a worker is a note, all without one is another.
	listener 0.0.0.0 443 0
	doctor
	equal "notes" "$(notes)" no-workers
	says "1 of the 2 listeners on 0.0.0.0:443 (SO_REUSEPORT) have no worker"
	module
	for _ in 1 2 3; do listener 0.0.0.0 443 0; done
	doctor
	equal "notes" "$(notes)" no-workers
	says "the 3 listeners on 0.0.0.0:443 (SO_REUSEPORT) have no worker: nobody waits for connections now"
}

nginx_80='LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=60,fd=6),("nginx",pid=61,fd=6))'
nginx_443='LISTEN 0 511 *:443 *:* users:(("nginx",pid=60,fd=7),("nginx",pid=61,fd=7))'

@test "doctor: servers that are not attached, with how to enrol them" {
	module
	put 'worker_processes auto;' "$root/etc/nginx/nginx.conf"
	process 60 nginx 1 0-3 /system.slice/nginx.service
	process 70 haproxy 1 0-3 /user.slice/session-1.scope
	sockets "$nginx_80" "$nginx_443" 'LISTEN 0 128 127.0.0.1:6379 0.0.0.0:* users:(("redis-server",pid=9,fd=6))' \
		'LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:*' 'LISTEN 0 200 [::1]:7000 [::]:* users:(("haproxy",pid=70,fd=6))'
	doctor "problem not-attached" "problem not-attached"
	says "nginx listens on 0.0.0.0:80 [::]:443 and is not attached" "fastsocket enable --now nginx.service" "haproxy listens on [::1]:7000" "fastsocket run -- haproxy"
	says_not redis
	listener 0.0.0.0 80 1 1 1 1
	listener '[::]' 443 1 1 1 1
	listener '[::1]' 7000 1 1 1 1
	doctor
	# Enabled since, but started before.
	systemd_runs
	unit nginx.service
	"$tool" enable nginx
	put fastsocket "$root/etc/modules-load.d/fastsocket.conf"
	sed -i '/ 443 /d' "$root/proc/net/fsocket_listeners"
	printf 'kind id name\ncgroup 7 /system.slice/nginx.service\n' >"$root/proc/fastsocket_enrolled"
	doctor "problem not-attached"
	says "systemctl restart nginx.service"
}

@test "doctor: a service that is enabled and runs, but is not enrolled" {
	systemd_runs
	module
	unit nginx.service
	"$tool" enable nginx
	put fastsocket "$root/etc/modules-load.d/fastsocket.conf"
	doctor "problem not-enrolled"
	printf 'kind id name\ncgroup 7 /system.slice/nginx.service2\n' >"$root/proc/fastsocket_enrolled"
	doctor "problem not-enrolled"
	printf 'kind id name\ncgroup 7 /system.sli\n' >"$root/proc/fastsocket_enrolled"
	doctor "problem not-enrolled"
	printf 'kind id name\ncgroup 7 /system.slice/nginx.service\n' >"$root/proc/fastsocket_enrolled"
	doctor
	# One above it will do.
	printf 'kind id name\ncgroup 7 /system.slice\n' >"$root/proc/fastsocket_enrolled"
	doctor
}

@test "doctor: MPTCP listeners" {
	module
	# With two kinds ss puts another column in front.
	stand_in ss <<-'END'
		case $* in
		*M*t*) echo 'mptcp LISTEN 0 4096 *:8080 *:* users:(("caddy",pid=5,fd=3))' ;;
		*M*) echo 'LISTEN 0 4096 *:8080 *:* users:(("caddy",pid=5,fd=3))' ;;
		esac
	END
	doctor "warning mptcp"
	says "[::]:8080 of caddy" GODEBUG=multipathtcp=0
}

@test "doctor: nginx's accept_mutex and worker_processes, from nginx -T or its files" {
	module
	listener 0.0.0.0 80 1 1 1 1
	sockets "$nginx_80"
	stand_in nginx <<-'END'
		[ "$1" = -T ] || exit 1
		cat <<'CONFIG'
		worker_processes 2; # auto
		events { accept_mutex on; }
		http { server {
			listen 80 default_server	reuseport; } }
		CONFIG
	END
	doctor "warning nginx-accept-mutex" "warning nginx-workers"
	says "worker_processes 2 for 4 CPUs"
	stand_in nginx <<<'echo "worker_processes 8; # once; accept_mutex on;"'
	doctor "warning nginx-workers"
	says "several share one"
	# Without nginx -T.
	stand_in nginx <<<'exit 1'
	put 'worker_processes auto; events { }' "$root/etc/nginx/nginx.conf"
	put 'accept_mutex on;' "$root/etc/nginx/sites-enabled/default"
	doctor "warning nginx-accept-mutex"
	put 'server { listen 81; }' "$root/etc/nginx/sites-enabled/default"
	doctor
	# Without the directive it is one worker.
	put 'events { }' "$root/etc/nginx/nginx.conf"
	doctor "warning nginx-workers"
	put 'worker_processes auto;' "$root/etc/nginx/nginx.conf"
	echo 1 >"$root/sys/module/fastsocket/parameters/enable_listen_spawn"
	doctor "warning nginx-affinity"
	rm -r "$root/etc/nginx"
	doctor
	equal "notes" "$(notes)" nginx-config
}

# haproxy PID [ARGUMENT...]: four threads with one listener
haproxy() {
	process "$1" haproxy 1 0-3 /system.slice/haproxy.service
	printf '%s\0' haproxy -Ws "${@:2}" >"$root/proc/$1/cmdline"
	listener 0.0.0.0 80 1 1 1 1 pid="$1"
}

@test "doctor: HAProxy's tune.listener.multi-queue, from the files that it was started with" {
	local off='	tune.listener.multi-queue off # threads keep what they accept'
	module
	haproxy 70 -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid
	doctor
	equal "notes" "$(notes)" haproxy-config
	put $'global\n\tdaemon\n#\ttune.listener.multi-queue off' "$root/etc/haproxy/haproxy.cfg"
	doctor "warning haproxy-multi-queue"
	says "multi-queue is on, the default" "tune.listener.multi-queue off in the global section"
	put $'global\n\ttune.listener.multi-queue fair' "$root/etc/haproxy/haproxy.cfg"
	doctor "warning haproxy-multi-queue"
	says "multi-queue is fair"
	put "$off" "$root/etc/haproxy/haproxy.cfg"
	doctor
	equal "notes" "$(notes)" ""
	# Its command line says which files; a directory is all *.cfg in it. The last one holds.
	put $'global\n\tnbthread 4\n\ttune.listener.multi-queue on' "$root/srv/lb.cfg"
	module
	haproxy 71 -f /srv/lb.cfg
	doctor "warning haproxy-multi-queue"
	put "$off" "$root/srv/conf.d/20-threads.cfg"
	put 'tune.listener.multi-queue on' "$root/srv/conf.d/20-threads.cfg.old"
	module
	haproxy 71 -f /srv/lb.cfg -f /srv/conf.d
	doctor
	# The name by ss, where the module tells no worker.
	module
	listener 0.0.0.0 80 1 1 1 1
	put 'global' "$root/etc/haproxy/haproxy.cfg"
	sockets 'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("haproxy",pid=70,fd=6))'
	doctor "warning haproxy-multi-queue"
	# One thread hands nothing on: nbthread 1, or a listener for each; nor does what is not attached.
	put $'global\n\tnbthread 1' "$root/etc/haproxy/haproxy.cfg"
	doctor
	put 'global' "$root/etc/haproxy/haproxy.cfg"
	module
	listener 0.0.0.0 80 1 0 0 0
	listener 0.0.0.0 80 0 1 0 0
	listener 0.0.0.0 80 0 0 1 0
	listener 0.0.0.0 80 0 0 0 1
	doctor
	module
	doctor "problem not-attached"
	module
	listener 0.0.0.0 80 1 1 1 1
	sockets 'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("lighttpd",pid=70,fd=6))'
	doctor
}

@test "doctor: cpusets and affinities that forbid CPUs" {
	module
	control_groups /system.slice/nginx.service
	process 80 nginx 1 0-3 /system.slice/nginx.service
	process 81 nginx 80 2 /system.slice/nginx.service
	listener 0.0.0.0 80 1 1 1 1 pid=81
	listener 0.0.0.0 443 1 1 1 1 pid=81
	put 0-3 "$root/sys/fs/cgroup/system.slice/nginx.service/cpuset.cpus.effective"
	doctor
	put 0-1 "$root/sys/fs/cgroup/system.slice/nginx.service/cpuset.cpus.effective"
	doctor "warning cpuset"
	says "nginx.service may use CPUs 0-1 only" "CPUs 2,3 are served natively"
	rm "$root/sys/fs/cgroup/system.slice/nginx.service/cpuset.cpus.effective"
	process 80 nginx 1 1-3 /system.slice/nginx.service
	doctor "warning affinity"
	says "CPUs 1-3 only" "CPUs 0 are"
}

@test "doctor: SYNs that were served natively, by reason above 1 per cent, with what to do for each" {
	local reason
	module
	counters 0.redirected=9900 1.busy=100
	doctor
	counters 0.redirected=9898 1.busy=102
	doctor "warning native-busy"
	says "1.0 % of the SYNs" busy
	# A few say nothing.
	counters 0.redirected=50 1.busy=40
	doctor
	for reason in no_worker stalled busy queue_full filter md5 tfo fasync xfrm syncookies cong options cgroup migrate disabled; do
		counters 0.redirected=100 "1.$reason=100"
		doctor "warning native-$reason"
	done
	counters 0.redirected=100 0.local=97 0.remote=3
	doctor "warning remote"
	counters 0.redirected=100 1.no_worker=100
	echo 1 >"$root/sys/module/fastsocket/parameters/enable_listen_spawn"
	doctor "warning native-no_worker"
	says "mode 1"
}

@test "doctor: every reason that the command explains has something to do" {
	local reason
	while read -r reason; do
		grep '^reasons=' "$usr/libexec/fastsocket/libdoctor-servers.bash" | grep -qw "$reason" || fail "$reason is not looked at"
	done < <(sed -n 's/.*means\["\([a-z0-9_]*\)"\].*/\1/p' "$usr/libexec/fastsocket/stat.awk")
}

@test "doctor: overflows of backlogs" {
	module
	put 4096 "$root/proc/sys/net/core/somaxconn"
	printf 'TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 0 4\n' >"$root/proc/net/netstat"
	doctor
	printf 'TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 321 400\nIpExt: InNoRoutes\nIpExt: 7\n' >"$root/proc/net/netstat"
	sockets 'LISTEN 100 128 0.0.0.0:25 0.0.0.0:* users:(("smtpd",pid=5,fd=3))'
	doctor "warning backlog"
	says "321 connections" "somaxconn is 4096" "0.0.0.0:25 (smtpd, backlog 128, 100 waiting)"
}

@test "doctor: without root it looks at what it can, and says so" {
	[ "$EUID" = 0 ] || skip "needs root to become somebody else"
	chmod -R a+rX "$BATS_RUN_TMPDIR"
	run setpriv --reuid=65534 --regid=65534 --clear-groups env -u FASTSOCKET_ROOT "$tool" doctor
	[ "$status" -le 1 ]
	says "not run by root"
}

# ---- help, man page, completion, installation ----

@test "help: of the command and of each of its parts, without the module" {
	local part
	run --separate-stderr -0 "$tool" --help
	equal "stderr" "$stderr" ""
	for part in run status stat enable disable enrol revoke enrolled nic doctor; do
		[[ $output = *"$part"* ]] || fail "$part is not in --help"
	done
	for part in run status stat enable disable enrol revoke enrolled nic doctor; do
		run --separate-stderr -0 "$tool" "$part" --help
		equal "stderr of $part --help" "$stderr" ""
		[[ $output = "Usage: fastsocket "*"$part"* ]] || fail "$part: $output"
		[[ $output = *[Ee]"xit status"* ]] || fail "$part --help does not tell the exit status"
	done
	run -2 "$tool" walk
	run -2 "$tool"
}

@test "help: the man page has every option that is in it, and completion offers it" {
	local part option
	for part in run status stat enable disable enrol revoke nic doctor; do
		for option in $("$tool" "$part" --help | grep -oE '(^|[ [])--[a-z][a-z-]+' | grep -oE -- '--.*' | sort -u); do
			[ "$option" != --help ] || continue
			grep -qF -- "${option//-/\\-}" "$usr/share/man/man1/fastsocket.1" || fail "the man page does not have $option of $part"
			complete_line "$part" --
			[[ " ${COMPREPLY[*]} " = *" $option "* ]] || fail "completion does not offer $option of $part"
		done
	done
}

# complete_line WORD...: sets COMPREPLY for "fastsocket WORD..."
complete_line() {
	source "$usr/share/bash-completion/completions/fastsocket"
	COMP_WORDS=(fastsocket "$@")
	COMP_CWORD=$#
	COMPREPLY=()
	_fastsocket
}

@test "completion: commands, options, units, control groups, namespaces, NICs, programs" {
	stand_in systemctl <<-'END'
		case $* in
		list-unit-files*) printf '%s enabled\n' nginx.service haproxy.service getty@.service ;;
		*"--state active"*) printf '%s loaded active running\n' nginx.service ssh.service ;;
		list-units*) printf '%s loaded\n' nginx.service getty@tty1.service ;;
		esac
	END
	mkdir -p "$root/run/netns" "$root/sys/class/net/eth0/device" "$root/sys/class/net/eth1/device" "$root/sys/class/net/lo"
	: >"$root/run/netns/blue"
	# A name is a name.
	: >"$root/run/netns/\$(touch $BATS_TEST_TMPDIR/executed)" 2>/dev/null || : >"$root/run/netns/"'$(id)'
	process 41 nginx 1 0-3 /
	complete_line e
	equal "commands" "${COMPREPLY[*]}" "enable enrol enrolled"
	complete_line stat --w
	equal "options" "${COMPREPLY[*]}" --watch
	complete_line enable n
	equal "a unit" "${COMPREPLY[*]}" nginx.service
	complete_line disable getty
	equal "units" "${COMPREPLY[*]}" "getty@.service getty@tty1.service"
	# As bash has it: a word begins at "@".
	COMP_LINE="fastsocket enable getty@tt" COMP_POINT=26 COMP_WORDBREAKS=$' \t\n"@><=;|&(:'
	complete_line enable getty @ tt
	equal "an instance" "${COMPREPLY[*]}" @tty1.service
	COMP_LINE='' COMP_POINT=0
	complete_line enrol --unit ''
	equal "running units" "${COMPREPLY[*]}" "nginx.service ssh.service"
	complete_line enrol 4
	equal "processes" "${COMPREPLY[*]}" 41
	complete_line enrol --u
	equal "options" "${COMPREPLY[*]}" --unit
	complete_line stat --netns b
	equal "namespaces" "${COMPREPLY[*]}" blue
	complete_line stat --netns ''
	equal "namespaces, all" "${#COMPREPLY[@]}" 2
	[ ! -e "$BATS_TEST_TMPDIR/executed" ]
	complete_line nic ''
	equal "NICs" "${COMPREPLY[*]}" "eth0 eth1"
	complete_line nic --apply eth1
	equal "a NIC" "${COMPREPLY[*]}" eth1
	stand_in fs-a-program </dev/null
	complete_line run -- fs-a-p
	equal "programs" "${COMPREPLY[*]}" fs-a-program
	complete_line run --p
	equal "options" "${COMPREPLY[*]}" --preload
}

@test "install puts everything in its place, uninstall takes it away, the source tree works as it is" {
	local to=$BATS_TEST_TMPDIR/to tools=$BATS_TEST_DIRNAME/../tools f
	make -s -C "$tools" install O="$BATS_TEST_TMPDIR/o" DESTDIR="$to" PREFIX=/opt/fs
	for f in bin/fastsocket lib/fastsocket/libfsocket.so libexec/fastsocket/fastsocket-stat share/man/man1/fastsocket.1 \
		share/bash-completion/completions/fastsocket; do
		[ -e "$to/opt/fs/$f" ] || fail "$f is not installed"
	done
	# Nothing that is in the tree's tools is forgotten.
	for f in "$tools"/fastsocket-* "$tools"/*.bash "$tools"/*.awk; do
		[[ $f = *.c || $f = *completion ]] || [ -e "$to/opt/fs/libexec/fastsocket/${f##*/}" ] || fail "${f##*/} is not installed"
	done
	make -s -C "$tools" uninstall DESTDIR="$to" PREFIX=/opt/fs
	equal "left" "$(find "$to" -type f)" ""
	module
	tool=$tools/fastsocket
	fastsocket 0 stat
	fastsocket 0 doctor
	fastsocket 0 enable
}

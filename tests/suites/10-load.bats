#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Loading, parameters, the device, the statistics' shape, unloading.

load ../helpers

setup() { fs_unload_if_loaded; }

teardown() {
	nginx_stop
	fs_unload_if_loaded
	fs_klog_clean
	fs_taint_clean
}

fs_unload_if_loaded() { ! fs_loaded || fs_unload; }

logged() { fs_klog | grep -cF "Fastsocket: $1" || true; }

# has_column FILE NAME
has_column() { head -n 1 "$1" | tr -s ' \t' '\n' | grep -qxF "$2" || fail "no column $2 in $1"; }

# refuses PARAMETER-VALUE: insmod fails with EINVAL, one line names the parameter, value and what is allowed
refuses() {
	local before after errors
	before=$(fs_klog | grep -c 'astsocket' || true)
	run insmod "$FS_KO" "enable_listen_spawn=$1"
	[ "$status" != 0 ] || fail "enable_listen_spawn=$1 was accepted"
	[[ $output == *'Invalid parameters'* ]] || fail "insmod said: $output"
	after=$(fs_klog | grep -c 'astsocket' || true)
	errors=$(fs_klog | grep 'astsocket' | tail -n 1)
	echo "kernel log: $errors"
	# the kernel's own line about an invalid parameter comes on top of ours
	equal "lines of ours" "$(fs_klog | grep -F 'Fastsocket:' | grep -cF "enable_listen_spawn=$1 ")" 1
	fs_klog | grep -F "enable_listen_spawn=$1 " | grep -q '0.*1.*2' || fail "the line does not say what is allowed"
	at_most "lines in the kernel log" $((after - before)) 2
	! fs_loaded || fail "the module is there all the same"
	[ ! -e /dev/fastsocket ]
	[ ! -e "$fs_stats" ]
}

@test "load: modinfo describes the module and its parameter" {
	modinfo "$FS_KO"
	equal "license" "$(modinfo -F license "$FS_KO")" GPL
	for field in description author version; do
		[ -n "$(modinfo -F $field "$FS_KO")" ] || fail "no $field"
	done
	modinfo -F parm "$FS_KO" | grep -E '^enable_listen_spawn:.*0.*1.*2.*default 2.*\(uint\)'
}

@test "load: without parameters listen_spawn is in mode 2, and the log says so as the original did" {
	fs_load
	equal "parameter" "$(cat "$fs_param")" 2
	equal "Load lines" "$(logged 'Load Module')" 1
	equal "mode lines" "$(logged 'Enable Listen Spawn[Mode-2]')" 1
	equal "lines of Fast Epoll, which is on by default" "$(logged 'Enable Fast Epoll')" 1
	equal "its parameter" "$(</sys/module/fastsocket/parameters/enable_fast_epoll)" 1
	fs_unload
	equal "Remove lines" "$(logged 'Remove Module')" 1
}

@test "load: modes 0 and 1 are taken, readable and logged" {
	fs_load enable_listen_spawn=1
	equal "parameter" "$(cat "$fs_param")" 1
	equal "mode lines" "$(logged 'Enable Listen Spawn[Mode-1]')" 1
	fs_unload
	fs_load enable_listen_spawn=0
	equal "parameter" "$(cat "$fs_param")" 0
	equal "Load lines" "$(logged 'Load Module')" 2
	equal "mode lines after mode 0" "$(logged 'Enable Listen Spawn')" 1
}

@test "load: a value out of range is refused with EINVAL and one line that explains it" {
	refuses 3
	refuses -1
	refuses 4294967298
	refuses two
}

@test "load: a write to sysfs takes valid values and refuses others the same way" {
	fs_load
	equal "mode of the file" "$(stat -c %a "$fs_param")" 644
	for mode in 0 1 2; do
		echo $mode >"$fs_param"
		equal "parameter" "$(cat "$fs_param")" $mode
	done
	for mode in 3 -1 on ''; do
		run bash -c "echo '$mode' >$fs_param"
		[ "$status" != 0 ] || fail "'$mode' was accepted"
		[[ $output == *'Invalid argument'* ]] || fail "'$mode': $output"
		equal "parameter after a refused write" "$(cat "$fs_param")" 2
	done
	equal "lines about 3" "$(logged 'enable_listen_spawn=3 ')" 1
}

@test "load: /dev/fastsocket is a misc device that everybody may open" {
	[ ! -e /dev/fastsocket ]
	fs_load
	equal "mode" "$(stat -c %a /dev/fastsocket)" 666
	equal "major" "$(stat -c %t /dev/fastsocket)" a
	setpriv --reuid 65534 --regid 65534 --clear-groups bash -c 'exec 3<>/dev/fastsocket'
	fs_unload
	[ ! -e /dev/fastsocket ]
}

@test "load: the statistics have the named columns and a row of zeros for each possible CPU" {
	fs_load
	cat "$fs_stats"
	for column in cpu local remote global redirected drained no_worker stalled busy queue_full filter md5 \
		tfo fasync xfrm syncookies cong options cgroup migrate disabled private published; do
		has_column "$fs_stats" $column
	done
	equal CPUs "$(awk 'NR > 1 { print $1 }' "$fs_stats" | xargs)" "$(seq -s ' ' 0 $(($(fs_possible_cpus) - 1)))"
	awk 'NR == 1 { n = NF } NR > 1 { if (NF != n) exit 1; for (i = 2; i <= NF; i++) if ($i != "0") exit 1 }' "$fs_stats"
	equal "lines about listeners" "$(wc -l <"$fs_listeners")" 1
	for column in address port cpu pid queue accepts state; do
		has_column "$fs_listeners" $column
	done
	fs_unload
	[ ! -e "$fs_stats" ]
	[ ! -e "$fs_listeners" ]
}

@test "load: network namespaces made before and after loading have statistics of their own" {
	ip netns add before
	fs_load
	ip netns add after
	nginx_configure
	nginx_start module
	http_load 127.0.0.1 80 10 2
	all_answered
	equal "connections counted here" "$(fs_columns local remote global)" "$sent"
	for ns in before after; do
		equal "connections in $ns" "$(ip netns exec $ns bash -c "load() { :; }; . $FS_ROOT/tests/helpers.bash; fs_columns local remote global" 3>&-)" 0
		equal "listeners in $ns" "$(ip netns exec $ns cat "$fs_listeners" | wc -l)" 1
	done
	ip netns del after
	nginx_stop
	fs_unload
	ip netns del before
}

@test "load: a module that nobody uses leaves a server alone" {
	fs_load
	nginx_configure
	nginx_start native
	equal "users of the module" "$(awk '$1 == "fastsocket" { print $3 }' /proc/modules)" 0
	http_load 127.0.0.1 80 50 4
	all_answered
	nginx_logged_exactly "$sent"
	equal "all counters" "$(awk 'NR > 1 { for (i = 2; i <= NF; i++) sum += $i } END { print sum + 0 }' "$fs_stats")" 0
	equal "listeners" "$(wc -l <"$fs_listeners")" 1
	# idle means also: it can go while the server runs
	rmmod fastsocket
	http_load 127.0.0.1 80 10 2
	all_answered
}

@test "load: rmmod is refused while a listener is attached, and while the device is open" {
	fs_load
	nginx_configure
	nginx_start module
	run rmmod fastsocket
	[ "$status" != 0 ] || fail "removed under an attached listener"
	[[ $output == *'in use'* ]] || fail "rmmod said: $output"
	http_load 127.0.0.1 80 10 2
	all_answered
	nginx_stop
	wait_until 5 rmmod fastsocket
	fs_load
	exec 8<>/dev/fastsocket
	run rmmod fastsocket 8>&-
	exec 8>&-
	[ "$status" != 0 ] || fail "removed with the device open"
	rmmod fastsocket
}

@test "load: rmmod is clean while accepted connections are open, and they go on" {
	web_files_in_memory
	head -c 20000000 /dev/urandom >/var/www/html/big
	fs_load
	nginx_configure
	nginx_start module
	http_load 127.0.0.1 80 20 2
	all_answered
	# nothing is read before rmmod, and it is more than the buffers hold: the worker is still sending then
	exec 9<>/dev/tcp/127.0.0.1/80
	printf 'GET /big HTTP/1.0\r\n\r\n' >&9
	read -r -N 1 first <&9
	kill -QUIT "$(nginx_master)"
	wait_until 3 rmmod fastsocket
	! nginx_gone || fail "no connection was open"
	{ printf %s "$first"; cat <&9; } | sed '1,/^\r$/d' | cmp - /var/www/html/big
	exec 9>&-
}

@test "load: twenty times in and out, used each time, leaves nothing behind" {
	local i sockets
	nginx_configure
	sockets=$(awk '/^TCP:/ { print $3 }' /proc/net/sockstat)
	for i in $(seq 20); do
		fs_load enable_listen_spawn=$((i % 3))
		if [ $((i % 5)) = 0 ]; then
			nginx_start module
			http_load 127.0.0.1 80 5 1
			all_answered
			nginx_stop
		fi
		wait_until 5 rmmod fastsocket
	done
	equal "Load lines" "$(logged 'Load Module')" 20
	equal "Remove lines" "$(logged 'Remove Module')" 20
	equal "TCP sockets" "$(awk '/^TCP:/ { print $3 }' /proc/net/sockstat)" "$sockets"
	run grep fastsocket /proc/misc /proc/modules
	equal "status of grep" "$status" 1
}

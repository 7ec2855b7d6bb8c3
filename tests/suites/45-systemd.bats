#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# "fastsocket enable" with systemd as it is: the first process of a PID namespace in this machine, with nothing but our units, and three
# of Debian's. The service of ours is a program that listens and says whether it is attached.
# vm: -t 900
# shellcheck disable=SC2154 # set by helpers.bash and by run
bats_require_minimum_version 1.5.0
load ../helpers

units=/etc/systemd/system
said=/run/fs-said

# The units of redis-server as Debian hardens it, but for PrivateDevices=
hardened="NoNewPrivileges=true
CapabilityBoundingSet=
LockPersonality=true
PrivateUsers=true
ProtectControlGroups=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
ProtectSystem=strict
RestrictNamespaces=true
SystemCallFilter=@system-service
NoExecPaths=/
ExecPaths=/usr/bin /usr/lib /usr/lib64 /lib /lib64"

setup_file() {
	make -s -C "$FS_ROOT/tools" install O="$FS_BIN" PREFIX=/usr
	cp "$FS_BIN/listen_probe" /usr/bin/fs-probe
	cp "$FS_BIN/listen_probe_static" /usr/bin/fs-probe-static
	rm -rf "$units"
	mkdir -p "$units"
	printf '[Unit]\nDefaultDependencies=no\n' >"$units/fs-test.target"
	container=fs unshare --pid --fork --mount --mount-proc --kill-child /lib/systemd/systemd --system --unit=fs-test.target \
		--log-target=kmsg --show-status=0 </dev/null >/dev/null 2>&1 3>&- &
	echo $! >/run/fs-unshare
	wait_until 60 systemd_answers
}

# What systemd has to see of a client's process id is that of its namespace.
inside() { nsenter --target "$(first_process)" --pid --mount -- "$@"; }

first_process() { awk '{ print $1 }' "/proc/$(</run/fs-unshare)/task/$(</run/fs-unshare)/children"; }

systemd_answers() { inside systemctl is-active --quiet fs-test.target 2>/dev/null; }

teardown_file() {
	kill -KILL "$(first_process)"
	! fs_loaded || fs_unload
}

setup() { fs_loaded || fs_load; }

teardown() {
	inside systemctl stop fs-service.service 'fs-template@*.service' nginx haproxy redis-server 2>/dev/null || true
	rm -rf "$units"/{fs-service,nginx,haproxy,redis-server}.service* "$units"/fs-template@*
	fs_klog_clean
	fs_taint_clean
}

# service LINE...: one that listens, and has these lines besides
service() {
	{
		printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nUser=nobody\n'
		echo "ExecStart=/usr/bin/fs-probe one"
		echo "StandardOutput=truncate:$said"
		printf '%s\n' "$@"
	} >"$units/fs-service.service"
	inside systemctl daemon-reload
}

# runs UNIT "attached"|"native": it starts, and is that
runs() {
	rm -f "$said"
	inside systemctl restart "$1" || fail "$1 does not start: $(inside systemctl status "$1")"
	equal "$1" "$(<"$said")" "one $2"
}

@test "enable: the service is attached from its next start on, disable takes it back" {
	service
	runs fs-service native
	run -0 inside fastsocket enable fs-service
	runs fs-service attached
	run -0 inside fastsocket disable --now fs-service
	equal "after disable --now" "$(<"$said")" "one native"
}

@test "enable: a hardened service is attached; its devices are what needs a line of its own" {
	service "$hardened" PrivateDevices=yes ProtectClock=yes
	run -0 inside fastsocket enable fs-service
	runs fs-service attached
	sed -i '/^DeviceAllow=/d' "$units/fs-service.service.d/50-fastsocket.conf"
	inside systemctl daemon-reload
	runs fs-service native
	run -0 inside fastsocket enable --now fs-service
	equal "enabled again" "$(<"$said")" "one attached"
}

@test "enable: a service that may use all devices still may" {
	service "ExecStartPre=+/bin/sh -c 'exec 3>/dev/kmsg'"
	run -0 inside fastsocket enable fs-service
	runs fs-service attached
}

@test "enable: a root directory of its own needs RootDirectoryStartOnly=" {
	mkdir -p /srv/fs-jail
	service RootDirectory=/srv/fs-jail "BindReadOnlyPaths=/usr /lib -/lib64 /bin" MountAPIVFS=yes
	run -0 inside fastsocket enable fs-service
	[[ $output = *RootDirectoryStartOnly=yes* ]]
	runs fs-service native
	service RootDirectory=/srv/fs-jail "BindReadOnlyPaths=/usr /lib -/lib64 /bin" MountAPIVFS=yes RootDirectoryStartOnly=yes
	runs fs-service attached
}

@test "enable: a service to which its control group is delegated" {
	service Delegate=yes
	run -0 inside fastsocket enable --now fs-service
	equal "delegated" "$(<"$said")" "one attached"
}

@test "enable: all instances of a template" {
	service
	mv "$units/fs-service.service" "$units/fs-template@.service"
	inside systemctl daemon-reload
	run -0 inside fastsocket enable fs-template@
	runs fs-template@one attached
	runs fs-template@two attached
}

@test "enable: without the module the service starts, natively" {
	service
	run -0 inside fastsocket enable --now fs-service
	equal "with the module" "$(<"$said")" "one attached"
	inside systemctl stop fs-service
	fs_unload
	runs fs-service native
}

# stays: a service that stays, and listens anew at each reload, as a server does that replaces its workers
stays() {
	service
	# each reload would truncate its output
	sed -i '/^\(Type\|RemainAfterExit\|ExecStart\)=/d; s/=truncate:/=append:/' "$units/fs-service.service"
	{
		echo 'Type=exec'
		echo "ExecStart=/bin/bash -c 'listen() { fs-probe-static one; }; trap listen HUP; listen; while :; do sleep infinity & wait; done'"
		echo "ExecReload=/bin/kill -HUP \$MAINPID"
	} >>"$units/fs-service.service"
	inside systemctl daemon-reload
}

has_said() { [ "$(wc -l <"$said")" = "$1" ]; }

# reloads "attached"|"native": and what it listens on from then on is that
reloads() {
	local lines
	lines=$(wc -l <"$said")
	inside systemctl reload fs-service
	wait_until 20 has_said $((lines + 1)) || fail "nothing new after the reload: $(<"$said")"
	equal "after the reload" "$(tail -n 1 "$said")" "one $1"
}

# starts "attached"|"native": the service that stays
starts() {
	rm -f "$said"
	inside systemctl restart fs-service
	wait_until 20 has_said 1 || fail "it does not listen: $(inside systemctl status fs-service)"
	equal "at the start" "$(<"$said")" "one $1"
}

@test "enable: a static program that is reloaded stays attached with what it listens on anew" {
	stays
	run -0 inside fastsocket enable fs-service
	starts attached
	reloads attached
	reloads attached
}

# answers PORT QUESTION ANSWER: what the server's first line is
answers() (
	exec 4<>"/dev/tcp/127.0.0.1/$1" 2>/dev/null || exit
	printf '%b' "$2" >&4
	read -rt 20 line <&4
	[ "$line" = "$3"$'\r' ]
)

# attached_on PORT: how many of its listeners are
attached_on() { fs_listener_field "$1" - port | wc -l; }

all_attached_on() { [ "$(attached_on "$1")" = "$(ss -ltnH "sport = :$1" | wc -l)" ]; }

# serves UNIT PORT QUESTION ANSWER "attached"|"native": it answers, and all its listeners are that
serves() {
	wait_until 20 answers "$2" "$3" "$4" || fail "$1 does not answer: $(inside systemctl status "$1")"
	if [ "$5" = native ]; then
		equal "listeners of $1's that are attached" "$(attached_on "$2")" 0
	else
		wait_until 20 all_attached_on "$2" || fail "$1: $(attached_on "$2") attached of $(ss -ltn "sport = :$2")"
	fi
}

# debian UNIT PORT QUESTION ANSWER: a unit as its package installs it, but without all that a whole machine starts before it
debian() {
	local dropin=$units/$1.service.d/50-fastsocket.conf
	mkdir -p "${dropin%/*}"
	printf '[Unit]\nDefaultDependencies=no\n' >"${dropin%/*}/00-test.conf"
	run -0 inside fastsocket enable "$1"
	[ -s "$dropin" ] || fail "there is no $dropin"
	inside systemctl start "$1" || fail "$1 does not start: $(inside systemctl status "$1")"
	serves "$@" attached
	if [ "$(inside systemctl show -P CanReload "$1")" = yes ]; then
		inside systemctl reload "$1" || fail "$1 does not reload: $(inside systemctl status "$1")"
		serves "$@" attached
	fi
	run -0 inside fastsocket disable --now "$1"
	[ ! -e "$dropin" ] || fail "$dropin is still there"
	serves "$@" native
}

@test "enable: Debian's own units of nginx, haproxy and redis, at start and after a reload; disable --now" {
	# Debian's has no frontend, and binds the log's socket
	printf 'defaults\n\tmode http\n\ttimeout client 9s\nfrontend f\n\tbind :8080\n\thttp-request return status 200\n' >/etc/haproxy/haproxy.cfg
	[ -e /dev/log ] || touch /dev/log
	debian nginx 80 'GET / HTTP/1.0\r\n\r\n' 'HTTP/1.1 200 OK'
	debian haproxy 8080 'GET / HTTP/1.0\r\n\r\n' 'HTTP/1.1 200 OK'
	debian redis-server 6379 'PING\r\n' '+PONG'
}

@test "enrol --unit, revoke --unit: a service that runs, from its next reload on" {
	stays
	starts native
	run -0 inside fastsocket enrol --unit fs-service
	reloads attached
	run -0 fastsocket enrolled
	[[ $output = *"/fs-service.service"* ]]
	run -0 inside fastsocket revoke --unit fs-service
	reloads native
	run -0 fastsocket enrolled
	[[ $output != *"/fs-service.service"* ]]
}

@test "doctor: a service that is enabled and runs without being enrolled is a finding" {
	stays
	run -0 inside fastsocket enable fs-service
	starts attached
	run inside fastsocket doctor --json
	[[ $output = *'"findings"'* && $output != *not-enrolled* ]]
	inside fastsocket revoke --unit fs-service
	run inside fastsocket doctor --json
	[[ $output = *not-enrolled* ]]
}

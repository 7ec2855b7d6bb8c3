# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # used by the suites, set by helpers.bash
# fsserve and fsload as the suites use them: servers that take orders, clients
# whose every connection is accounted for. Loaded after ../helpers.

declare -gA server_pid=() server_in=() server_out=() server_errors=() server_attached=()
clients_pid='' stats='' result='' answer=''
ports_used=0 servers_started=0

# port NAME: sets variable NAME to a port nobody has used in this virtual machine
port() {
	printf -v "$1" %d $((10000 + BATS_TEST_NUMBER * 100 + ports_used))
	ports_used=$((ports_used + 1))
}

# field KEY LINE: the value in a line of key=value
field() {
	[[ " $2 " == *" $1="* ]] || fail "no $1= in: $2" || return
	local rest=" $2 "
	rest=${rest#*" $1="}
	echo "${rest%% *}"
}

# nth INDEX LIST: an element of 1,2,3
nth() {
	local list
	IFS=, read -ra list <<<"$2"
	echo "${list[$1]}"
}

# ---- servers ----

# server NAME ARGUMENTS OF FSSERVE...: started, with its workers waiting. What the array
# "under" holds goes in front, for example (taskset -c 1,2).
under=()
server() {
	local name=$1 in out
	local files=$BATS_TEST_TMPDIR/server-$1-$((servers_started++))
	shift
	mkfifo "$files.in" "$files.out"
	"${under[@]}" "$FS_BIN/fsserve" -C "$@" <"$files.in" >"$files.out" 2>"$files.errors" 3>&- &
	server_pid[$name]=$! server_errors[$name]=$files.errors
	server_attached[$name]=''
	[[ " $* " != *" -f "* ]] || server_attached[$name]=yes
	exec {in}>"$files.in" {out}<"$files.out"
	server_in[$name]=$in server_out[$name]=$out
	hear "$name"
	[[ $answer == ready* ]] || fail "fsserve $*: $answer"
}

# hear NAME: the next line of a server, in "answer"
hear() {
	read -r -t 60 -u "${server_out[$1]}" answer || {
		cat "${server_errors[$1]}" >&2
		fail "server $1 says nothing"
	}
}

# tell NAME COMMAND...: a command that must succeed
tell() {
	local name=$1
	shift
	echo "$*" >&"${server_in[$name]}"
	hear "$name"
	[ "$answer" = "done" ] || fail "server $name: $*: $answer"
}

# look NAME: its counters now, in "stats"
look() {
	echo stats >&"${server_in[$1]}"
	hear "$1"
	stats=$answer
}

# end NAME: stops it; its last counters are in "stats"
end() {
	local in=${server_in[$1]} out=${server_out[$1]}
	kill -TERM "${server_pid[$1]}"
	hear "$1"
	stats=$answer
	exec {in}>&- {out}<&-
	wait "${server_pid[$1]}" || fail "server $1 ended with $?"
	[ ! -s "${server_errors[$1]}" ] || { cat "${server_errors[$1]}"; fail "server $1 complained"; }
	unset "server_pid[$1]" "server_in[$1]" "server_out[$1]" "server_errors[$1]"
}

# abandon_servers: for teardown, whatever the state they are in
abandon_servers() {
	local name
	[ -z "$clients_pid" ] || kill -KILL "$clients_pid" 2>/dev/null || true
	for name in "${!server_pid[@]}"; do
		kill -CONT "${server_pid[$name]}" 2>/dev/null || true
		kill -KILL "${server_pid[$name]}" 2>/dev/null || true
		wait "${server_pid[$name]}" 2>/dev/null || true
	done
	server_pid=()
}

# ---- clients ----

# clients ARGUMENTS OF FSLOAD...: runs it; its last line is in "result"
clients() {
	result=$("$FS_BIN/fsload" "$@" 3>&- </dev/null) || true
	result=${result##*$'\n'}
}

# clients_begin ARGUMENTS...: beside what the test does
clients_begin() {
	local in=$BATS_TEST_TMPDIR/clients.in
	clients_out=$BATS_TEST_TMPDIR/clients.out
	[ -p "$in" ] || mkfifo "$in"
	: >"$clients_out"
	# open for both: clients that do not read must not make us wait, nor break the pipe
	exec {clients_in}<>"$in"
	"$FS_BIN/fsload" "$@" <"$in" >"$clients_out" 3>&- &
	clients_pid=$!
}

# clients_open ARGUMENTS...: connections that are established, with requests to be sent by
# clients_end; sets "established"
clients_open() {
	clients_begin -o "$@"
	wait_until 60 clients_say established
	established=$(field established "$result")
}

# clients_say KEY: the first line, in "result", has it
clients_say() { read -r result <"$clients_out" && [[ $result = *$1=* ]]; }

# clients_end: lets them send what they have to, and waits for their line
clients_end() {
	echo >&"$clients_in"
	wait "$clients_pid" || true
	clients_pid=''
	exec {clients_in}>&-
	result=$(<"$clients_out")
	result=${result##*$'\n'}
}

# ---- what must hold ----

# These run often, and every fork costs an emulated machine milliseconds.

# answered NUMBER: so many connections were made, and all were answered
answered() {
	[[ $result == "conns=$1 ok=$1 "* ]] || fail "answered ($result), expected $1"
}

# counted NUMBER NAME...: the servers together accepted and answered so many since "reset"
counted() {
	local want=$1 accepted=0 replied=0 name
	shift
	for name; do
		look "$name"
		[[ $stats =~ ^accepted=([0-9]+)\ .*\ replied=([0-9]+)\  ]] || fail "$stats"
		accepted=$((accepted + BASH_REMATCH[1]))
		replied=$((replied + BASH_REMATCH[2]))
	done
	[ "$accepted $replied" = "$want $want" ] || fail "accepted $accepted, replied $replied, expected $want ($stats)"
}

# sooner_than MS: every connection of the last clients had its reply by then. A kernel with
# detectors gets five times as long: what is to be told apart are rescues and retransmissions.
sooner_than() {
	local ms=$1
	[ "$FS_LANE" = stock ] || ms=$((5 * ms))
	if [[ ! $result =~ max_ms=([0-9]+) ]] || [ "${BASH_REMATCH[1]}" -gt "$ms" ]; then
		fail "a reply took longer than $ms ms: $result"
	fi
}

# local_enough PERCENT: so many of the connections in "stats" were accepted where they arrived
local_enough() {
	[[ $stats =~ ^accepted=([0-9]+)\ local=([0-9]+)\  ]] &&
		[ "${BASH_REMATCH[1]}" -gt 0 ] &&
		[ $((BASH_REMATCH[2] * 100)) -ge $((BASH_REMATCH[1] * $1)) ]
}

# warm NAME PORT [ADDRESS...]: until every worker of an attached listener has a CPU of its own, or for a
# while; counters are 0 afterwards
warm() {
	local name=$1 to=$2 addr args=()
	shift 2
	for addr; do args+=(-a "$addr"); done
	for _ in 1 2 3 4 5; do
		clients -p "$to" -n 48 -P 4 -c 0-3 "${args[@]}"
		answered 48
		[ "${server_attached[$name]}" ] || break
		look "$name"
		[[ $stats =~ \ aff=([^ ]*) ]] && bound "${BASH_REMATCH[1]}" && break
	done
	tell "$name" reset
}

# bound MASKS: every one has a single CPU
bound() {
	local mask list
	IFS=, read -ra list <<<"$1"
	for mask in "${list[@]}"; do
		mask=$((16#$mask))
		[ $((mask & (mask - 1))) = 0 ] || return 1
	done
}

# mask_cpu MASK: the only CPU in it
mask_cpu() {
	local mask=$((16#$1)) cpu=0
	[[ $mask != 0 && $((mask & (mask - 1))) = 0 ]] || fail "mask $1 is not of one CPU"
	while [ $((mask >>= 1)) != 0 ]; do cpu=$((cpu + 1)); done
	echo "$cpu"
}

# worker_on NAME CPU: index of a worker that is bound to CPU
worker_on() {
	local list i
	look "$1"
	IFS=, read -ra list <<<"$(field aff "$stats")"
	for i in "${!list[@]}"; do
		[ "$((16#${list[i]}))" = $((1 << $2)) ] && { echo "$i"; return; }
	done
	fail "no worker on CPU $2: $stats"
}

# ---- the module in another mode, for one test ----

# in_mode MODE: loads the module anew
in_mode() {
	fs_unload
	fs_load "enable_listen_spawn=$1"
}

usual_setup() { fs_loaded || fs_load enable_listen_spawn=2; }

usual_teardown() {
	abandon_servers
	[ ! -e "$fs_param" ] || [ "$(<"$fs_param")" = 2 ] || fs_unload
	fs_klog_clean
	fs_taint_clean
}

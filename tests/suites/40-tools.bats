#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# tools/libfsocket.so and tools/fastsocket, with programs that know nothing of them.
# shellcheck disable=SC2154 # set by helpers.bash and by run
bats_require_minimum_version 1.5.0
load ../helpers

tool=$FS_ROOT/tools/fastsocket
library=$FS_ROOT/tools/libfsocket.so
probe=$FS_BIN/listen_probe
# With the library in any case: enrolling, which is the rule, has a suite of its own.
under=("$tool" run --preload --)

setup() { fs_loaded || fs_load; }

teardown() {
	release_hold
	chmod 666 /dev/fastsocket 2>/dev/null || true
	! fs_loaded || echo 2 >"$fs_param"
	! fs_loaded || wait_until 5 references_are 0 || fail "references left: $(references)"
	fs_klog_clean
	fs_taint_clean
}

teardown_file() { ! fs_loaded || fs_unload; }

# hold COMMAND...: one that prints its port and ends with its input; sets port and hold_pid
hold() {
	mkfifo "$fs_tmp/input"
	"$@" <"$fs_tmp/input" >"$fs_tmp/port" 3>&- &
	hold_pid=$!
	exec 9>"$fs_tmp/input"
	wait_until 10 test -s "$fs_tmp/port"
	port=$(<"$fs_tmp/port")
}

release_hold() {
	[ -n "${hold_pid:-}" ] || return 0
	exec 9>&-
	wait "$hold_pid" || true
	hold_pid=
}

# request PORT: one connection, opened and closed by both sides
request() { (exec 8<>"/dev/tcp/127.0.0.1/$1" && cat <&8 >/dev/null) 3>&- 9>&-; }

warnings() { grep -c '^fastsocket: ' <<<"$stderr" || true; }

# attached CASE LINE...: what the program says of its listeners when run under Fastsocket
attached() {
	local name=$1
	shift
	run --separate-stderr timeout 30 "${under[@]}" "$probe" "$name"
	equal "exit status of $name" "$status" 0
	equal "output of $name" "$output" "$(printf '%s attached\n' "$@")"
	equal "stderr of $name" "$stderr" ""
}

@test "a program that is not run under Fastsocket is left alone" {
	run --separate-stderr "$probe" both_families
	equal "output" "$output" $'ipv4 native\nipv6 native'
	equal "references" "$(references)" 0
}

@test "run: the IPv4 and IPv6 listeners of an unmodified program are attached and serve accept4" {
	attached both_families ipv4 ipv6
}

@test "run: listeners of the parent and of the child of a fork are attached, the inherited one too" {
	attached forks inherited child
}

@test "run: listen() in a vfork child works" {
	attached vforks vfork
}

@test "run: a program started with posix_spawn is covered" {
	attached spawns one
}

@test "run: threads that listen at the same time are all covered" {
	attached threads thread thread thread thread thread thread thread thread
}

@test "run: listen() in a signal handler works" {
	attached signals signal
}

@test "run: a duplicated descriptor is the same listener; the last close ends it" {
	attached dups dup first-closed
}

@test "library: every result and errno of listen() is the kernel's, with the module and without" {
	run --separate-stderr "$probe" errors
	local native=$output
	equal "lines" "${#lines[@]}" 16
	run --separate-stderr "${under[@]}" "$probe" errors
	equal "results with the module" "$output" "$native"
	equal "warnings" "$stderr" ""
	fs_unload
	LD_PRELOAD=$library run --separate-stderr "$probe" errors
	equal "results without the module" "$output" "$native"
	equal "warnings" "$(warnings)" 1
}

@test "library: the device is not kept open and the numbers of descriptors stay the same" {
	run --separate-stderr "${under[@]}" "$probe" descriptors
	equal "output" "$output $stderr" "same "
	hold "${under[@]}" "$probe" hold
	run ls -l "/proc/$hold_pid/fd"
	[[ $output != *"/dev/fastsocket"* ]]
	equal "attached" "$(fs_listener_field "$port" - port)" "$port"
}

@test "library: a listener keeps the module in use exactly until it is closed" {
	equal "references" "$(references)" 0
	hold "${under[@]}" "$probe" hold
	at_least "references" "$(references)" 1
	run ! rmmod fastsocket
	release_hold
	wait_until 5 references_are 0
	rmmod fastsocket
}

@test "library: without the module there is one warning, and the program listens" {
	fs_unload
	LD_PRELOAD=$library run --separate-stderr "$probe" twice
	equal "exit status" "$status" 0
	equal "output" "$output" $'one native\none native'
	equal "warnings" "$(warnings)" 1
	[[ $stderr == *"module"* ]]
}

@test "library: without the module a child does not repeat its parent's warning" {
	fs_unload
	LD_PRELOAD=$library run --separate-stderr "$probe" forks
	equal "exit status" "$status" 0
	equal "warnings" "$(warnings)" 1
}

@test "library: a module loaded later is used from the next listen() on" {
	fs_unload
	LD_PRELOAD=$library run --separate-stderr "$probe" one
	equal "output" "$output" "one native"
	fs_load
	LD_PRELOAD=$library run --separate-stderr "$probe" one
	equal "output" "$output" "one attached"
}

@test "library: something else in the place of the device does no harm" {
	fs_unload
	rm -f /dev/fastsocket
	: >/dev/fastsocket
	LD_PRELOAD=$library run --separate-stderr timeout 10 "$probe" one
	equal "a file: output" "$status $output $(warnings)" "0 one native 1"
	rm /dev/fastsocket
	mkfifo /dev/fastsocket
	LD_PRELOAD=$library run --separate-stderr timeout 10 "$probe" one
	equal "a FIFO: output" "$status $output $(warnings)" "0 one native 1"
	rm /dev/fastsocket
	mkdir /dev/fastsocket
	LD_PRELOAD=$library run --separate-stderr timeout 10 "$probe" one
	equal "a directory: output" "$status $output $(warnings)" "0 one native 1"
	rmdir /dev/fastsocket
}

@test "library: a device that may not be opened means one warning" {
	chmod 600 /dev/fastsocket
	install -m 755 "$probe" "$library" /run/
	run --separate-stderr setpriv --reuid=65534 --regid=65534 --clear-groups \
		env LD_PRELOAD=/run/libfsocket.so /run/listen_probe one
	equal "output" "$status $output $(warnings)" "0 one native 1"
	[[ $stderr == *"permission denied"* ]]
}

@test "library: listen() works with no descriptor left" {
	run --separate-stderr "${under[@]}" "$probe" no_descriptor_left
	equal "output" "$status $output $(warnings)" "0 listens 1"
	[[ $stderr == *"too many open files"* ]]
}

@test "library: listen() is no cancellation point" {
	run --separate-stderr "${under[@]}" "$probe" cancellation
	equal "output" "$status $output" "0 listens"
}

@test "library: a warning that nobody can read neither ends nor stops the program" {
	fs_unload
	LD_PRELOAD=$library run --separate-stderr timeout -k 5 30 "$probe" exec_with_broken_stderr
	equal "closed pipe" "$status $output" "0 listens"
	LD_PRELOAD=$library run --separate-stderr timeout -k 5 30 "$probe" exec_with_full_stderr
	equal "full pipe" "$status $output" "0 listens"
}

@test "library: no warning goes into a file that became descriptor 2 later" {
	fs_unload
	LD_PRELOAD=$library run --separate-stderr "$probe" reused_stderr
	equal "output" "$status $output" "0 0 bytes written"
}

@test "library: interposes listen alone, and calls nothing that may block, lock or be cancelled" {
	run nm -D --defined-only "$library"
	equal "symbols" "$(awk '{ print $NF }' <<<"$output")" listen
	run ! grep -E ' U (open|openat|close|write|ioctl|malloc|free|printf|fprintf|exit|abort|pthread_mutex.*)(64)?(@|$)' \
		<(nm -D --undefined-only "$library")
}

@test "run: other preloaded libraries are kept and see every call first" {
	LD_PRELOAD=$FS_BIN/preload_chain.so run --separate-stderr "${under[@]}" "$probe" one
	equal "output" "$output" $'chain\none attached'
	# shellcheck disable=SC2016
	LD_PRELOAD="/a.so $FS_BIN/preload_chain.so" run --separate-stderr "${under[@]}" \
		"$BASH" -c 'echo "$LD_PRELOAD"'
	equal "LD_PRELOAD" "$output" "/a.so $FS_BIN/preload_chain.so:$library"
	# shellcheck disable=SC2016
	LD_PRELOAD=$library run --separate-stderr "${under[@]}" "$BASH" -c 'echo "$LD_PRELOAD"'
	equal "LD_PRELOAD, not twice" "$output" "$library"
}

@test "run: arguments, exit status, input, process id and a signal's death are the command's own" {
	run --separate-stderr "${under[@]}" "$BASH" -c 'printf "[%s]" "$@"; exit 7' x 'a b' '' '*' -n --
	equal "status and arguments" "$status $output" '7 [a b][][*][-n][--]'
	equal "stderr" "$stderr" ""
	run --separate-stderr "$tool" run --preload "$BASH" -c 'cat' <<<hello
	equal "input, without --" "$output" hello
	# shellcheck disable=SC2016
	run --separate-stderr "$BASH" -c 'echo $$; exec "$@"' x "${under[@]}" "$BASH" -c 'echo $$'
	equal "process id" "${lines[0]}" "${lines[1]}"
	# shellcheck disable=SC2016
	run --separate-stderr "${under[@]}" "$BASH" -c 'kill -USR1 $$'
	equal "status" "$status" $((128 + 10))
}

@test "run: what cannot be executed says so: 127, 126, and 2 for wrong use" {
	run --separate-stderr -127 "${under[@]}" /nonexistent/program
	run --separate-stderr -127 "${under[@]}" no-such-program
	[[ $stderr == *"no-such-program: not found"* ]]
	run --separate-stderr -126 "${under[@]}" /etc/passwd
	run --separate-stderr -126 "${under[@]}" /etc
	run --separate-stderr -2 "${under[@]}"
	run --separate-stderr -2 "$tool"
	run --separate-stderr -2 "$tool" walk
	[[ $stderr == *"Usage:"* && -z $output ]]
	run --separate-stderr -2 "$tool" run --enrol true
}

@test "run: without the module the command runs, after a warning" {
	fs_unload
	run --separate-stderr "${under[@]}" echo hello
	equal "status and output" "$status $output" "0 hello"
	equal "warnings" "$(warnings)" 1
	[[ $stderr == *"not loaded"*"echo"* ]]
}

@test "run: says when enable_listen_spawn is 0" {
	echo 0 >"$fs_param"
	run --separate-stderr "${under[@]}" "$probe" one
	equal "status" "$status" 0
	[[ $stderr == *"enable_listen_spawn is 0"* ]]
}

@test "run: says of a static program that it is not covered, and runs it" {
	run --separate-stderr -2 "${under[@]}" "$FS_BIN/ioctl_abi32"
	[[ $stderr == *"statically linked"* ]]
	printf '#!%s\n' "$FS_BIN/ioctl_abi32" >"$fs_tmp/script"
	chmod +x "$fs_tmp/script"
	run --separate-stderr "${under[@]}" "$fs_tmp/script"
	[[ $stderr == *"statically linked"* ]]
	printf '#!/bin/sh\nexit 0\n' >"$fs_tmp/script"
	run --separate-stderr -0 "${under[@]}" "$fs_tmp/script"
	equal "stderr for a dynamic interpreter" "$stderr" ""
}

@test "run: says of a program with raised privileges that it is not covered" {
	install -d /run/fs-tool
	install -m 755 "$tool" "$library" /run/fs-tool/
	install -m 4755 "$(type -P true)" /run/fs-tool/raised
	run --separate-stderr -0 setpriv --reuid=65534 --regid=65534 --clear-groups \
		/run/fs-tool/fastsocket run --preload -- /run/fs-tool/raised
	[[ $stderr == *"raised privileges"* ]]
	run --separate-stderr -0 "${under[@]}" /run/fs-tool/raised
	equal "root gains nothing by it: stderr" "$stderr" ""
}

@test "run: finds the installed library; without one, or with one that LD_PRELOAD cannot name, the command still runs" {
	make -s -C "$FS_ROOT/tools" install PREFIX="$fs_tmp/usr"
	run --separate-stderr "$fs_tmp/usr/bin/fastsocket" run --preload "$probe" one
	equal "installed" "$output$stderr" "one attached"
	ln -s "$fs_tmp/usr/bin/fastsocket" "$fs_tmp/link"
	run --separate-stderr "$fs_tmp/link" run --preload "$probe" one
	equal "through a link" "$output$stderr" "one attached"
	rm "$fs_tmp/usr/lib/fastsocket/libfsocket.so"
	run --separate-stderr -0 "$fs_tmp/link" run --preload "$probe" one
	equal "no library" "$output" "one native"
	[[ $stderr == *"libfsocket.so is not installed"* ]]
	mkdir "$fs_tmp/a b"
	cp "$tool" "$library" "$fs_tmp/a b"
	run --separate-stderr -0 "$fs_tmp/a b/fastsocket" run --preload "$probe" one
	equal "space in the path" "$output" "one native"
	[[ $stderr == *"LD_PRELOAD cannot name"* ]]
}

@test "status: 3 without the module, 0 with it" {
	run --separate-stderr -0 "$tool" status
	[[ $output == *"enable_listen_spawn = 2"* ]]
	[[ $output == *"Attached listeners"*none* ]]
	fs_unload
	run --separate-stderr -3 "$tool" status
	equal "output" "$output" "The module is not loaded."
	run --separate-stderr -2 "$tool" status now
}

@test "status: shows the listeners and the sums of the statistics" {
	local name
	hold "${under[@]}" "$probe" hold
	for _ in 1 2 3 4 5; do request "$port"; done
	run --separate-stderr -0 "$tool" status
	equal "stderr" "$stderr" ""
	grep -Eq "^ +127\.0\.0\.1 +$port +- " <<<"$output" || fail "no row of port $port: $output"
	read -ra row <<<"$(grep -E '^ +all ' <<<"$output")"
	equal "local" "${row[1]}" "$(fs_column local)"
	equal "remote" "${row[2]}" "$(fs_column remote)"
	equal "global" "${row[3]}" "$(fs_column global)"
	equal "redirected" "${row[5]}" "$(fs_column redirected)"
	equal "drained" "${row[6]}" "$(fs_column drained)"
	equal "accepted" $((row[1] + row[2] + row[3])) 5
	equal "CPUs" "$(grep -cE '^ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +[-0-9.]+%? ' <<<"$output")" "$(fs_possible_cpus)"
	for name in $(head -n 1 "$fs_stats"); do
		case $name in cpu | local | remote | global | redirected | drained | private | published) continue ;; esac
		[ "$(fs_column "$name")" = 0 ] ||
			grep -Eq "^ +$name +$(fs_column "$name") +[a-zA-Z]" <<<"$output" || fail "no explained line for $name: $output"
	done
}

@test "status: every reason that the module counts is explained" {
	local name
	for name in $(head -n 1 "$fs_stats"); do
		case $name in cpu | local | remote | global | redirected | drained | private | published) continue ;; esac
		grep -q "means\[\"$name\"\]" "$FS_ROOT/tools/stat.awk" || fail "$name is not explained by the command"
		grep -qP "^\t\t\t$name\t" "$FS_ROOT/docs/ABI/procfs-fastsocket" || fail "$name is not explained in docs/ABI"
	done
}

@test "status: needs no privileges" {
	make -s -C "$FS_ROOT/tools" install PREFIX=/run/fs-tool
	run --separate-stderr -0 setpriv --reuid=65534 --regid=65534 --clear-groups /run/fs-tool/bin/fastsocket status
	equal "stderr" "$stderr" ""
	[[ $output == *"enable_listen_spawn = 2"* ]]
}

@test "help and version answer without the module" {
	fs_unload
	run --separate-stderr -0 "$tool" --help
	[[ $output == *"Usage: fastsocket run"* && -z $stderr ]]
	run --separate-stderr -0 "$tool" --version
	[[ $output =~ ^fastsocket\ [0-9]+\.[0-9]+ ]]
}

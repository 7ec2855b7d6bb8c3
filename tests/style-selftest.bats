#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The style gates can fail: each finds what is put into a copy of the tree, and
# nothing else does. Runs on the host.

bats_require_minimum_version 1.5.0

# What costs little is run against every violation.
cheap=(clang-format kernel-doc uapi spdx whitespace places man version kernels)

setup() {
	tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree"
	cd "$BATS_TEST_DIRNAME/.." || return
	cp --parents -r Makefile Kbuild docs/kernels.md .clang-format ./*.c include tools/fastsocket tools/libfsocket.c tools/man tests/style tests/setup tests/kernels-table \
		tests/helpers.bash tests/suites/10-load.bats tests/vm/cpuwatch.c \
		debian/changelog packaging/rpm/fastsocket.spec packaging/kubernetes/module.yaml "$tree"
	cd "$tree" || return
	rm -f ./*.mod.c
}

# red GATE...: of these and the cheap ones, exactly these fail; their findings are in $output
red() {
	local failed gates
	mapfile -t gates < <(printf '%s\n' "$@" "${cheap[@]}" | sort -u)
	run tests/style "${gates[@]}"
	echo "$output"
	failed=$(sed -nE 's/^not ok ([a-z-]+) .*/\1/p' <<<"$output" | sort | xargs)
	echo "failed: $failed"
	[ "$status" != 0 ]
	[ "$failed" = "$(printf '%s\n' "$@" | sort | xargs)" ]
}

# finds TEXT...: among the findings
finds() {
	local text
	for text; do [[ $output = *"$text"* ]] || { echo "not found: $text"; return 1; }; done
}

# change FILE SED-EXPRESSION: it has to change something
change() {
	cp "$1" "$BATS_TEST_TMPDIR/before"
	sed -i -E "$2" "$1"
	if cmp -s "$BATS_TEST_TMPDIR/before" "$1"; then
		echo "$1 is as before: $2"
		return 1
	fi
}

@test "the copy itself passes" {
	FS_COCCI='locks|kfree' run tests/style
	echo "$output"
	[ "$status" = 0 ]
	[ "$(grep -c '^ok' <<<"$output")" = "$(tests/style --list | wc -l)" ]
}

@test "style --list names the gates, one that does not exist is an error" {
	[ "$(tests/style --list | wc -l)" -ge 11 ]
	run ! tests/style nonsense
}

@test "build: an endian mismatch, an unused variable, a lock that stays locked" {
	change fastsocket_stats.c '/^static int fs_show_counters/i static u16 fs_port(__be16 port)\n{\n\treturn port;\n}\n'
	change fastsocket_stats.c 's/(.*seq_puts\(m, "cpu"\);)/\1\n\tseq_printf(m, "%u", fs_port(htons(1)));/'
	change fastsocket_sys.c '/^void fs_sys_init/,/^\{/s/^\{/{\n\tint nobody;\n/'
	change listen_worker.c '/^bool fs_pid_alive/,/^\}/s/.*rcu_read_unlock.*/\tif (!alive)\n\t\trcu_read_unlock();/'
	red build
	finds 'restricted __be16' 'unused variable' "context imbalance in 'fs_pid_alive'"
}

@test "clang-format: a line that is broken where it need not be, and one indented wrongly" {
	change fastsocket_sys.c 's/^(int fs_sys_socket\(int family,) /\1\n\t\t  /'
	change fastsocket_main.c 's/^\t(WRITE_ONCE\(fs_spawn_mode, mode\);)/\t\t\1/'
	red clang-format
	finds '-int fs_sys_socket(int family,' 'WRITE_ONCE(fs_spawn_mode, mode);'
}

@test "checkpatch: a comment with //, a comparison with NULL, a misspelt word; programs too" {
	change fastsocket_sys.c '/^void fs_sys_init/i // No comment.\n'
	change listen_worker.c 's/^\tif \(!t\)$/\tif (t == NULL)/'
	change listen_clone.c '0,/^\t\/\* Even/s//\t\/* Recieve: even/'
	change tests/vm/cpuwatch.c '0,/^(static [^=]*)\{/s//\1{  /; $a static int x=1;'
	red checkpatch
	finds 'fastsocket_sys.c:' 'C99_COMMENTS' 'listen_worker.c:' 'COMPARISON_TO_NULL' 'TYPO_SPELLING' 'cpuwatch.c:' 'SPACING'
}

@test "checkpatch: an exception holds for its file only" {
	change listen_worker.c '/^static DEFINE_MUTEX/a struct proto_ops fs_nothing;'
	red checkpatch
	finds 'listen_worker.c:' 'CONST_STRUCT'
}

@test "coccinelle: a return with the lock held, memory used after kfree()" {
	change fastsocket_stats.c '/^static struct fs_net \*fs_seq_net/i static int fs_bad(struct fs_net *fn)\n{\n\tmutex_lock(\&fn->lock);\n\tif (list_empty(\&fn->listeners))\n\t\treturn -ENOENT;\n\tmutex_unlock(\&fn->lock);\n\treturn 0;\n}\n'
	change listen_worker.c '/^static struct fs_task \*fs_task_new/,/^\}/s/^(\t\tkfree\(t\);)/\1\n\t\tt->cpu = 0;/'
	FS_COCCI='locks/|free/kfree$' red coccinelle
	finds 'locks/mini_lock: fastsocket_stats.c' 'free/kfree: listen_worker.c'
}

@test "coccinelle: a function that cannot be parsed" {
	change listen_worker.c '/^static bool fs_may_use/,/^\}/s/^\{/{ FS_ODD(;)/'
	FS_COCCI='locks/flags' red coccinelle clang-format
	finds 'fs_may_use'
}

@test "kernel-doc: a member, a parameter, a result and a function without a word" {
	change include/listen_spawn.h '/^ \* @dead: /d'
	change listen_clone.c '/^ \* @cpu: the CPU$/d'
	change listen_spawn.c '/^ \* Return: whether it is\.$/d'
	change listen_worker.c 's,^/\*\*$,/*,'
	red kernel-doc
	finds "'dead' not described in 'fs_listener'" "'cpu' not described in 'fs_clone_get'" "return value of 'fs_can_attach'" \
		'fs_worker_join() is called by other files'
}

@test "kernel-doc: its one-line form, which it would not look at" {
	change fastsocket_sys.c '/^static_call_|^static bool have_socket/i /** fs_x() - nothing */'
	red kernel-doc
	finds 'fs_x()'
}

@test "shellcheck: an unquoted variable in a script, in a suite" {
	printf '#!/bin/bash\n# SPDX-License-Identifier: GPL-2.0\nrm $1\n' >tools/remove
	chmod +x tools/remove
	echo 'teardown() { rm $fs_proc/x; }' >>tests/suites/10-load.bats
	red shellcheck
	finds 'In tools/remove line 3' 'In tests/suites/10-load.bats line'
}

@test "uapi: a type of the kernel, a word of C++, a size by architecture" {
	change include/uapi/linux/fastsocket.h 's/__u32 backlog/u32 backlog/'
	red uapi
	change include/uapi/linux/fastsocket.h 's/([^_])u32 backlog/\1__u32 backlog/; s/int flags;/int class;/'
	red uapi
	finds 'fails with -m64 -std=c++98'
}

@test "modinfo: a value that is not told, another default, a parameter without a word" {
	change fastsocket_main.c 's/ 1: workers/ or workers/; s/default 2/default 1/'
	change fastsocket_main.c '/^MODULE_LICENSE/i static int fs_more;\nmodule_param(fs_more, int, 0444);'
	red modinfo man
	finds 'does not tell what 1 is' 'the default is 2' "fs_more: '' has no default"
}

@test "spdx: sources and scripts without a license, or in another's form" {
	change listen_clone.c '1d'
	change tests/helpers.bash '1d'
	change include/compat.h '1s/.*/\/\/ SPDX-License-Identifier: GPL-2.0/'
	change include/uapi/linux/fastsocket.h '1s/ WITH Linux-syscall-note//'
	red spdx
	finds listen_clone.c: tests/helpers.bash: include/compat.h: include/uapi/linux/fastsocket.h:
}

@test "whitespace: blanks and empty lines at an end, no newline, blanks before a tab" {
	change tests/helpers.bash '3s/$/ /'
	change Kbuild '2s/^/  \t/'
	echo >>tools/fastsocket
	printf 'done # x' >tests/note
	red whitespace
	finds tests/helpers.bash:3 Kbuild:2 'tools/fastsocket: empty line' 'tests/note: no newline'
}

@test "places: a path of the developer's machine" {
	printf '# see /%s/someone\n' home >>tests/helpers.bash
	red places
	finds 'home/someone'
}

@test "man: a macro that is not there, and what only one of mandoc and man finds" {
	change tools/man/fastsocket.1 's/^\.SH DOCTOR/.SJ DOCTOR/'
	red man
	finds 'SJ'
	change tools/man/fastsocket.1 's/^\.SJ DOCTOR/.SH DOCTOR/; $s/$/ /'
	# Blanks at an end are the business of another gate, too.
	red man whitespace
	finds 'whitespace at end'
}

@test "man: a counter, an ioctl and a parameter that none names" {
	change tools/man/fastsocket.7 's/^\.B queue_full/.B full/; s/enable_fast_epoll/fast_epoll/'
	change tools/man/fastsocket.4 's/FSOCKET_IOC_CLOSE/CLOSE/'
	red man
	finds 'does not name queue_full' 'does not name enable_fast_epoll' 'does not name FSOCKET_IOC_CLOSE'
}

@test "version: a package or the command of another version than the module" {
	change debian/changelog '1s/\(.*\)/(9.1)/'
	change tools/fastsocket 's/^version=.*/version=9.2/'
	change packaging/rpm/fastsocket.spec 's/^(Version: +).*/\19.3/'
	change packaging/kubernetes/module.yaml '0,/:[0-9.]+-\$/s//:9.4-$/'
	change tools/man/fastsocket.7 's/"fastsocket [0-9.]+"/"fastsocket 9.5"/'
	red version
	finds "debian/changelog: '9.1'" "tools/fastsocket: '9.2'" "fastsocket.spec: '9.3'" "module.yaml: '9.4'" "man: '9.5'"
	change fastsocket_main.c 's/^MODULE_VERSION.*/MODULE_VERSION("9.6");/'
	red version
	finds 'MODULE_VERSION is not FS_VERSION'
	change include/fastsocket.h 's/^(#define FS_VERSION ")/\1v/'
	red version
	finds "FS_VERSION is 'v"
}

@test "kernels: a cell that is no number, a sum that is none, a mark that is gone" {
	change docs/kernels.md '/^\| all \|/s/ [0-9]+\/([0-9]+) \|$/ 0\/\1 |/'
	change docs/kernels.md '0,/^(\| [0-9][0-9]-.* )[0-9]+\/[0-9]+ \|$/s//\1many |/'
	red kernels
	finds 'not passed/all' 'not the sum'
	change docs/kernels.md 's/^<!-- kernels: end.*/The end./'
	red kernels
	finds 'does not have the two marks'
}

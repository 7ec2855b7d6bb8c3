#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# A build that cannot succeed says in one sentence what is missing. Runs on the host.

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_DIRNAME/.." || return
	kver=$(make -s --eval='print-kver: ; @echo $(KVER)' print-kver)
	tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree"
	cp --parents -r Makefile Kbuild ./*.c include "$tree"
	cd "$tree" || return
	rm -f ./*.mod.c fs_kernel.h
}

# without NAME...: what the functions of these probes use is not in the kernel
without() {
	local name
	for name; do
		sed -i -E "/^static void have_$name\(/,/^\}/s/^\}/\tfs_missing_$name();\n}/" include/compat/probes.c
		grep -A30 "^static void have_$name(" include/compat/probes.c | grep -q "fs_missing_$name()"
	done
}

# says SENTENCE [ARGUMENT...]: make with these fails with it, once, before anything is compiled
says() {
	local sentence=$1
	shift
	run make "KVER=$kver" "$@" modules
	echo "$output"
	[ "$status" != 0 ]
	[ "$(grep -c '^fastsocket: ' <<<"$output")" = 1 ]
	[[ $output = *"fastsocket: $sentence"* ]]
	[[ $output != *'CC [M]'* ]]
	[ ! -e fastsocket.ko ]
	[ ! -e fs_kernel.h ]
}

@test "build: of a kernel that lacks one thing the build names it" {
	without HASH_CONNECT
	says "Linux $kver is not supported, it lacks: where a connection gets its port (in "
}

@test "build: of a kernel that lacks several, all; what comes in several forms only if none is there" {
	without ACCEPT_ARG ACCEPT_FLAGS ULP TIMER_CONTAINER_OF
	says "Linux $kver is not supported, it lacks: proto_ops.accept() in a form we know; tcp_ulp_ops.clone() (in "
}

@test "build: a compiler that takes everything, or nothing, is not believed" {
	printf '#!/bin/sh\ncase $* in *--version*) exec gcc --version ;; *probes.c*) exit 0 ;; esac\nexec gcc "$@"\n' >lax
	printf '#!/bin/sh\ncase $* in *probes.c*) echo "no such option" >&2; exit 1 ;; esac\nexec gcc "$@"\n' >strict
	chmod +x lax strict
	says "the compiler (exit status 0) has not answered the probes for Linux $kver" "CC=$PWD/lax"
	says "the compiler (exit status 1) has not answered the probes for Linux $kver: no such option" "CC=$PWD/strict"
}

@test "build: without headers it says which package has them" {
	run make KDIR=/nonexistent modules
	[ "$status" != 0 ]
	[[ $output = *"No kernel headers at '/nonexistent': install linux-headers"* ]]
}

@test "build: for another kernel, or after such a failure, everything is asked again" {
	without HASH_CONNECT
	says "Linux $kver is not supported"
	sed -i '/fs_missing_/d' include/compat/probes.c
	make "KVER=$kver" modules
	[ -e fastsocket.ko ]
	[ "$(PATH=$PATH:/usr/sbin modinfo -F vermagic fastsocket.ko | cut -d' ' -f1)" = "$kver" ]
	sed -i 's,^/\* Made by Kbuild for Linux .*,/* Made by Kbuild for Linux 0 */,' fs_kernel.h
	touch -d '1 minute' include/compat/probes.c
	make "KVER=$kver" modules
	grep "Made by Kbuild for Linux $kver" fs_kernel.h
}

#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The checks of the documentation can fail: each finds what is put into a copy of the tree, and the
# others do not. Runs on the host.

bats_require_minimum_version 1.5.0

setup() {
	tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree"
	cd "$BATS_TEST_DIRNAME/.." || return
	tar -c --exclude=./.git --exclude=./tests/out --exclude='*.o' --exclude='*.ko' --exclude='*.mod.c' --exclude='.*.cmd' . |
		tar -x -C "$tree"
	cd "$tree" || return
}

# red CHECK TEXT...: this one fails and no other, and each TEXT is among the findings
red() {
	local only=$1 text
	shift
	run tests/docs
	echo "$output"
	[ "$status" = 1 ]
	[ "$(sed -n 's/^not ok //p' <<<"$output")" = "$only" ]
	[ "$(grep -c '^ok ' <<<"$output")" = $(($(tests/docs --list | wc -l) - 1)) ]
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

@test "the copy itself passes, --list names the checks, one that does not exist is an error" {
	run -0 tests/docs
	[ "$(grep -c '^ok ' <<<"$output")" = "$(tests/docs --list | wc -l)" ]
	[ "$(tests/docs --list | wc -l)" -ge 4 ]
	run -2 tests/docs nonsense
	run -2 tests/docs links nonsense
}

@test "links: a file that is not there, above and below; a heading that is not there, here and elsewhere" {
	cat >>docs/design.md <<-'END'

		[a](nowhere.md) [b](../nowhere/) [c](#no-such-heading) [d](operating.md#no-such-limits) ![e](figures/none.svg)
		[f]: /nothing.md
	END
	red links 'docs/nowhere.md' 'there is no nowhere/' '#no-such-heading' 'docs/operating.md has no heading #no-such-limits' \
		'docs/figures/none.svg' './nothing.md'
}

@test "links: what stands in code is none; headings are found with code, signs, and for the second time" {
	cat >>docs/design.md <<-'END'

		## The `fs_hook()`, & others

		## Twice

		## Twice

		[a](#the-fs_hook--others) [b](#twice) [c](#twice-1) `[d](nowhere.md)`

		```
		[e](nowhere.md)
		```
	END
	run -0 tests/docs links
	echo '[f](#twice-2)' >>docs/design.md
	red links '#twice-2'
}

@test "links: a heading that is renamed" {
	change docs/operating.md 's/^## Secure Boot$/## Signing/'
	red links 'README.md' '#secure-boot'
}

@test "log: a new line, by pr_notice() over two lines, by a macro, as a reason" {
	change fastsocket_vfs.c 's/^static int fs_pools_create\(void\)/static void fs_more(char *why, size_t why_len)\n{\n\tpr_notice_ratelimited("%d things of "\n\t\t\t      "%s are wrong\\n", 1, "x");\n\tsnprintf(why, why_len, "it is the %5.2lu. of May", 1UL);\n}\n\n&/'
	change rfd.c 's/^\/\* Look up all that is needed; under fs_rfd_lock/static void fs_more(void)\n{\n\tfs_rfd_stays_off("it is %u", 5);\n}\n\n&/'
	change fastsocket_vfs.c 's/^\t\treturn "a socket.s inode/\t\treturn "the inode is \\"odd\\"";\n&/'
	red log '... things of ... are wrong' 'it is the .... of May' 'Receive Flow Deliver stays off: it is ...' 'the inode is "odd"'
}

@test "log: a line that is worded otherwise now is missing, and the old one is too much" {
	change fastsocket_main.c 's/pr_info\("Load Module/pr_info("Loaded Module/'
	red log 'does not explain: Loaded Module' 'but nothing writes: Load Module'
}

@test "log: a line that the page does not explain any more, and one that it explains twice" {
	change docs/troubleshooting.md '/^\| `IPV6_ADDRFORM on/d; s/^\| `Remove Module` .*/&\n&/'
	red log 'does not explain: IPV6_ADDRFORM' 'explains it twice: Remove Module'
}

@test "abi: a new parameter, file, column, ioctl" {
	change fastsocket_main.c 's/^module_init/module_param(enable_more, uint, 0444);\n&/'
	change fastsocket_stats.c 's/^\tif \(!proc_create_net_single\("fsocket_rfd"/\tproc_create_single("fsocket_more", 0444, net->proc_net, fs_rfd_show);\n&/'
	change fastsocket_stats.c 's/^\tmutex_init\(&fn->lock\);/&\n\tproc_create_single("fastsocket_more", 0444, NULL, fs_rfd_show);/'
	change fastsocket_stats.c 's/^\t\[FS_DISABLED\].*/&\n\t[FS_MORE]	= "more_reasons",/; s/ queue accepts state/ queue accepts age state/; s/nclones %u/nmore_keys %u\\nclones %u/; s/"epoll_"/"more_"/'
	change enrol.c 's/kind id name/kind id age name/'
	change include/uapi/linux/fastsocket.h 's/^#define FSOCKET_IOC_CLOSE.*/&\n#define FSOCKET_IOC_MORE	_IO(FSOCKET_IOC_ID, 0x0a)/'
	red abi /sys/module/fastsocket/parameters/enable_more /proc/net/fsocket_more /proc/fastsocket_more \
		'/proc/net/fsocket_stats, does not describe: more_reasons' '/proc/net/fsocket_listeners, does not describe: age' FSOCKET_IOC_MORE \
		'describe: more_keys' 'describe: cpuN.more_NAME' 'do not have: cpuN.epoll_NAME' '/proc/fastsocket_enrolled, does not describe: age'
}

@test "abi: a parameter, a file, columns, an ioctl that are gone" {
	change fastsocket_main.c '/^module_param_cb\(enable_fast_epoll/d'
	change fastsocket_stats.c '/proc_create_single\("fsocket_epoll"/d; s/"trimmed"/"cut"/; s/\[FS_RFD_SYN\] = "syn",//'
	change include/uapi/linux/fastsocket.h '/^#define FSOCKET_IOC_SPAWN_ALL_LISTEN/d'
	red abi 'do not have: /sys/module/fastsocket/parameters/enable_fast_epoll' 'do not have: /proc/net/fsocket_epoll' \
		'/proc/net/fsocket_sockfs, does not describe: cut' 'do not have: trimmed' 'do not have: syn' 'do not have: FSOCKET_IOC_SPAWN_ALL_LISTEN'
}

@test "abi: an entry without a date, one without a description" {
	change docs/ABI/sysfs-module-fastsocket '0,/^Date:/{/^Date:/d}'
	change docs/ABI/dev-fastsocket 's/^Description:/Desc:/'
	red abi 'enable_listen_spawn has no Date:' '/dev/fastsocket has no Description:'
}

@test "figures: a source that has changed, one that is not drawn, a figure without a source, one that is on no page" {
	change docs/figures/rfd.dot 's/CPU 3/CPU 5/'
	echo 'digraph more { a -> b }' >docs/figures/more.dot
	cp docs/figures/redirect.svg docs/figures/other.svg
	red figures 'docs/figures/rfd.svg is not drawn from' 'docs/figures/more.svg is not there' 'docs/figures/other.svg has no source' \
		'docs/figures/other.svg is on no page'
}

@test "figures: one that is cut off" {
	head -n 20 docs/figures/rfd.svg >docs/figures/cut
	mv docs/figures/cut docs/figures/rfd.svg
	red figures 'docs/figures/rfd.svg does not end'
}

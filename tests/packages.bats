#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The packages, from make deb to purge. Runs on this machine, as root: a small Debian 12 in a directory is the one they
# are installed on, and a small Debian 13 beside it has a kernel of backports. The modules that DKMS has built there are
# loaded once each, in virtual machines.
#
# Each test goes on where the one before it has ended. With FS_KEEP= set the directory stays.

bats_require_minimum_version 1.5.0

root=$(cd "$BATS_TEST_DIRNAME/.." && pwd)

say() { echo "packages: $*"; }

die() {
	say "$*"
	return 1
}

. "$root/tests/kernel/mirror.bash"

# What a purge cannot leave as it was, as regular expressions for paths, each with its reason.
not_ours() {
	sed 's/[ \t]*#.*//; /^$/d' <<-'END'
		/var/lib/dpkg/(status|available|lock|triggers|diversions).*	# dpkg's own notes
		/var/lib/dpkg/(info|updates|tmp\.ci)	# directories that dpkg writes into
		/var/lib/apt/.*	# apt's own notes
		/var/cache/.*	# caches
		/var/log/.*	# logs of apt and dpkg
		/usr/lib/modules/[^/]*(/modules\..*)?	# depmod's indexes: it is run for each module that comes or goes
		/var/lib/dkms(/mok\.(key|pub))?	# dkms makes its key for Secure Boot with the first module it builds
		/etc/ld\.so\.cache	# ldconfig
		/etc/g(roup|shadow)-?	# the second kernel brings udev, which makes groups
		/(tmp|run|mnt|proc|dev|sys)(/.*)?	# places for what is running
	END
}

# copy_tree DIRECTORY: as a release would have it, without git
copy_tree() {
	mkdir -p "$1"
	tar -C "$root" --exclude=./.git --exclude=./out --exclude=./tests/out --exclude-from="$root/.gitignore" -cf - . | tar -C "$1" -xf -
}

# next_version TREE: the same sources with a greater version
next_version() {
	sed -i "s/^#define FS_VERSION.*/#define FS_VERSION \"$next\"/" "$1/include/fastsocket.h"
	sed -i "s/^version=.*/version=$next/" "$1/tools/fastsocket"
	{
		printf 'fastsocket (%s) unstable; urgency=medium\n\n  * Next.\n\n' "$next"
		printf ' -- Somebody <somebody@fastsocket.invalid>  Fri, 27 Nov 2026 18:00:00 +0000\n\n'
		cat "$root/debian/changelog"
	} >"$1/debian/changelog"
}

# repository VERSION: what apt in the image finds from now on
repository() {
	rm -rf "$dir/repository"
	mkdir "$dir/repository"
	cp "$dir/debs-$1"/*.deb "$dir/repository"
	(cd "$dir/repository" && dpkg-scanpackages -m . >Packages 2>/dev/null)
}

# make_image SUITE: with our repository. An initrd, which nobody boots, would take most of the time.
make_image() {
	index "$1"
	make_root "$1" "$image" --variant=apt --dpkgopt=path-exclude=/etc/kernel/postinst.d/initramfs-tools
	tar -C "$image" -cf "$dir/base-$1.tar" .
	rm -f "$image"/etc/{resolv.conf,hosts}
	: >"$image/etc/resolv.conf"
	: >"$image/etc/hosts"
	echo 'deb [trusted=yes] file:/srv ./' >"$image/etc/apt/sources.list.d/fastsocket.list"
	repository "$version"
	in_image apt-get -q update
}

# in_machine KERNEL NAME TEST...: of debian/tests, as root in the image, on that kernel
in_machine() {
	# shellcheck disable=SC2016 # the inner shell expands it
	run "$root/tests/vm/boot" -c 2 -m 2048 -t 600 -k "$1" -n "$2" -- bash -c '
		set -e
		cd "$1"
		mount --rbind /proc proc
		mount --rbind /sys sys
		mount --rbind /dev dev
		mount -t tmpfs tmp tmp
		mount --bind "$2/debian/tests" mnt
		shift 2
		for t; do chroot . env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash "/mnt/$t"; done' guest "$image" "$root" "${@:3}"
	echo "$output"
	[ "$status" = 0 ]
	shift 2
	for t; do [[ $output = *"$t: ok"* ]] || return; done
}

# in_image COMMAND...: as root in the image, which has the repository in /srv and the tree in /mnt. Whatever it leaves
# running ends with it.
in_image() {
	# shellcheck disable=SC2016 # the inner shell expands it
	unshare --mount --pid --fork --kill-child --propagation private bash -c 'set -e
		image=$1 repository=$2 tree=$3
		shift 3
		mount --bind "$image" "$image"
		mount -t proc proc "$image/proc"
		mount --rbind /dev "$image/dev"
		mount -t tmpfs tmp "$image/tmp"
		mount -o ro --bind "$repository" "$image/srv"
		mount -o ro --bind "$tree" "$image/mnt"
		mount --bind /etc/resolv.conf "$image/etc/resolv.conf"
		mount --bind /etc/hosts "$image/etc/hosts"
		exec chroot "$image" env -i -C / ${http_proxy:+http_proxy="$http_proxy"} DEBIAN_FRONTEND=noninteractive \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"' \
		in_image "$image" "$dir/repository" "$root" "$@" </dev/null
}

apt_install() { in_image apt-get -q -y -o Dpkg::Options::=--force-confdef install "$@"; }

# apt_update: of our repository only
apt_update() {
	in_image apt-get -q -o Dir::Etc::SourceList=/etc/apt/sources.list.d/fastsocket.list -o Dir::Etc::SourceParts=- \
		-o APT::Get::List-Cleanup=0 update
}

# snapshot: a line per file of the image: path, kind, mode, owner, size, time, target
snapshot() {
	(cd "$image" && find . -xdev \( -type f -printf '%P %y %m %u:%g %s %T@\n' -o -printf '%P %y %m %u:%g %l\n' \)) |
		sed 's,^,/,' | LC_ALL=C sort
}

# differs BEFORE AFTER: lines of what is not excused
differs() { diff "$1" "$2" | sed -nE 's/^([<>] \/)/\1/p' | grep -vE "^[<>] ($(not_ours | paste -sd '|')) "; }

# none REGEX FILE: no line of it matches
none() {
	run grep -nE -- "$1" "$2"
	echo "$output"
	[ "$status" = 1 ]
}

# loaded: modules of this machine, which may have none
loaded() { cut -d' ' -f1 /proc/modules 2>/dev/null | sort || true; }

# built RELEASE VERSION: dkms has installed the module, modprobe would find it, and it is this one
built() {
	in_image dkms status -m fastsocket -v "$2" -k "$1" >"$dir/status"
	cat "$dir/status"
	grep -q "^fastsocket/$2, $1, x86_64: installed\$" "$dir/status"
	in_image modinfo -k "$1" fastsocket >"$dir/modinfo"
	grep -E '^(filename|version|vermagic|parm):' "$dir/modinfo"
	grep -qF "/lib/modules/$1/updates/dkms/fastsocket.ko" <(grep '^filename:' "$dir/modinfo")
	grep -qx "version: *$2" "$dir/modinfo"
	grep -q "^vermagic: *$1 " "$dir/modinfo"
	grep -q '^parm: *enable_listen_spawn:' "$dir/modinfo"
}

setup_file() {
	[ "$(id -u)" = 0 ] || { echo "it needs root" >&2; return 1; }
	export cache=${FS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fastsocket}/stock
	export dir=${FS_KEEP:-$BATS_FILE_TMPDIR}/packages FS_LOGDIR=${FS_LOGDIR:-$root/tests/out}
	export image=$dir/image
	mkdir -p "$dir" "$FS_LOGDIR"
	rm -rf --one-file-system "${dir:?}"/*
	version=$(sed -nE 's/^#define FS_VERSION "(.*)"$/\1/p' "$root/include/fastsocket.h")
	export version next=$version.1
	# Of the two kernels one is what Debian 12 installs, the other one comes later, and is booted.
	kernel=$("$root/tests/kernel/stock" 6.12)
	second=$(<"$kernel/release")
	# And the one of Debian 13.
	kernel7=$("$root/tests/kernel/stock" 7.x)
	third=$(<"$kernel7/release")
	export kernel second kernel7 third
}

teardown_file() {
	[ -n "${FS_KEEP:-}" ] || rm -rf --one-file-system "$dir"
}

@test "packages: make deb gives the same packages wherever, whoever and without git" {
	make -C "$root" deb DEB="$dir/debs-$version"
	copy_tree "$dir/a/copy"
	(cd "$dir/a/copy" && umask 077 && touch -d '3 days ago' Makefile && LC_ALL=C TZ=Asia/Tokyo packaging/build-deb ../other)
	cd "$dir/debs-$version"
	ls -l
	for f in *.deb *.dsc *.tar.xz; do cmp "$f" "$dir/a/other/$f"; done
	[ "$(ls ./*.deb)" = "$(printf './%s\n' "fastsocket-dev_${version}_all.deb" "fastsocket-dkms_${version}_all.deb" \
		"fastsocket_${version}_amd64.deb")" ]
}

@test "packages: the tree is as it was after make deb" {
	[ ! -e "$root/../fastsocket_$version.dsc" ]
	copy_tree "$dir/a/before"
	(cd "$dir/a/before" && packaging/build-deb "$dir/a/other")
	copy_tree "$dir/a/again"
	diff -r "$dir/a/again" "$dir/a/before"
}

@test "packages: lintian has nothing to say, and each override its reason" {
	run lintian --allow-root --tag-display-limit 0 -I --pedantic --fail-on error,warning,info,pedantic "$dir/debs-$version"/*.changes
	echo "$output"
	[ "$status" = 0 ]
	[ -z "$output" ]
	for f in "$root"/debian/*.lintian-overrides; do
		awk '/^#/ { told = 1; next } !told { print FILENAME ": " $0; bad = 1 } { told = 0 } END { exit bad }' "$f"
	done
}

@test "packages: lintian does find what is wrong" {
	copy_tree "$dir/a/bad"
	(cd "$dir/a/bad" && sed -i 's/^Maintainer:.*/Maintainer: Nobody <nobody@localhost>/' debian/control && packaging/build-deb ../bad-debs)
	run lintian --allow-root -I --pedantic --fail-on error,warning,info,pedantic "$dir"/a/bad-debs/*.changes
	echo "$output"
	[ "$status" != 0 ]
	[[ $output = *bogus-mail-host* ]]
}

@test "packages: files are where they belong, and DKMS gets what the build needs and no more" {
	cd "$dir/debs-$version"
	dpkg-deb --fsys-tarfile "fastsocket-dkms_${version}_all.deb" | tar -t | sed -n "s,^\./usr/src/fastsocket-$version/\(.*[^/]\)$,\1,p" |
		LC_ALL=C sort >"$dir/dkms"
	(cd "$root" && { ls Kbuild ./*.c; find include -type f; echo dkms.conf; } | sed 's,^\./,,' | grep -v '\.mod\.c$' | LC_ALL=C sort) |
		diff - "$dir/dkms"
	for f in *.deb; do dpkg-deb --fsys-tarfile "$f" | tar -t | sed -n 's,^\.\(/.*[^/]\)$,\1,p'; done >"$dir/files"
	cat "$dir/files"
	for f in bin/fastsocket lib/fastsocket/libfsocket.so libexec/fastsocket/fastsocket-nic libexec/fastsocket/fastsocket-enrol include/linux/fastsocket.h \
		share/man/man1/fastsocket.1.gz share/bash-completion/completions/fastsocket share/man/man4/fastsocket.4.gz share/man/man7/fastsocket.7.gz share/doc/fastsocket/examples/modprobe.d/fastsocket.conf \
		share/doc/fastsocket/examples/modules-load.d/fastsocket.conf share/doc/fastsocket-dkms/README.Debian; do
		grep -qx "/usr/$f" "$dir/files"
	done
	# Nothing is switched on, and nothing lies in /etc, by installing it.
	grep -vE '^/usr/(bin|include/linux|lib/fastsocket|lib/systemd|libexec/fastsocket|src/fastsocket-[0-9.]+)/' "$dir/files" |
		grep -vE '^/usr/share/(bash-completion|doc|lintian|man)/' >"$dir/elsewhere" || true
	none . "$dir/elsewhere"
	: >"$dir/scripts"
	for f in *.deb; do
		dpkg-deb -e "$f" "$dir/control"
		rm "$dir"/control/{control,md5sums}
		[ -z "$(ls "$dir/control")" ] || cat "$dir"/control/* >>"$dir/scripts"
		none 'modprobe|insmod|rmmod|systemctl|deb-systemd|/etc/' "$dir/scripts"
		[ ! -e "$dir/control/conffiles" ]
		rm -r "$dir/control"
	done
	grep -q 'DKMS_NAME=fastsocket' "$dir/scripts"
}

@test "packages: on a Debian 12 apt brings dkms and the headers, and the module is built for its kernel" {
	make_image bookworm
	apt_install -s fastsocket fastsocket-dev >"$dir/wanted"
	for p in fastsocket-dkms dkms linux-headers-amd64 gcc make ethtool; do grep "^Inst $p " "$dir/wanted"; done
	# Not all that these recommend, but what the tests in debian/tests need.
	apt_install --no-install-recommends dkms linux-headers-amd64 ethtool libcap2-bin python3 libc6-dev openssl
	first=$(basename "$(dirname "$(ls -d "$image"/usr/lib/modules/*/build)")")
	[[ $first = 6.1.* ]]
	echo "$first" >"$dir/first"
	# As on a machine that runs it: dkms asks for that.
	printf '#!/bin/sh\n[ "$*" != -r ] || { echo %s; exit; }\nexec /usr/bin/uname "$@"\n' "$first" >"$image/usr/local/bin/uname"
	chmod +x "$image/usr/local/bin/uname"
	mkdir -p "$image"/etc/{modules-load.d,modprobe.d,systemd/system}
	snapshot >"$dir/before"
	loaded >"$dir/loaded"
	apt_install --no-install-recommends fastsocket fastsocket-dkms fastsocket-dev
	[ "$(in_image dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'fastsocket*' | xargs)" = \
		"fastsocket installed fastsocket-dev installed fastsocket-dkms installed" ]
	built "$first" "$version"
	loaded | diff "$dir/loaded" -
	snapshot >"$dir/after"
	differs "$dir/before" "$dir/after" >"$dir/diff" || true
	# Nothing of others has changed, and nothing in /etc.
	none '^(<|> /etc/)' "$dir/diff"
}

@test "packages: with the headers of another kernel the module is built for it, too" {
	apt_install --no-install-recommends "linux-headers-$second"
	built "$second" "$version"
	built "$(<"$dir/first")" "$version"
	[ "$(in_image dkms status | grep -c '^fastsocket/.*: installed$')" = 2 ]
}

@test "packages: a kernel that is too old or lacks what the module needs is skipped, and no error" {
	headers=$image/usr/src/linux-headers-$second
	for case in 5.10.0-1-amd64:x 6.0.0-1-amd64:x 6.9.0-1-amd64:CONFIG_CGROUPS 6.9.0-1-amd64:CONFIG_RPS 6.9.0-1-amd64:CONFIG_KPROBES_ON_FTRACE; do
		mkdir "$image/usr/src/other"
		sed "/^${case#*:}=/d" "$headers/.config" >"$image/usr/src/other/.config"
		run in_image dkms build -m fastsocket -v "$version" -k "${case%:*}" --kernelsourcedir /usr/src/other
		rm -r "$image/usr/src/other"
		echo "$case: $status: $output"
		[ "$status" = 77 ]
	done
	# One that is not: it is tried, and is no kernel.
	mkdir "$image/usr/src/other"
	cp "$headers/.config" "$image/usr/src/other"
	run in_image dkms build -m fastsocket -v "$version" -k 6.9.0-1-amd64 --kernelsourcedir /usr/src/other
	rm -r "$image/usr/src/other"
	echo "$status: $output"
	[ "$status" != 0 ]
	[ "$status" != 77 ]
}

@test "packages: the installed tools and the header work without the module" {
	in_image bash /mnt/debian/tests/tools
}

@test "packages: the module that DKMS has built is loaded in a virtual machine, serves and is unloaded" {
	in_machine "$kernel" packages serve tools
}

@test "packages: an upgrade builds the new version for both kernels, and leaves what the user has in /etc" {
	copy_tree "$dir/a/next"
	next_version "$dir/a/next"
	"$dir/a/next/packaging/build-deb" "$dir/debs-$next"
	mkdir "$image/etc/systemd/system/nginx.service.d"
	cp "$image/usr/share/doc/fastsocket/examples/modules-load.d/fastsocket.conf" "$image/etc/modules-load.d/"
	sed 's/spawn=2/spawn=1/' "$image/usr/share/doc/fastsocket/examples/modprobe.d/fastsocket.conf" >"$image/etc/modprobe.d/fastsocket.conf"
	printf '[Service]\nEnvironment=LD_PRELOAD=/usr/lib/fastsocket/libfsocket.so\n' >"$image/etc/systemd/system/nginx.service.d/fastsocket.conf"
	(cd "$image" && sha256sum etc/*/fastsocket.conf etc/systemd/system/*/fastsocket.conf) >"$dir/users"
	[ "$(wc -l <"$dir/users")" = 3 ]
	repository "$next"
	apt_update
	apt_install fastsocket fastsocket-dev fastsocket-dkms
	[ "$(in_image dpkg-query -W -f '${Version}\n' 'fastsocket*' | sort -u)" = "$next" ]
	built "$(<"$dir/first")" "$next"
	built "$second" "$next"
	[ "$(in_image dkms status | grep -c '^fastsocket/')" = 2 ]
	[ ! -e "$image/usr/src/fastsocket-$version" ]
	[ "$(in_image fastsocket --version)" = "fastsocket $next" ]
	(cd "$image" && sha256sum -c "$dir/users")
}

@test "packages: the examples are what modprobe and systemd take" {
	in_image modprobe -c >"$dir/modprobe"
	grep -qx 'options fastsocket enable_listen_spawn=1 enable_private_bind=1 enable_receive_flow_deliver=0 enable_fast_epoll=1' "$dir/modprobe"
	sed 's/^options fastsocket //; t; d' "$image/etc/modprobe.d/fastsocket.conf" | tr ' ' '\n' | sed 's/=.*//' | sort >"$dir/parameters"
	in_image modinfo -k "$second" -F parm fastsocket | sed 's/:.*//' | sort | diff "$dir/parameters" -
	[ "$(grep -v '^#' "$image/etc/modules-load.d/fastsocket.conf")" = fastsocket ]
}

@test "packages: dkms-autopkgtest is green for both kernels" {
	run in_image env AUTOPKGTEST_ARTIFACTS=/tmp /usr/lib/dkms/dkms-autopkgtest fastsocket-dkms
	echo "$output"
	[ "$status" = 0 ]
	for k in "$(<"$dir/first")" "$second"; do grep -qx "I: PASS $k" <<<"$output"; done
	apt_install fastsocket
}

@test "packages: removed and purged, nothing of them is left, and what the user has in /etc is" {
	in_image apt-get -q -y remove fastsocket fastsocket-dkms fastsocket-dev
	[ -z "$(find "$image"/usr/lib/modules -name 'fastsocket*')" ]
	in_image dkms status >"$dir/status"
	none fastsocket "$dir/status"
	(cd "$image" && sha256sum -c "$dir/users" && rm etc/modules-load.d/fastsocket.conf etc/modprobe.d/fastsocket.conf &&
		rm -r etc/systemd/system/nginx.service.d)
	in_image apt-get -q -y purge fastsocket fastsocket-dkms fastsocket-dev "linux-headers-$second" "linux-image-$second"
	in_image apt-get -q -y --purge autoremove
	in_image dpkg-query -W -f '${Package} ${db:Status-Status}\n' >"$dir/status"
	none fastsocket "$dir/status"
	snapshot >"$dir/purged"
	differs "$dir/before" "$dir/purged" >"$dir/left" || true
	cat "$image"/etc/{passwd,group} >"$dir/status"
	none fastsocket "$dir/status"
	none . "$dir/left"
}

@test "packages: on a Debian 13 dkms builds the module when the headers of a kernel from backports come" {
	image=$dir/image13
	make_image trixie
	# There is no kernel yet, and that is no error.
	apt_install --no-install-recommends fastsocket fastsocket-dkms fastsocket-dev python3
	[ "$(in_image dkms status)" = "fastsocket/$version: added" ]
	# Of the kernel only the modules: without them dkms leaves depmod to whoever brings them.
	apt_install --no-install-recommends "linux-modules-$third" "linux-headers-$third"
	built "$third" "$version"
	# And by hand, as the hooks do it.
	in_image dkms uninstall -m fastsocket -v "$version" -k "$third"
	in_image dkms unbuild -m fastsocket -v "$version" -k "$third"
	[ "$(in_image dkms status)" = "fastsocket/$version: added" ]
	in_image dkms autoinstall -k "$third"
	built "$third" "$version"
}

@test "packages: and that module serves on that kernel, in a virtual machine" {
	image=$dir/image13
	in_machine "$kernel7" packages-7.x serve
}

@test "packages: the RPM spec makes packages of the same files, and rpmlint has nothing to say" {
	copy_tree "$dir/rpm/fastsocket-$version"
	mkdir "$dir/rpm/SOURCES"
	tar -C "$dir/rpm" -czf "$dir/rpm/SOURCES/fastsocket-$version.tar.gz" "fastsocket-$version"
	rpmbuild -bb --nodeps --define "_topdir $dir/rpm" "$root/packaging/rpm/fastsocket.spec"
	run rpmlint -r "$root/packaging/rpm/fastsocket.rpmlintrc" "$root/packaging/rpm/fastsocket.spec" "$dir"/rpm/RPMS/*/*.rpm
	echo "$output"
	[[ $output = *" 3 packages and 1 specfiles checked; 0 errors, 0 warnings,"* ]]
	# But for documents, which each has in a place of its own.
	for f in "$dir"/rpm/RPMS/*/*.rpm; do rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$f"; done | sed -n 's/^-[^ ]* //p' |
		sed 's/\(\/man\/.*[1-8]\)\.gz$/\1/' | grep -vE '^/usr/share/(doc|licenses)/' | LC_ALL=C sort >"$dir/rpm/files"
	sed 's/\(\/man\/.*[1-8]\)\.gz$/\1/' "$dir/files" | grep -vE '^/usr/share/(doc|lintian)/' | LC_ALL=C sort | diff - "$dir/rpm/files"
	diff <(rpm2cpio "$dir"/rpm/RPMS/noarch/fastsocket-dkms-*.rpm | cpio -i --to-stdout --quiet '*/dkms.conf') \
		<(dpkg-deb --fsys-tarfile "$dir/debs-$version"/fastsocket-dkms_*.deb | tar -xO "./usr/src/fastsocket-$version/dkms.conf")
}

@test "packages: the Module of Kubernetes is for the kernels that are tested, and names what there is" {
	cd "$root/packaging/kubernetes"
	python3 - "$(<"$dir/first")" "$second" "$third" <<'END'
import re, sys, yaml
module = yaml.safe_load(open("module.yaml"))
kustomization = yaml.safe_load(open("kustomization.yaml"))
assert (module["apiVersion"], module["kind"]) == ("kmm.sigs.x-k8s.io/v1beta1", "Module")
assert kustomization["resources"] == ["module.yaml"]
generated = {c["name"]: c["files"] for c in kustomization["configMapGenerator"]}
container = module["spec"]["moduleLoader"]["container"]
assert container["modprobe"]["moduleName"] == "fastsocket"
sources = open("../../fastsocket_main.c").read()
for p in container["modprobe"]["parameters"]:
    assert f"module_param_cb({p.split('=')[0]}," in sources, p
mappings = container["kernelMappings"]
for m in mappings:
    assert "${KERNEL_FULL_VERSION}" in m["containerImage"]
    assert generated[m["build"]["dockerfileConfigMap"]["name"]] == ["dockerfile=Containerfile"]
    args = re.findall(r"^ARG (\w+)", open("Containerfile").read(), re.M)
    assert {a["name"] for a in m["build"]["buildArgs"]} <= set(args)
def serves(kernel):
    return [m["build"]["buildArgs"][0]["value"] for m in mappings if re.search(m["regexp"], kernel)]
first, second, third = sys.argv[1:]
assert serves(first) == serves(second) == serves("6.1.0-56-rt-amd64") == serves("6.12.9+bpo-amd64") == ["bookworm"]
assert serves(third) == serves("6.12.118+deb13-amd64") == serves("6.12.115+deb13.1-cloud-amd64") == ["trixie"]
for kernel in "5.10.0-1-amd64", "6.1.0-9-arm64", "6.8.0-31-generic", "6.10.1-amd64":
    assert not serves(kernel), kernel
END
}

# It needs a registry for its base image, or one that stands in for it: the image of this file, as it was at first.
# contained SUITE RELEASE: the Containerfile builds an image with the module of that kernel
contained() {
	local suite=$1 release=$2 b base at made
	export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
	b=(buildah --root "$dir/containers-$suite" --runroot "$dir/containers-$suite.run")
	base=$("${b[@]}" from scratch)
	"${b[@]}" add -q "$base" "$dir/base-$suite.tar" /
	at=$("${b[@]}" mount "$base")
	# Its sources are in another file than those of the real one, which has none of backports.
	rm "$at"/etc/apt/sources.list.d/*
	awk 'NF && !/-backports / { printf "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: '"$keyring"'\n\n", $(NF - 2), $(NF - 1) }' \
		"$cache/apt-$suite/sources.list" >"$at/etc/apt/sources.list.d/debian.sources"
	"${b[@]}" umount "$base"
	"${b[@]}" commit -q --rm "$base" "debian:$suite-slim"
	copy_tree "$dir/git-$suite"
	git -C "$dir/git-$suite" init -q
	git -C "$dir/git-$suite" add -A
	git -C "$dir/git-$suite" -c user.name=test -c user.email=test@fastsocket.invalid commit -qm test
	"${b[@]}" bud --pull-never -q --network host -v "$dir/git-$suite:/git:ro" -t kmod --build-arg KERNEL_FULL_VERSION="$release" \
		--build-arg DEBIAN="$suite" --build-arg SOURCE=/git - <"$root/packaging/kubernetes/Containerfile"
	made=$("${b[@]}" from --pull-never localhost/kmod)
	at=$("${b[@]}" mount "$made")
	[ -x "$at/bin/cp" ]
	[ "$(modinfo -F version "$at/opt/lib/modules/$release/fastsocket.ko")" = "$version" ]
	[[ $(modinfo -F vermagic "$at/opt/lib/modules/$release/fastsocket.ko") = "$release "* ]]
	modprobe -d "$at/opt" -S "$release" --show-depends fastsocket
	"${b[@]}" umount "$made"
}

@test "packages: the Containerfile builds an image with the module of that kernel" {
	contained bookworm "$second"
}

@test "packages: and of one of Debian 13 and backports" {
	contained trixie "$third"
}

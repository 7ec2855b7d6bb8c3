#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Secure Boot: the kernel refuses the module unless it is signed by a key that was enrolled, and takes it then.
#
# Runs on this machine and boots two of its own: real firmware (OVMF) that checks the kernel's signature, so the
# kernel locks itself down, and module.sig_enforce=1 as well. The firmware's variables are those of
# the package ovmf for tests, whose private key ("snakeoil") is public; it signs the kernel and what is
# enrolled in db. The keys for the module are made here. Key "db" is enrolled in the firmware, key
# "mok" in MokListRT, the variable in which shim hands the kernel what mokutil has enrolled (shim itself
# is not booted), key "nobody" nowhere.
#
# tests/run sets FS_KERNEL, FS_KO and FS_LOGDIR.

guid=11111111-2222-3333-4444-555555555555
efivars=/sys/firmware/efi/efivars
mok_variable=MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23

sign_kernel() {
	local image
	if [ -d "$FS_KERNEL" ]; then
		image=$FS_KERNEL/vmlinuz
		cp "$FS_KERNEL/release" kernel
		ln -s "$FS_KERNEL/root" kernel/root
	else
		image=/boot/vmlinuz-$FS_KERNEL
		[ -r "$image" ] || image=/lib/modules/$FS_KERNEL/vmlinuz
		echo "$FS_KERNEL" >kernel/release
	fi
	sbsign --key owner.key --cert owner.pem --output kernel/vmlinuz "$image"
}

# make_key NAME: as docs/operating.md tells users to
make_key() {
	openssl req -new -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=Key $1/" -keyout "$1.key" -outform DER -out "$1.der"
	openssl x509 -inform DER -in "$1.der" -out "$1.pem"
	cert-to-efi-sig-list -g $guid "$1.pem" "$1.esl"
}

# sign_module NAME: with the kernel's own tool
sign_module() {
	local run=() sign
	sign=/lib/modules/$(<kernel/release)/build/scripts/sign-file
	[ ! -d "$FS_KERNEL" ] || run=("$BATS_TEST_DIRNAME/../kernel/in-root" "$FS_KERNEL" .)
	cp unsigned.ko "$1.ko"
	"${run[@]}" "$sign" sha256 "$1.key" "$1.der" "$1.ko"
}

setup_file() {
	local name
	export FS_DIR=$BATS_FILE_TMPDIR
	cd "$FS_DIR" || return
	mkdir kernel
	cp /usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd variables
	cp /usr/share/ovmf/PkKek-1-snakeoil.pem owner.pem
	openssl rsa -passin pass:snakeoil -in /usr/share/ovmf/PkKek-1-snakeoil.key -out owner.key
	cp "$FS_KO" unsigned.ko
	sign_kernel
	for name in nobody db mok; do
		make_key $name
		sign_module $name
	done
	sign-efi-sig-list -a -g $guid -k owner.key -c owner.pem db db.esl db.auth
}

# in_machine NAME FUNCTION...: what the functions print there is in $output
in_machine() {
	local name=$1
	shift
	# shellcheck disable=SC2046 # names of functions
	run "$BATS_TEST_DIRNAME/../vm/boot" -c 4 -m 2048 -t 400 -k "$FS_DIR/kernel" -u "$FS_DIR/variables" \
		-a module.sig_enforce=1 -n "$name" -- bash -c \
		"$(declare -f $(compgen -A function guest_)); $(declare -p efivars mok_variable); cd $FS_DIR; for f in $*; do \$f; done"
	echo "$output"
	[ "$status" = 0 ]
}

# has LINE...: of the output
has() {
	local line
	for line; do grep -qxF -- "$line" <<<"$output" || { echo "FAILED: no line '$line'"; return 1; }; done
}

# ---- in the machine ----

guest_state() {
	mount -t efivarfs efivarfs $efivars
	mount -t securityfs securityfs /sys/kernel/security
	echo "secure boot: $(od -An -j 4 -tu1 $efivars/SecureBoot-* | tr -d " ")"
	echo "lockdown: $(cat /sys/kernel/security/lockdown)"
	echo "enforced: $(cat /sys/module/module/parameters/sig_enforce)"
}

# guest_try NAME...: insmod's word for each
guest_try() {
	local name
	for name; do
		if insmod "$name.ko" 2>"/run/error"; then
			echo "$name: taken"
			rmmod fastsocket
		else
			echo "$name: refused, $(sed 's/.*: //' /run/error)"
		fi
	done
	dmesg | sed -nE 's/.*\] (Loading of .* is rejected)$/kernel: \1/p'
}

guest_try_all() { guest_try unsigned nobody db mok; }

# What an update of the firmware's db and what shim do. Variables are protected from mistakes, and
# one is written by a single write().
guest_enrol() {
	chattr -i $efivars/db-*
	efi-updatevar -a -f db.auth db && echo "db: enrolled"
	{ printf '\7\0\0\0'; cat mok.esl; } >/run/mok
	cat /run/mok >$efivars/$mok_variable && echo "mok: enrolled"
}

guest_nginx() {
	TMPDIR=$(mktemp -d)
	FS_KO=$FS_DIR/mok.ko
	. "$FS_ROOT/tests/helpers.bash"
	nginx_configure
	fs_load
	nginx_start module
	ab_load http://127.0.0.1/ 100 4
	echo "answered: $answered of $sent"
	echo "local: $(fs_column local) of $(fs_columns local remote global)"
	at_least "locality" "$(fs_watch_locality)" 98 && echo "nginx is local"
	nginx_stop
	fs_unload && echo "unloaded"
}

# ---- tests: the second needs what the first has enrolled ----

@test "secure boot: a module without a signature, or with one of a key that is not enrolled, is refused" {
	in_machine "${FS_PREFIX}80-secureboot-1" guest_state guest_try_all guest_enrol
	has 'secure boot: 1' 'lockdown: none [integrity] confidentiality' 'enforced: Y'
	for name in unsigned nobody db mok; do has "$name: refused, Key was rejected by service"; done
	has 'kernel: Loading of unsigned module is rejected' 'kernel: Loading of module with unavailable key is rejected'
	has 'db: enrolled' 'mok: enrolled'
}

@test "secure boot: a module signed by a key of the firmware or of the machine's owner is taken and works" {
	in_machine "${FS_PREFIX}80-secureboot-2" guest_state guest_try_all guest_nginx
	has 'secure boot: 1' 'lockdown: none [integrity] confidentiality' 'enforced: Y'
	for name in unsigned nobody; do has "$name: refused, Key was rejected by service"; done
	has 'db: taken' 'mok: taken' 'answered: 400 of 400' 'nginx is local' 'unloaded'
}

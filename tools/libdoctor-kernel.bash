# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Checks of fastsocket-doctor: the module, whether this kernel takes it, and what it could not switch on.

# ---- the module ----

# module_files RELEASE: of the module, for that kernel
module_files()
{
	[[ -d $root/lib/modules/$1 ]] || return 0
	find "$root/lib/modules/$1/" -name 'fastsocket.ko*' 2>/dev/null
}

# other_kernels: those that have the module
other_kernels()
{
	local dir

	for dir in "$root"/lib/modules/*/; do
		dir=${dir%/}
		dir=${dir##*/}
		[[ $dir = "$release" || ! $(module_files "$dir") ]] || printf '%s ' "$dir"
	done
}

# dkms_state: what dkms says of the module and this kernel: installed, built, added; nothing if it knows nothing of it.
# Its lines: "fastsocket/0.1.0, 6.1.0-56-amd64, x86_64: installed", "fastsocket/0.1.0: added"
dkms_state()
{
	type -P dkms >/dev/null || return
	LC_ALL=C dkms status fastsocket 2>/dev/null | awk -F ': *' -v release="$release" '
		/^fastsocket[\/,]/ {
			if (index($1, ", " release ","))
				here = $2
			else if (!any)
				any = $1 ~ /, / ? "other" : $2
		}
		END { sub(/[ (].*/, "", here); print here ? here : any }'
}

headers_hint()
{
	[[ -e $root/lib/modules/$release/build/Makefile ]] || printf 'apt-get install linux-headers-%s; ' "$release"
}

# check_no_file: the running kernel has no fastsocket.ko
check_no_file()
{
	local others

	case $(dkms_state) in
	built) finding problem module-missing "dkms has built the module for $release and not installed it" "dkms install fastsocket -k $release, then modprobe fastsocket" ;;
	?*) finding problem module-missing "dkms has the module, but not for the kernel that runs, $release" \
		"$(headers_hint)dkms autoinstall -k $release (it says why, if it fails), then modprobe fastsocket" ;;
	*)
		others=$(other_kernels)
		if [[ $others ]]; then
			finding problem module-missing "the module is installed for $others, not for the kernel that runs, $release" \
				"$(headers_hint)build and install it for this one: make && make modules_install && depmod; or reboot into the other"
		else
			finding problem module-missing "the module is not installed" \
				"$(headers_hint)make && make modules_install && depmod"
		fi
		;;
	esac
}

# check_file FILE: it is there, and not loaded
check_file()
{
	local vermagic

	vermagic=$(modinfo -F vermagic "$1" 2>/dev/null)
	if [[ $vermagic && ${vermagic%% *} != "$release" ]]; then
		finding problem module-vermagic "$1 was built for ${vermagic%% *}; $release runs" "$(headers_hint)build it anew: make && make modules_install && depmod"
	elif signature_is_needed && ! signature_is_known "$1"; then
		return
	elif ! grep -qs '/fastsocket\.ko' "$root/lib/modules/$release/modules.dep"; then
		finding problem module-depmod "modprobe does not know of $1" "depmod, then modprobe fastsocket"
	elif grep -qsE '^[[:blank:]]*(blacklist[[:blank:]]+fastsocket|install[[:blank:]]+fastsocket[[:blank:]])' "$root"/{etc,run,usr/lib,lib}/modprobe.d/*.conf; then
		finding problem module-blacklist "modprobe.d keeps the module from being loaded: $(grep -lsE '(blacklist|install)[[:blank:]]+fastsocket' "$root"/{etc,run,usr/lib,lib}/modprobe.d/*.conf | head -n 1)" \
			"remove the line, then modprobe fastsocket"
	else
		finding problem module-not-loaded "the module is not loaded" "modprobe fastsocket"
	fi
}

check_module()
{
	local file

	if [[ -e $module ]]; then
		[[ -e $root/proc/net/fastsocket ]] ||
			finding warning module-old "the module that is loaded is older than this command" "load the new one: restart the servers without it, rmmod fastsocket, modprobe fastsocket"
		return
	fi
	file=$(module_files "$release" | head -n 1)
	if [[ $file ]]; then check_file "$file"; else check_no_file; fi
}

# check_boot: is it loaded at the next start, if somebody counts on it?
check_boot()
{
	local units

	units=$(enabled_units | paste -s -d ' ')
	[[ $units ]] || return 0
	! grep -qsxE '[[:blank:]]*fastsocket[[:blank:]]*' "$root"/{etc,run,usr/lib,lib}/modules-load.d/*.conf "$root/etc/modules" || return 0
	finding warning module-boot "$units: enabled, but nothing loads the module at boot" "echo fastsocket >/etc/modules-load.d/fastsocket.conf"
}

# ---- signatures ----

# secure_boot: is it on? The fifth byte of the firmware's variable says so.
secure_boot()
{
	local file=$root/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c byte

	if [[ -r $file ]]; then
		read -r byte < <(od -An -v -t u1 -j 4 -N 1 "$file" 2>/dev/null)
		[[ $byte = 1 ]]
	else
		type -P mokutil >/dev/null && [[ $(LC_ALL=C mokutil --sb-state 2>/dev/null) = *'SecureBoot enabled'* ]]
	fi
}

# signature_is_needed: sets why
signature_is_needed()
{
	if first_line "$root/sys/module/module/parameters/sig_enforce" && [[ $line = Y ]]; then
		why="module.sig_enforce is on"
	elif first_line "$root/sys/kernel/security/lockdown" && [[ $line != *'[none]'* ]]; then
		why="the kernel is locked down ($line)"
	elif secure_boot; then
		why="Secure Boot is on"
	else
		return 1
	fi
}

# signature_is_known FILE: fails with a finding. The kernel's keys are in /proc/keys, those of the firmware too.
signature_is_known()
{
	local signer

	signer=$(modinfo -F signer "$1" 2>/dev/null)
	if [[ ! $signer ]]; then
		finding problem module-unsigned "$why, and $1 is not signed: the kernel refuses it" \
			"make a key, enrol it with mokutil --import and sign the module (docs/operating.md, \"Secure Boot\"; dkms signs with /var/lib/dkms/mok.key)"
		return 1
	fi
	grep -qs ' asymmetri' "$root/proc/keys" || return 0
	! grep -F ' asymmetri' "$root/proc/keys" | grep -qF "$signer" || return 0
	finding problem module-key "$why, and the kernel does not have the key that signed the module ($signer)" \
		"mokutil --import the certificate (of dkms: /var/lib/dkms/mok.pub), reboot and choose \"Enroll MOK\""
	return 1
}

# ---- what stayed off ----

# kernel_log: what the module has said
kernel_log()
{
	local text

	text=$(dmesg 2>/dev/null | grep 'Fastsocket: ')
	[[ $text ]] || text=$(journalctl -k -b 0 -q -o cat 2>/dev/null | grep '^Fastsocket: ')
	printf '%s\n' "$text"
}

# stays_off FEATURE: why, as the log's last line has it
stays_off()
{
	sed -nE "s/.*Fastsocket: $1( and TCP_ULP)? stays? off: //p" <<<"$log" | tail -n 1
}

# configured PARAMETER: sets value and place: what modprobe.d or the kernel's command line sets it to
configured()
{
	local file word

	value='' place=''
	for file in "$root"/{lib,usr/lib,run,etc}/modprobe.d/*.conf; do
		[[ -r $file ]] || continue
		word=$(sed -nE "s/^[[:blank:]]*options[[:blank:]]+fastsocket[[:blank:]](.*[[:blank:]])?$1=([^[:blank:]]+).*/\2/p" "$file" | tail -n 1)
		[[ ! $word ]] || value=$word place=$file
	done
	first_line "$root/proc/cmdline"
	for word in $line; do
		[[ $word != "fastsocket.$1="* ]] || value=${word#*=} place="the kernel's command line"
	done
	[[ $value ]]
}

# what_lacks: of what features need, in words
what_lacks()
{
	local patch

	if [[ ! -e $root/proc/sys/kernel/ftrace_enabled ]]; then
		echo "this kernel has no function tracer (CONFIG_FUNCTION_TRACER): use one of Debian's"
	elif first_line "$root/proc/sys/kernel/ftrace_enabled" && [[ $line = 0 ]]; then
		echo "sysctl -w kernel.ftrace_enabled=1"
	fi
	[[ -e $root/sys/kernel/btf/vmlinux ]] || echo "this kernel has no type information (CONFIG_DEBUG_INFO_BTF): use one of Debian's"
	! grep -qs '^# CONFIG_KALLSYMS_ALL is not set' "$root/boot/config-$release" ||
		echo "this kernel does not have all its symbols (CONFIG_KALLSYMS_ALL): use one of Debian's"
	for patch in "$root"/sys/kernel/livepatch/*/; do
		[[ ! -d $patch ]] || echo "the live patch $(basename "$patch") may have the function: remove it, or do without"
	done
}

# in_words: standard input in one line
in_words() { paste -s -d ';' | sed 's/;/; /g'; }

# check_feature PARAMETER FEATURE DEFAULT
check_feature()
{
	local now why value place todo

	now=$(parameter "$1")
	[[ $now ]] || return 0
	why=$(stays_off "$2")
	configured "$1" || value=$3 place="the default"
	if [[ $now = 0 && $value != 0 && $why ]]; then
		todo=$(what_lacks | in_words)
		finding warning feature-off "$2 is off: $why" "${todo:+$todo; }then echo 1 >/sys/module/fastsocket/parameters/$1; all else works without it"
	elif [[ $now = 0 && $value != 0 && $place != "the default" ]]; then
		todo=$(what_lacks | in_words)
		finding warning feature-off "$1 is 0, $place says $value" "${todo:+$todo; }echo $value >/sys/module/fastsocket/parameters/$1; if that is refused the kernel log says why"
	elif [[ $now != "$value" && $place != "the default" ]]; then
		finding note parameter "$1 is $now, $place says $value: somebody has changed it since" "what is to stay goes into /etc/modprobe.d/fastsocket.conf"
	fi
}

check_features()
{
	local log why todo

	if [[ ! -e $module ]]; then
		todo=$(what_lacks | in_words)
		[[ ! $todo ]] || finding note feature-lacks "Fast Epoll or Receive Flow Deliver will stay off here" "$todo"
		return
	fi
	log=$(kernel_log)
	if [[ $(parameter enable_listen_spawn) = 0 ]]; then
		finding problem disabled "enable_listen_spawn is 0: all connections are served natively" "echo 2 >/sys/module/fastsocket/parameters/enable_listen_spawn"
	else
		check_feature enable_listen_spawn "Listen Spawn" 2
	fi
	check_feature enable_fast_epoll "Fast Epoll" 1
	check_feature enable_private_bind "Private Bind" 1
	check_feature enable_receive_flow_deliver "Receive Flow Deliver" 0
	why=$(stays_off "Enrolment")
	[[ ! $why ]] || finding warning feature-off "Enrolment is off: $why" \
		"fastsocket run uses LD_PRELOAD by itself; a unit gets Environment=LD_PRELOAD=.../libfsocket.so (docs/operating.md, \"systemd\")"
	if [[ ${stat[fast_sockfs]-} = 0 ]]; then
		why=$(stays_off "Fast Sockfs")
		todo=$(what_lacks | in_words)
		finding warning feature-off "Fast Sockfs is off${why:+: $why}" "${todo:-it is tried at load only: rmmod fastsocket, modprobe fastsocket}; all else works without it"
	fi
}

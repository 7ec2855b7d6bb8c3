# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Units of systemd, their control groups, and our files among theirs. Sourced by fastsocket-service and
# fastsocket-doctor after libnic.bash, whose root it uses; it only reads. They define say().

readonly marker='# Written by "fastsocket enable".'
readonly drop_in=50-fastsocket.conf

unit_etc=$root/etc/systemd/system
# In the order in which systemd looks.
unit_dirs=("$unit_etc" "$root"/run/systemd/{system,generator.early,generator} "$root/usr/local/lib/systemd/system"
	"$root"{/usr,}/lib/systemd/system "$root/run/systemd/generator.late")

# booted: does systemd run here?
booted() { [[ -d $root/run/systemd/system ]]; }

# ---- names ----

# unit_name NAME: with its suffix; fails with a word why if it is no service
unit_name()
{
	local name=$1

	case $name in
	*.service) ;;
	*.socket | *.target | *.timer | *.slice | *.scope | *.path | *.mount | *.device)
		say "$name is no service"
		return 1
		;;
	*) name+=.service ;;
	esac
	if [[ ! $name =~ ^[A-Za-z0-9:_.\\@-]+$ || $name = [.@]* ]]; then
		say "$1: no name of a service"
		return 1
	fi
	echo "$name"
}

# unit_file NAME: the file of a unit; that of its template for an instance
unit_file()
{
	local dir name

	for name in "$1" "${1%%@*}@.service"; do
		for dir in "${unit_dirs[@]}"; do
			if [[ -e $dir/$name || -L $dir/$name ]]; then
				echo "$dir/$name"
				return
			fi
		done
		[[ $1 = *@?*.service ]] || break
	done
	return 1
}

# similar_units NAME: services that have it in theirs, in one line
similar_units()
{
	local dir file
	local -A names=()

	for dir in "${unit_dirs[@]}"; do
		for file in "$dir"/*"${1%@}"*.service; do
			[[ ! -e $file ]] || names[${file##*/}]=1
		done
	done
	printf '%s\n' "${!names[@]}" | sort | paste -s -d ' '
}

# existing_unit NAME: what a service is called; fails with a word why there is none
existing_unit()
{
	local name file target like

	name=$(unit_name "$1") || return
	if ! file=$(unit_file "$name"); then
		like=$(similar_units "${name%.service}")
		say "there is no service $name${like:+; there is $like}"
		return 1
	fi
	if [[ -L $file ]]; then
		target=$(readlink "$file")
		if [[ $target = /dev/null ]]; then
			say "$name is masked ($file): systemctl unmask $name"
			return 1
		fi
		# An alias. Of a template the alias may be that of an instance.
		[[ ${target##*/} = "${file##*/}" || $file != */"$name" ]] || name=${target##*/}
	elif [[ -f $file && ! -s $file ]]; then
		say "$name is masked ($file is empty)"
		return 1
	fi
	echo "$name"
}

# ---- what a unit is allowed ----

# unit_property UNIT PROPERTY: as systemd has it or, where it does not run or answer, as the last line with it in the unit's files says
unit_property()
{
	local unit=$1 file value

	# A template has no properties, any instance of it has them.
	if booted && value=$(systemctl show --property "$2" --value -- "${unit/@./@fastsocket.}" 2>/dev/null); then
		echo "$value"
		return
	fi
	file=$(unit_file "$unit") || return
	cat "$file" "$file.d"/*.conf "$unit_etc/$unit.d"/*.conf 2>/dev/null |
		sed -n "s/^[[:blank:]]*$2[[:blank:]]*=[[:blank:]]*//p" | tail -n 1
}

# has_device_policy UNIT: may it use some devices only? That holds for the whole control group, so "+" does not lift it.
has_device_policy()
{
	local property value

	for property in DevicePolicy PrivateDevices ProtectClock DeviceAllow; do
		value=$(unit_property "$1" $property)
		case $property:${value,,} in
		DevicePolicy:closed | DevicePolicy:strict) return ;;
		PrivateDevices:yes | PrivateDevices:true | PrivateDevices:on | PrivateDevices:1) return ;;
		ProtectClock:yes | ProtectClock:true | ProtectClock:on | ProtectClock:1) return ;;
		# Ours alone is what we have written for one of the others.
		DeviceAllow:?*) [[ $value = '/dev/fastsocket rw' ]] || return 0 ;;
		esac
	done
	return 1
}

# ---- our files ----

drop_in_file() { echo "$unit_etc/$1.d/$drop_in"; }

is_ours() { [[ -f $1 ]] && first_line "$1" && [[ $line = "$marker" ]]; }

# enabled_units: those with a file of ours
enabled_units()
{
	local file

	for file in "$unit_etc"/*.service.d/"$drop_in"; do
		is_ours "$file" || continue
		file=${file%/*}
		file=${file##*/}
		echo "${file%.d}"
	done
}

# ---- control groups ----

# cgroup_mount: where version 2 of the hierarchy is, and which group is its top here: "DIRECTORY GROUP"
cgroup_mount()
{
	awk '{
		for (i = 7; i <= NF && $i != "-"; i++);
		if ($(i + 1) == "cgroup2") {
			print $5, $4
			exit
		}
	}' "$root/proc/self/mountinfo" 2>/dev/null
}

# cgroup_dir GROUP: the directory of one that is named as in /proc/PID/cgroup; nothing is said if there is none
cgroup_dir()
{
	local mount top group=$1

	read -r mount top < <(cgroup_mount)
	[[ $mount ]] || return
	# In a container without a namespace of its own for control groups, only what is below its own is here.
	[[ $top = / ]] || group=${group#"$top"}
	group=$root$mount/${group#/}
	group=${group%/}
	[[ -e $group/cgroup.procs ]] && echo "$group"
}

# cgroup_named DIRECTORY: as a path, or as /proc/PID/cgroup has it
cgroup_named()
{
	local dir

	if [[ -e $1/cgroup.procs && -e $1/cgroup.controllers ]]; then
		echo "$1"
	elif [[ $1 = /* ]] && dir=$(cgroup_dir "$1"); then
		echo "$dir"
	elif [[ -d $1 ]]; then
		say "$1 is no control group of version 2"
		return 1
	else
		say "there is no control group $1"
		return 1
	fi
}

# group_of PID: the name of its control group
group_of()
{
	sed -n 's/^0:://p' "$root/proc/$1/cgroup" 2>/dev/null
}

# own_cgroup: of a unit that has delegated it, systemd starts some commands in a group ".control" below
own_cgroup()
{
	local group dir

	group=$(group_of self)
	group=${group%/.control}
	if [[ ! $group ]] || ! dir=$(cgroup_dir "$group"); then
		say "this process is in no control group of version 2 that can be seen here (${group:-nothing in /proc/self/cgroup})"
		return 1
	fi
	# Only the top of the machine's hierarchy has none: that would be all processes.
	if [[ ! -e $dir/cgroup.type ]]; then
		say "this process is in no unit's control group, but in the top one"
		return 1
	fi
	echo "$dir"
}

# cgroup_of_unit UNIT: its directory, while it runs
cgroup_of_unit()
{
	local unit=$1 key value load='' active='' group=''

	[[ $unit = *.* ]] || unit+=.service
	while IFS='=' read -r key value; do
		case $key in
		LoadState) load=$value ;;
		ActiveState) active=$value ;;
		ControlGroup) group=$value ;;
		esac
	done < <(systemctl show --property LoadState,ActiveState,ControlGroup -- "$unit" 2>/dev/null)
	if [[ ! $load ]]; then
		say "systemctl does not tell of $unit: does systemd run here?"
	elif [[ $load = not-found ]]; then
		say "there is no unit $unit"
	elif [[ ! $group ]]; then
		say "$unit is $active and has no control group; for all its starts: fastsocket enable ${unit%.service}"
	elif ! cgroup_dir "$group"; then
		say "the control group of $unit, $group, is not in version 2 of the hierarchy"
	else
		return 0
	fi
	return 1
}

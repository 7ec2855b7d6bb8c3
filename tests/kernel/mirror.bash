# SPDX-License-Identifier: GPL-2.0
# A mirror of Debian, the index of its packages, and small Debians made from it. This machine's own apt is not
# touched, nor what is installed here.
#
# Who sources it has set cache, where the indexes are kept, and has say and die.
#
# shellcheck shell=bash disable=SC2154

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
arch=amd64

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# mirror LABEL DEFAULT: of this machine's sources the first that says so of itself
mirror() {
	local uri
	# shellcheck disable=SC2016 # apt expands it
	uri=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
		awk -v label="$1" '$2 == label && $1 ~ /^http/ { print $1; exit }') || true
	echo "${uri:-$2}"
}

# sources SUITE ARCHIVE SECURITY
sources() {
	local s suites="$1 $1-updates"
	[ "$1" != trixie ] || suites+=" $1-backports"
	for s in $suites; do echo "deb [arch=$arch signed-by=$keyring] $2 $s main"; done
	echo "deb [arch=$arch signed-by=$keyring] $3 $1-security main"
}

# How this machine's apt reaches a mirror, and nothing else of its configuration.
transport() {
	apt-config dump | grep -E '^Acquire::(https?::|Retries |Check-Valid-Until |Check-Date )' || true
}

write_config() {
	local dir=$1
	mkdir -p "$dir"/{state/lists/partial,cache/archives/partial}
	: >"$dir/status"
	{
		echo 'Dir::Etc::Parts "/dev/null"; Dir::Etc::Main "/dev/null"; Dir::Etc::SourceParts "/dev/null";'
		echo 'Dir::Etc::Preferences "/dev/null"; Dir::Etc::PreferencesParts "/dev/null";'
		echo "Dir::Etc::SourceList \"$dir/sources.list\"; Dir::State \"$dir/state\"; Dir::State::Status \"$dir/status\";"
		echo "Dir::Cache \"$dir/cache\"; APT::Architecture \"$arch\"; APT::Architectures { \"$arch\"; };"
		# Nothing is installed with it, and _apt cannot read a home directory.
		echo 'Acquire::Languages "none"; APT::Sandbox::User "root"; APT::Get::List-Cleanup "true";'
		transport
	} >"$dir/apt.conf"
}

apt_of() {
	local suite=$1
	shift
	APT_CONFIG=$cache/apt-$suite/apt.conf "$@"
}

# refresh SUITE ARCHIVE SECURITY
refresh() {
	local dir=$cache/apt-$1
	write_config "$dir"
	sources "$@" >"$dir/sources.list"
	apt_of "$1" apt-get -qq -o APT::Update::Error-Mode=any update >"$dir/log" 2>&1
}

# index SUITE: today's, or the last one if nobody answers
index() {
	local dir=$cache/apt-$1 default=http://deb.debian.org
	mkdir -p "$dir"
	exec 7>"$dir/lock"
	flock 7
	if [ -z "$(find "$dir/fresh" -mmin -1440 2>/dev/null)" ]; then
		if refresh "$1" "$(mirror Debian $default/debian)" "$(mirror Debian-Security $default/debian-security)" ||
			refresh "$1" $default/debian $default/debian-security; then
			touch "$dir/fresh"
		else
			sed 's/^/apt: /' "$dir/log" >&2
			[ -e "$dir/fresh" ] || die "no list of packages for $1"
			say "no new list of packages for $1, using the last one"
		fi
	fi
	exec 7>&-
}

# make_root SUITE ROOT OPTION...: a Debian in a directory, by mmdebstrap. Its mounts end with it, however it ends.
make_root() {
	local suite=$1 root=$2 p options=()
	shift 2
	while IFS= read -r p; do options+=(--aptopt="$p"); done < <(transport)
	as_root unshare --mount --propagation private mmdebstrap --mode=root --architectures=$arch --format=directory \
		"${options[@]}" "$@" "$suite" "$root" "$cache/apt-$suite/sources.list"
}

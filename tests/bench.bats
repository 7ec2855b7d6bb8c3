#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# What bench/stats concludes from repeats that are made up, and what bench/run does before it measures.
# Runs on the host; no server is started.
bats_require_minimum_version 1.5.0

setup() {
	bench=$BATS_TEST_DIRNAME/../bench
	raw=$BATS_TEST_TMPDIR/raw.tsv
	: >"$raw"
}

fail() {
	echo "FAILED: $*" >&2
	return 1
}

# equal WHAT GOT WANTED
equal() { [ "$2" = "$3" ] || fail "$1: '$2', expected '$3'"; }

# about WORDS: a line before the header
about() { echo "# $*" >>"$raw"; }

header() {
	printf 'round\torder\tscenario\tvariant\tcpus\tconnections\tfailed\tseconds\trate\tserver_us\tlocality\tres\n' >>"$raw"
	rounds=()
}

# repeats VARIANT CPUS MEASURE VALUE...: a repeat for each value; of the other measures each has always the same
repeats() {
	local variant=$1 cpus=$2 measure=$3 v round=0
	local -A value
	shift 3
	for v; do
		value=([rate]=1000 [server_us]=50 [locality]=60 [res]=0.2 [failed]=0 [connections]=5000)
		value[$measure]=$v
		round=$((round + 1))
		printf '%d\t1\tnginx\t%s\t%s\t%s\t%s\t5.0\t%s\t%s\t%s\t%s\n' $round "$variant" "$cpus" "${value[connections]}" \
			"${value[failed]}" "${value[rate]}" "${value[server_us]}" "${value[locality]}" "${value[res]}" >>"$raw"
	done
}

# stats ARGUMENTS: of what has been made up; the output is shown if the test fails
stats() {
	run "$bench/stats" "$@" "$raw"
	echo "$output"
}

# says TEXT..., says_not TEXT...
says() {
	local text
	for text; do [[ $output = *"$text"* ]] || fail "not said: $text" || return; done
}

says_not() {
	local text
	for text; do [[ $output != *"$text"* ]] || fail "said: $text" || return; done
}

# of MEASURE VARIANT COLUMN: a field of the summary
of() {
	"$bench/stats" --as summary "$raw" | awk -F '\t' -v m="$1" -v v="$2" -v want="$3" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == want) column = i; next }
		$3 == v && $4 == m { print $column }'
}

# ---- conclusions ----

@test "a clear difference is named, with its sign and size" {
	header
	repeats plain 4 rate 1000 1010 990 1005 995
	repeats fastsocket 4 rate 1500 1510 1490 1505 1495
	stats
	equal status "$status" 0
	says 'nginx, 4 CPUs, fastsocket: conn/s +50.0 % (1000 -> 1500)'
	equal verdict "$(of rate fastsocket verdict)" more
	says_not VOID 'too noisy:'
}

@test "a loss is named as well as a gain, a difference of shares is in points" {
	header
	repeats plain 4 locality 90 91 89 90 90
	repeats reuseport 4 locality 25 26 24 25 25
	stats
	equal status "$status" 0
	says 'local % -65.0 (90.0 -> 25.0)'
	equal verdict "$(of locality reuseport verdict)" less
}

@test "intervals that overlap: no difference shown, though the medians differ" {
	header
	repeats plain 4 rate 1000 1060 940 1030 970
	repeats fastsocket 4 rate 1040 1100 980 1070 1010
	stats
	equal status "$status" 0
	says 'no difference shown: conn/s'
	says_not 'conn/s +' 'conn/s -'
	equal verdict "$(of rate fastsocket verdict)" same
}

@test "a standard deviation above the limit: too noisy, and the exit status says so" {
	header
	repeats plain 4 rate 1000 1010 990 1005 995
	repeats fastsocket 4 rate 9000 2000 5000 7000 12000
	stats
	equal status "$status" 4
	says 'too noisy: conn/s'
	says_not 'conn/s +'
	stats --noise 90
	equal "status with another limit" "$status" 0
}

@test "noise of the plain variant spoils the comparison as well" {
	header
	repeats plain 4 rate 900 200 500 700 1200
	repeats fastsocket 4 rate 5000 5010 4990 5005 4995
	stats
	equal status "$status" 4
	says 'fastsocket: no difference shown: server us, local %, RES; too noisy: conn/s'
}

@test "the limit can stand in the file, an option is stronger" {
	about noise 90
	header
	repeats plain 4 rate 9000 2000 5000 7000 12000
	stats
	equal status "$status" 0
	stats --noise 10
	equal "status with the option" "$status" 4
}

@test "counts near zero are not called noisy for being small" {
	header
	repeats plain 4 res 0.20 0.21 0.22 0.20 0.21
	repeats fastsocket 4 res 0.00 0.02 0.01 0.00 0.03
	stats
	equal status "$status" 0
	says 'RES -0.200 (0.210 -> 0.010)'
}

@test "one failed connection: the run is void and nothing is compared" {
	header
	repeats plain 4 rate 1000 1010 990 1005 995
	repeats fastsocket 4 rate 1500 1510 1490 1505 1495
	repeats reuseport 4 failed 0 0 1 0 0
	stats
	equal status "$status" 3
	says VOID '- nginx, 4 CPUs, reuseport: 1'
	says_not '+50.0 %' 'Compared with plain:'
	equal verdict "$(of rate fastsocket verdict)" void
}

@test "a repeat without a connection is void, too" {
	header
	repeats plain 4 rate 1000 1010 990
	repeats fastsocket 4 connections 0
	stats
	equal status "$status" 3
}

@test "a single repeat has no interval and allows no conclusion" {
	header
	repeats plain 4 rate 1000
	repeats fastsocket 4 rate 5000
	stats
	equal status "$status" 4
	says 'fewer than 3 repeats, no conclusion: conn/s'
	says_not 'conn/s +'
	equal interval "$(of rate plain low) $(of rate plain high)" '- -'
}

@test "two repeats that agree by chance allow none either" {
	header
	repeats plain 4 locality 50 50
	repeats fastsocket 4 locality 100 100
	stats
	equal status "$status" 4
	says_not 'local % +'
}

@test "a run that was interrupted says so" {
	about planned 12
	header
	repeats plain 4 rate 1000 1010 990 1005 995
	stats
	equal status "$status" 4
	says 'NOT COMPLETE: 5 of 12'
}

@test "emulated: counts come first, times are marked and never compared" {
	local head
	about emulated yes
	header
	repeats plain 4 rate 1000 1010 990 1005 995
	repeats fastsocket 4 rate 1500 1510 1490 1505 1495
	stats
	equal status "$status" 0
	says 'Emulated: times and rates are not those of any hardware'
	says_not 'conn/s +' 'conn/s -' '1500 +'
	head=$(grep CPUs <<<"$output" | head -n 1 | xargs)
	equal "order of columns" "$head" 'CPUs variant local % RES conn/s, em. server us, em.'
	equal verdict "$(of rate fastsocket verdict)" emulated
	# Noise of a clock that means nothing is no reason to refuse.
	repeats bpf 4 rate 100 9000 30 500 60000
	stats
	equal "status with noise" "$status" 0
}

# ---- numbers ----

@test "median, mean, and the interval that Student's t gives" {
	header
	repeats plain 4 rate 100 102 104 101 113
	# mean 104, standard deviation 5.2440, 2.776 * 5.2440 / sqrt(5) = 6.5103
	equal median "$(of rate plain median)" 102
	equal mean "$(of rate plain mean)" 104
	equal low "$(of rate plain low)" 97.4897
	equal high "$(of rate plain high)" 110.51
	equal deviation "$(of rate plain deviation)" 5.24404
	equal noise "$(of rate plain noise)" 5.04
}

@test "of an even number of repeats the median is between the middle ones" {
	header
	repeats plain 4 rate 4 1 3 2
	equal median "$(of rate plain median)" 2.5
}

@test "numbers of CPUs are apart and in order, variants in the usual one" {
	header
	repeats fastsocket 16 rate 16000 16000 16000
	repeats plain 16 rate 16000 16000 16000
	repeats fastsocket 2 rate 3000 3001 2999
	repeats plain 2 rate 2000 2001 1999
	stats
	equal status "$status" 0
	says '- nginx, 2 CPUs, fastsocket: conn/s +50.0 % (2000 -> 3000)' '16 CPUs, fastsocket: no difference shown: conn/s'
	equal rows "$(awk '$1 ~ /^[0-9]+$/ { print $1, $2 }' <<<"$output" | paste -sd ' ')" '2 plain 2 fastsocket 16 plain 16 fastsocket'
}

@test "without the plain variant the first one is what is compared with" {
	header
	repeats reuseport 4 rate 1000 1010 990 1005 995
	repeats fastsocket 4 rate 1500 1510 1490 1505 1495
	stats
	equal status "$status" 0
	says 'Compared with reuseport:' 'conn/s +50.0 %'
}

@test "markdown has the intervals and the verdicts" {
	header
	repeats plain 4 rate 1000 1010 990 1005 995
	repeats fastsocket 4 rate 1500 1510 1490 1505 1495
	stats --as markdown
	equal status "$status" 0
	says '| 4 | fastsocket | 1500 + |' '| 4 | plain | 5 | 1000 | [990, 1010] | 0.8 |  |' '| +50.0 % |' '| no difference shown |'
}

# ---- what is no result ----

@test "a file of another kind, or with a number that is none, is an error" {
	stats
	equal "status of an empty file" "$status" 1
	echo 'some text' >"$raw"
	stats
	equal "status of text" "$status" 1
	says 'no column round'
	: >"$raw"
	header
	repeats plain 4 rate 1000 many
	stats
	equal "status of a word" "$status" 1
	says "rate is 'many'"
	: >"$raw"
	header
	echo $'1\t1\tnginx\tplain' >>"$raw"
	stats
	equal "status of half a line" "$status" 1
	run "$bench/stats" "$BATS_TEST_TMPDIR/none"
	equal "status of no file" "$status" 1
}

@test "stats: wrong use is told apart" {
	local arguments
	for arguments in '' "--as html $raw" "--noise much $raw" "$raw $raw" "--frob $raw"; do
		# shellcheck disable=SC2086
		run "$bench/stats" $arguments
		equal "status of stats $arguments" "$status" 2
	done
	run "$bench/stats" --help
	equal "status of --help" "$status" 0
}

# ---- bench/run before it measures ----

@test "run: wrong use is told apart, --help tells the exit status" {
	local arguments
	for arguments in --frob '--cpus 0' '--cpus two' '--cpus 100000' '--variants fast' '--scenarios apache' '--repeats 0' '--seconds -1' \
		'--seconds 0' --seed '--noise x' '--port 65535' '--kernel 6.1' --instructions '--connections 2000' "--report $BATS_TEST_TMPDIR/none"; do
		# shellcheck disable=SC2086
		run "$bench/run" --dry-run $arguments
		equal "status of run $arguments" "$status" 2
	done
	run "$bench/run" --help
	equal "status of --help" "$status" 0
	says 'Exit status' '--seed N'
}

@test "run: each round has every combination once, in an order that the seed repeats" {
	local first second again
	run "$bench/run" --dry-run --vm --repeats 3 --seed 5 --cpus 1,2
	equal status "$status" 0
	equal combinations "$(awk '{ print $1, $3, $4, $5 }' <<<"$output" | sort -u | wc -l)" 48
	equal lines "${#lines[@]}" 48
	first=$(awk '$1 == 1 { print $3, $4, $5 }' <<<"$output")
	second=$(awk '$1 == 2 { print $3, $4, $5 }' <<<"$output")
	[ "$first" != "$second" ] || fail "the second round is as the first"
	again=$output
	run "$bench/run" --dry-run --vm --repeats 3 --seed 5 --cpus 1,2
	equal "the same seed" "$output" "$again"
	run "$bench/run" --dry-run --vm --repeats 3 --seed 6 --cpus 1,2
	[ "$output" != "$again" ] || fail "another seed gives the same order"
}

@test "run: --report makes tables and figures of what was measured" {
	local f
	header
	repeats plain 2 rate 1000 1010 990
	repeats fastsocket 2 rate 1500 1510 1490
	repeats plain 4 rate 2000 2010 1990
	repeats fastsocket 4 rate 3500 3510 3490
	run "$bench/run" --report "$BATS_TEST_TMPDIR"
	echo "$output"
	equal status "$status" 0
	says 'conn/s +50.0 % (1000 -> 1500)'
	for f in throughput locality ipis; do
		[ -s "$BATS_TEST_TMPDIR/nginx-$f.png" ] || fail "no nginx-$f.png"
		grep -q '</svg>' "$BATS_TEST_TMPDIR/nginx-$f.svg" || fail "nginx-$f.svg is no whole SVG"
		grep -q '>fastsocket<' "$BATS_TEST_TMPDIR/nginx-$f.svg" || fail "no fastsocket in nginx-$f.svg"
	done
	grep -q '^!\[nginx-locality\](nginx-locality.svg)' "$BATS_TEST_TMPDIR/report.md"
	grep -q '1500 +' "$BATS_TEST_TMPDIR/report.md"
	grep -q '1500 +' "$BATS_TEST_TMPDIR/report.txt"
}

# SPDX-License-Identifier: GPL-2.0
# bench/stats: a line per repeat becomes medians, intervals and comparisons. Set from
# outside: as (text, markdown, summary), noise_option (percent, or nothing).

# measure NAME SHORT LONG DECIMALS KIND FLOOR TIMED: KIND tells how a difference is given, FLOOR is what
# the standard deviation is compared with where the mean is below it, TIMED that it depends on the clock.
function measure(name, short, long, decimals, kind, floor, timed) {
	short_of[name] = short
	long_of[name] = long
	decimals_of[name] = decimals
	kind_of[name] = kind
	floor_of[name] = floor
	timed_of[name] = timed
}

function measures() {
	measure("locality", "local %", "connections accepted on the CPU that received the SYN, %", 1, "points", 50, 0)
	measure("replies", "replies %", "replies to the proxy's own connections handled on the CPU that opened them, %", 1, "points", 50, 0)
	measure("res", "RES", "rescheduling IPIs per connection", 3, "points", 0.5, 0)
	measure("cal", "CAL", "function-call IPIs per connection", 3, "points", 0.5, 0)
	measure("wakeups", "wakeups", "wakeups of the server per connection", 3, "points", 1, 0)
	measure("ctxt", "switches", "context switches of the machine per connection", 3, "points", 1, 0)
	measure("instructions", "instr.", "instructions per connection, client and server", 0, "percent", 0, 0)
	measure("rate", "conn/s", "connections per second", 0, "percent", 0, 1)
	measure("server_us", "server us", "CPU time of the server per connection, microseconds", 1, "percent", 0, 1)
	measure("softirq_us", "softirq us", "softirq time per connection, microseconds", 1, "percent", 5, 1)
	measure("busy_us", "busy us", "CPU time per connection of everything, microseconds", 1, "percent", 0, 1)
}

# A number of the machine that is emulated comes last.
function order_measures(   counts, times) {
	counts = "locality replies res cal wakeups ctxt instructions"
	times = "rate server_us softirq_us busy_us"
	n_measures = split(emulated ? counts " " times : times " " counts, measure_at, " ")
	# what the exit status depends on
	if (emulated)
		lead["locality"] = lead["res"] = 1
	else
		lead["rate"] = lead["server_us"] = lead["locality"] = 1
}

function student(df) {
	if (!n_student)
		n_student = split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 " \
			"2.120 2.110 2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045 2.042", quantile, " ")
	return quantile[df < n_student ? df : n_student]
}

function die(words) {
	print "bench: " FILENAME ": " words >"/dev/stderr"
	status = 1
	dead = 1
	exit 1
}

function is_number(text) {
	return text ~ /^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$/
}

function add_once(list, text) {
	if (!((list, text) in seen_in)) {
		seen_in[list, text] = 1
		at[list, ++n_of[list]] = text
	}
}

BEGIN {
	FS = "\t"
	measures()
}

/^#/ {
	split($0, word, " ")
	about[word[2]] = word[3]
	next
}

!header {
	for (i = 1; i <= NF; i++)
		column[$i] = i
	n_needed = split("round scenario variant cpus connections failed", needed, " ")
	for (i = 1; i <= n_needed; i++)
		if (!(needed[i] in column))
			die("no column " needed[i])
	header = NF
	next
}

{
	if (NF != header)
		die("line " NR " has " NF " columns, expected " header)
	s = $column["scenario"]
	v = $column["variant"]
	c = $column["cpus"]
	if (c !~ /^[0-9]+$/ || $column["failed"] !~ /^[0-9]+$/ || $column["connections"] !~ /^[0-9]+$/)
		die("line " NR ": no number of CPUs or connections")
	repeats++
	add_once("scenario", s)
	add_once("variant", v)
	add_once("cpus", c + 0)
	cell = s SUBSEP c + 0 SUBSEP v
	n_cell[cell]++
	failed[cell] += $column["failed"]
	all_failed += $column["failed"]
	# Nothing was measured where nothing was answered.
	if ($column["connections"] == 0 && !$column["failed"]) {
		failed[cell]++
		all_failed++
	}
	for (m in short_of) {
		if (!(m in column) || $column[m] == "-")
			continue
		if (!is_number($column[m]))
			die("line " NR ": " m " is '" $column[m] "'")
		value[cell, m, ++n_values[cell, m]] = $column[m]
		has[s, m] = 1
	}
}

# known_first LIST WORDS: these in this order, then others as they came
function known_first(list, words,   n, i, known, old, place) {
	n = split(words, known, " ")
	for (i = 1; i <= n_of[list]; i++)
		old[i] = at[list, i]
	for (i = 1; i <= n; i++)
		if ((list, known[i]) in seen_in) {
			at[list, ++place] = known[i]
			seen_in[list, known[i]] = 2
		}
	for (i = 1; i <= n_of[list]; i++)
		if (seen_in[list, old[i]] == 1)
			at[list, ++place] = old[i]
}

# sort_numbers LIST: at[LIST, 1..n]
function sort_numbers(list,   i, j, t) {
	for (i = 2; i <= n_of[list]; i++)
		for (j = i; j > 1 && at[list, j - 1] + 0 > at[list, j] + 0; j--) {
			t = at[list, j]
			at[list, j] = at[list, j - 1]
			at[list, j - 1] = t
		}
}

function summarise(cell, m,   n, i, j, t, x, sum, squares, mean, key, half) {
	key = cell SUBSEP m
	n = n_values[key]
	for (i = 1; i <= n; i++) {
		x[i] = value[key, i] + 0
		sum += x[i]
		for (j = i; j > 1 && x[j - 1] > x[j]; j--) {
			t = x[j]
			x[j] = x[j - 1]
			x[j - 1] = t
		}
	}
	mean = sum / n
	for (i = 1; i <= n; i++)
		squares += (x[i] - mean) ^ 2
	median[key] = n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
	mean_of[key] = mean
	# A single one has no interval.
	if (n < 2)
		return
	deviation[key] = sqrt(squares / (n - 1))
	half = student(n - 1) * deviation[key] / sqrt(n)
	low[key] = mean - half
	high[key] = mean + half
	t = mean > floor_of[m] ? mean : floor_of[m]
	noise_of[key] = t > 0 ? 100 * deviation[key] / t : 0
}

# quality KEY M: can anything be concluded from these repeats?
function quality(key, m) {
	if (all_failed)
		return "void"
	if (emulated && timed_of[m])
		return "emulated"
	if (n_values[key] < 3)
		return "few"
	return noise_of[key] > limit ? "noisy" : "good"
}

# judge S C V M: sets verdict and difference
function judge(s, c, v, m,   key, base, q) {
	key = s SUBSEP c SUBSEP v SUBSEP m
	base = s SUBSEP c SUBSEP baseline SUBSEP m
	q = quality(key, m)
	if ((q == "noisy" || q == "few") && (m in lead))
		inconclusive[q]++
	if (v == baseline)
		q = q == "good" ? "base" : q
	else if (!(base in median))
		q = "alone"
	else if (q == "good" && quality(base, m) != "good")
		q = quality(base, m)
	else if (q == "good")
		q = low[key] > high[base] ? "more" : high[key] < low[base] ? "less" : "same"
	verdict[key] = q
	if (q != "more" && q != "less")
		return
	if (kind_of[m] == "percent" && median[base] != 0)
		difference[key] = sprintf("%+.1f %%", 100 * (median[key] / median[base] - 1))
	else
		difference[key] = sprintf("%+." decimals_of[m] "f", median[key] - median[base])
}

# mark KEY: beside a median
function mark(key,   q) {
	q = verdict[key]
	return q == "more" ? "+" : q == "less" ? "-" : q == "same" ? "=" : q == "noisy" ? "~" : q == "few" ? "?" : " "
}

function show(key, m) {
	return (key in median) ? sprintf("%." decimals_of[m] "f", median[key]) : "-"
}

function interval(key, m,   f) {
	f = "%." decimals_of[m] "f"
	return (key in low) ? sprintf("[" f ", " f "]", low[key], high[key]) : "none"
}

function title(m) {
	return short_of[m] (emulated && timed_of[m] ? ", em." : "")
}

function cpus_words(c) {
	return c + 0 == 1 ? "1 CPU" : c " CPUs"
}

# ---- the table of medians ----

# cells: row 0 has titles; rows of one number of CPUs stay together
function make_table(s,   i, j, k, m, c, v, key, r) {
	columns = 2
	cells[0, 1] = "CPUs"
	cells[0, 2] = "variant"
	for (k = 1; k <= n_measures; k++)
		if ((s, measure_at[k]) in has)
			cells[0, ++columns] = title(measure_at[k])
	r = 0
	for (i = 1; i <= n_of["cpus"]; i++)
		for (j = 1; j <= n_of["variant"]; j++) {
			c = at["cpus", i]
			v = at["variant", j]
			if (!((s SUBSEP c SUBSEP v) in n_cell))
				continue
			cells[++r, 1] = c
			cells[r, 2] = v
			columns = 2
			for (k = 1; k <= n_measures; k++) {
				m = measure_at[k]
				if (!((s, m) in has))
					continue
				key = s SUBSEP c SUBSEP v SUBSEP m
				cells[r, ++columns] = show(key, m) " " mark(key)
			}
		}
	return r
}

function print_table(rows,   r, k, line, width) {
	for (k = 1; k <= columns; k++)
		for (r = 0; r <= rows; r++)
			if (length(cells[r, k]) > width[k])
				width[k] = length(cells[r, k])
	for (r = 0; r <= rows; r++) {
		if (as == "markdown") {
			line = "|"
			for (k = 1; k <= columns; k++)
				line = line " " trim(cells[r, k]) " |"
			if (r == 0) {
				line = line "\n|"
				for (k = 1; k <= columns; k++)
					line = line (k == 2 ? "---|" : "---:|")
			}
		} else {
			if (r > 1 && cells[r, 1] != cells[r - 1, 1])
				print ""
			line = " "
			# Titles stand above the number, marks beside it.
			for (k = 1; k <= columns; k++)
				line = line sprintf(k == 2 ? " %-" width[k] "s" : "  %" width[k] "s",
					r == 0 && k > 2 ? cells[r, k] "  " : cells[r, k])
			sub(/ +$/, "", line)
		}
		print line
	}
}

function trim(text) {
	sub(/ +$/, "", text)
	# "-" for "less" would begin a list, "~" pairs strike out
	return text
}

# ---- in words ----

function words(s, c, v,   k, m, key, base, yes, same, noisy, few) {
	for (k = 1; k <= n_measures; k++) {
		m = measure_at[k]
		key = s SUBSEP c SUBSEP v SUBSEP m
		base = s SUBSEP c SUBSEP baseline SUBSEP m
		if (verdict[key] == "more" || verdict[key] == "less")
			yes = yes ", " short_of[m] " " difference[key] " (" show(base, m) " -> " show(key, m) ")"
		else if (verdict[key] == "same")
			same = same ", " short_of[m]
		else if (verdict[key] == "noisy")
			noisy = noisy ", " short_of[m]
		else if (verdict[key] == "few")
			few = few ", " short_of[m]
	}
	say_words(s ", " cpus_words(c) ", " v ": ", yes, same, noisy, few)
}

function say_words(who, yes, same, noisy, few,   line) {
	if (yes)
		line = "; " substr(yes, 3)
	if (same)
		line = line "; no difference shown: " substr(same, 3)
	if (noisy)
		line = line "; too noisy: " substr(noisy, 3)
	if (few)
		line = line "; fewer than 3 repeats, no conclusion: " substr(few, 3)
	if (line)
		print "- " who substr(line, 3)
}

function all_words(   i, j, k, s, c, v) {
	if (all_failed)
		return
	print (as == "markdown" ? "## In words\n" : "Compared with " baseline ":")
	if (as == "markdown")
		print "Compared with " baseline ", medians; a difference is named only where the intervals do not overlap.\n"
	for (i = 1; i <= n_of["scenario"]; i++)
		for (j = 1; j <= n_of["cpus"]; j++)
			for (k = 1; k <= n_of["variant"]; k++) {
				s = at["scenario", i]
				c = at["cpus", j]
				v = at["variant", k]
				if (v != baseline && ((s SUBSEP c SUBSEP v) in n_cell))
					words(s, c, v)
			}
	print ""
}

function void_words(   i, j, k, cell) {
	print "VOID: connections failed, so nothing is concluded from this run:"
	if (as == "markdown")
		print ""
	for (i = 1; i <= n_of["scenario"]; i++)
		for (j = 1; j <= n_of["cpus"]; j++)
			for (k = 1; k <= n_of["variant"]; k++) {
				cell = at["scenario", i] SUBSEP at["cpus", j] SUBSEP at["variant", k]
				if (failed[cell])
					print "- " at["scenario", i] ", " cpus_words(at["cpus", j]) ", " \
						at["variant", k] ": " failed[cell]
			}
	print ""
}

# ---- intervals ----

function intervals(s,   k, m, i, j, key, v) {
	for (k = 1; k <= n_measures; k++) {
		m = measure_at[k]
		if (!((s, m) in has))
			continue
		print "### " s ": " long_of[m] (emulated && timed_of[m] ? " (emulated)" : "") "\n"
		print "| CPUs | variant | repeats | median | 95 % interval of the mean | noise, % | against " baseline " |"
		print "|---:|---|---:|---:|---:|---:|---|"
		for (i = 1; i <= n_of["cpus"]; i++)
			for (j = 1; j <= n_of["variant"]; j++) {
				v = at["variant", j]
				key = s SUBSEP at["cpus", i] SUBSEP v SUBSEP m
				if (key in median)
					printf "| %s | %s | %d | %s | %s | %s | %s |\n", at["cpus", i], v, n_values[key],
						show(key, m), interval(key, m),
						(key in noise_of) ? sprintf("%.1f", noise_of[key]) : "-", in_short(key)
			}
		print ""
	}
}

function in_short(key,   q) {
	q = verdict[key]
	return q == "base" || q == "alone" ? "" : q == "same" ? "no difference shown" : q == "noisy" ? "too noisy" : \
		q == "few" ? "too few repeats" : q == "emulated" ? "emulated, not compared" : q == "void" ? "void" : difference[key]
}

function legend() {
	if (all_failed)
		print "Medians, not compared." (as == "markdown" ? "\n" : "")
	else if (as == "markdown")
		print "Medians. Beside them, compared with " baseline ": `+` more, `-` less, `=` no difference shown (the intervals " \
			"overlap), `~` too noisy (standard deviation above " limit " %), `?` fewer than 3 repeats.\n"
	else
		print "Medians. Compared with " baseline ": + more, - less, = no difference shown (95 % t intervals overlap),\n" \
			"~ too noisy (standard deviation above " limit " %), ? fewer than 3 repeats."
	if (emulated)
		print "em.: emulated."
	if (as == "text" || emulated)
		print ""
}

function summary(   i, j, k, l, s, c, v, m, key) {
	print "scenario\tcpus\tvariant\tmeasure\trepeats\tmedian\tlow\thigh\tmean\tdeviation\tnoise\tverdict\tdifference"
	for (i = 1; i <= n_of["scenario"]; i++)
		for (j = 1; j <= n_of["cpus"]; j++)
			for (k = 1; k <= n_of["variant"]; k++)
				for (l = 1; l <= n_measures; l++) {
					s = at["scenario", i]
					c = at["cpus", j]
					v = at["variant", k]
					m = measure_at[l]
					key = s SUBSEP c SUBSEP v SUBSEP m
					if (!(key in median))
						continue
					printf "%s\t%s\t%s\t%s\t%d\t%.6g", s, c, v, m, n_values[key], median[key]
					if (key in low)
						printf "\t%.6g\t%.6g\t%.6g\t%.6g\t%.3g", low[key], high[key], mean_of[key],
							deviation[key], noise_of[key]
					else
						printf "\t-\t-\t%.6g\t-\t-", mean_of[key]
					printf "\t%s\t%s\n", verdict[key], (key in difference) ? difference[key] : "-"
				}
}

function report(   i, rows) {
	if (as == "markdown" && emulated)
		print "The machine was emulated: times and rates are not those of any hardware and are not compared. Read the counts.\n"
	else if (emulated)
		print "Emulated: times and rates are not those of any hardware and are not compared. Read the counts.\n"
	if (all_failed)
		void_words()
	if (incomplete)
		print "NOT COMPLETE: " repeats " of " about["planned"] " repeats were made.\n"
	for (i = 1; i <= n_of["scenario"]; i++) {
		print (as == "markdown" ? "## " : "") at["scenario", i] (as == "markdown" ? "\n" : "")
		rows = make_table(at["scenario", i])
		print_table(rows)
		print ""
	}
	legend()
	all_words()
	if (as == "markdown")
		for (i = 1; i <= n_of["scenario"]; i++)
			intervals(at["scenario", i])
}

END {
	if (dead)
		exit status
	if (!repeats)
		die("no repeats in it")
	emulated = about["emulated"] == "yes"
	limit = noise_option != "" ? noise_option : about["noise"] != "" ? about["noise"] : 10
	order_measures()
	sort_numbers("cpus")
	known_first("scenario", "nginx haproxy haproxy-tcp")
	known_first("variant", "plain reuseport bpf fastsocket rfd")
	baseline = ("variant", "plain") in seen_in ? "plain" : at["variant", 1]
	incomplete = about["planned"] != "" && about["planned"] + 0 > repeats
	for (i = 1; i <= n_of["scenario"]; i++)
		for (j = 1; j <= n_of["cpus"]; j++)
			for (k = 1; k <= n_of["variant"]; k++)
				for (l = 1; l <= n_measures; l++) {
					m = measure_at[l]
					key = at["scenario", i] SUBSEP at["cpus", j] SUBSEP at["variant", k]
					if ((key, m) in n_values)
						summarise(key, m)
				}
	for (i = 1; i <= n_of["scenario"]; i++)
		for (j = 1; j <= n_of["cpus"]; j++)
			for (k = 1; k <= n_of["variant"]; k++)
				for (l = 1; l <= n_measures; l++)
					if ((at["scenario", i], at["cpus", j], at["variant", k], measure_at[l]) in median)
						judge(at["scenario", i], at["cpus", j], at["variant", k], measure_at[l])
	if (as == "summary")
		summary()
	else
		report()
	if (all_failed)
		exit 3
	if (incomplete || inconclusive["noisy"] || inconclusive["few"])
		exit 4
}

# SPDX-License-Identifier: GPL-2.0
# One figure of bench/run: a measure against the number of CPUs, a line for each variant. From outside come data
# (blocks of "place cpus median low high"), file (without its ending), names, cpus, heading, percent.

n = words(names)
set title heading offset 0,-0.5
set xlabel "CPUs"
set xrange [0.6:words(cpus) + 0.4]
set xtics ()
do for [k = 1:words(cpus)] { set xtics add (word(cpus, k) k) }
set yrange [0:*]
if (percent) { set yrange [0:105] }
set grid ytics lc rgb "#dddddd"
set key outside top center horizontal
set border 3
set xtics nomirror
set ytics nomirror

# Told apart without colour by the shape of their points
set style line 1 lc rgb "#555555" pt 4 ps 0.9 lw 1.5
set style line 2 lc rgb "#e08020" pt 8 ps 1.0 lw 1.5
set style line 3 lc rgb "#2070b0" pt 12 ps 1.1 lw 1.5
set style line 4 lc rgb "#209050" pt 7 ps 1.0 lw 2
set style line 5 lc rgb "#a04090" pt 5 ps 0.9 lw 1.5
style(name) = name eq "plain" ? 1 : name eq "reuseport" ? 2 : name eq "bpf" ? 3 : name eq "fastsocket" ? 4 : 5

# Beside each other, or intervals would hide each other.
aside(i) = (i - (n + 1) / 2.0) * 0.05

do for [t = 1:2] {
	if (t == 1) {
		set terminal svg size 560,360 font "sans,12" background rgb "white"
		set output file.".svg"
	} else {
		set terminal pngcairo size 1120,720 font "sans,20"
		set output file.".png"
	}
	plot for [i = 1:n] data index (i - 1) using ($1 + aside(i)):3:4:5 with yerrorlines \
		ls style(word(names, i)) title word(names, i)
	unset output
}

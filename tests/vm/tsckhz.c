// SPDX-License-Identifier: GPL-2.0
/*
 * tsckhz: prints the frequency of this machine's TSC in kHz
 *
 * An emulated CPU has the host's TSC. A kernel that measures it while the host runs something
 * else may be wrong by a factor of ten (seen: 173 MHz for 2445), and its clock runs fast
 * by that factor then; so vm/boot tells it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

#define ROUNDS 5

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	struct timespec pause = { .tv_nsec = 20000000 };
	double khz[ROUNDS], t;
	unsigned long long c;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		t = now();
		c = __rdtsc();
		nanosleep(&pause, NULL);
		/* in this order, so that being interrupted in between errs both ways */
		khz[i] = (now() - t) * 1e3;
		khz[i] = (__rdtsc() - c) / khz[i];
	}
	qsort(khz, ROUNDS, sizeof(*khz), by_size);
	printf("%.0f\n", khz[ROUNDS / 2]);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of fsfuzz share
 *
 * fsfuzz.c        options, seeds, the program in its own process, hangs, the verdict
 * fsfuzz_prog.c   concurrent mode: programs of several tasks
 * fsfuzz_calls.c  the table of the calls they make, and the pools of their arguments
 * fsfuzz_opts.c   socket options and their values
 * fsfuzz_diff.c   differential mode: the same program on native and attached listeners
 */
#ifndef FSFUZZ_H
#define FSFUZZ_H

#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdint.h>

#include "probe.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- random numbers: every program, task and call has a generator of its own ---- */

struct rng {
	uint64_t state;
};

static inline uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static inline struct rng rng_for(uint64_t seed, uint64_t a, uint64_t b)
{
	return (struct rng){ mix(mix(mix(seed + 1) + a) + b) };
}

static inline uint32_t rnd(struct rng *r)
{
	r->state += 0x9e3779b97f4a7c15ULL;
	return mix(r->state) >> 32;
}

static inline unsigned int below(struct rng *r, unsigned int n)
{
	return rnd(r) % n;
}

static inline bool chance(struct rng *r, unsigned int of)
{
	return below(r, of) == 0;
}

#define ONE_OF(r, array) ((array)[below(r, ARRAY_SIZE(array))])

/* ---- what outlives the process of a program ---- */

/**
 * struct shared - between the parent and the processes of the programs
 * @findings: how many so far
 * @calls: calls made
 * @failed: those of them that returned an error
 * @served: listeners that were found to answer at the end of a program
 * @skipped: those that could not be asked: in another namespace, or taken by an option
 */
struct shared {
	unsigned long findings, calls, failed, served, skipped;
};

/**
 * struct options - the command line
 * @seed: of all programs
 * @first: index of the first program
 * @count: how many programs at most
 * @seconds: no program starts after that many seconds
 * @limit: a program that takes longer hangs
 * @verbose: print every call with its result
 * @diff: differential mode
 * @control: compare native listeners with native ones
 * @mark: write the index of each program to /dev/kmsg
 * @stop: at the first finding
 */
struct options {
	unsigned long seed, first, count;
	long seconds, limit;
	bool verbose, diff, control, mark, stop;
};

extern struct shared *shared;
extern struct options opt;
extern unsigned long program_index;

void finding(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *error_name(int err);

/* Runs program @index in the calling process, which has nothing else to do. */
void concurrent_program(unsigned long index);
/* Runs it twice or more, each time in a process of its own, and compares. */
void differential_program(unsigned long index);

/* ---- fsfuzz_opts.c ---- */

/**
 * struct option_value - a socket option and a value for it
 * @level, @name: as in setsockopt(2)
 * @value: the bytes
 * @len: what to give as their length
 */
struct option_value {
	int level, name;
	unsigned char value[512];
	socklen_t len;
};

void random_option(struct rng *r, bool hostile, struct option_value *o);
void plain_option(struct rng *r, struct option_value *o);
int list_option(unsigned int n, int *level, int *name);

/* ---- fsfuzz_calls.c: slots hold descriptors, far above what calls return ---- */

#define FIRST_SLOT 200
#define SLOTS 32

enum kind { LISTENER, TCP, CONN, OTHER, EPOLL, PAIR, DEV, CLOSED, NR_KINDS };

struct slots {
	const char *name;
	int first, count;
};

/**
 * struct task - one of those that run the calls of a program
 * @number: of the task
 * @ncalls: how many calls it makes
 * @hostile: options are set that may keep listeners from answering
 * @alone: the only task: what it sees of its descriptors is certain
 * @text: the call as printed
 * @used: length of @text
 * @findings: what was wrong with the last call
 * @room: three pages: one to write, one to read, one that is not there
 */
struct task {
	int number;
	unsigned int ncalls;
	bool hostile, alone;
	struct rng r;
	char text[400];
	size_t used;
	char *room;
	aio_context_t aio;
};

extern const struct slots kinds[NR_KINDS];
extern long page;

void one_call(struct task *t);

/* unshare(CLONE_FILES) was called since the program began */
extern bool table_copied;

#endif /* FSFUZZ_H */

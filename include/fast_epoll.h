/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fast Epoll: EPOLL_CTL_MOD and EPOLL_CTL_DEL find a socket's epitem without a search
 *
 * Why it exists: an epoll keeps its items in a tree, and each epoll_ctl() walks it, on a
 * server with many connections through as many cold cache lines as the tree is deep. But each
 * file has a list of its epitems (file->f_ep), as long as the number of epolls it is in: one,
 * nearly always. So the item is looked for there.
 *
 * Everything else stays the kernel's: whatever is unusual goes to its own function. What
 * we read of the private structs is taken from the kernel's type information, and any difference
 * from what we were written for keeps the feature off.
 *
 * Hooked only while the parameter is 1 and listeners are attached, and five seconds longer.
 */
#ifndef _FASTSOCKET_FAST_EPOLL_H
#define _FASTSOCKET_FAST_EPOLL_H

#include <linux/types.h>

/* How many epitems of a file are looked at; a tree of so many more is quicker searched. */
#define FS_EPOLL_STEPS 4

/**
 * enum fs_epoll_stat - what became of epoll_ctl() while it was hooked
 * @FS_EPOLL_MOD: EPOLL_CTL_MOD done here
 * @FS_EPOLL_DEL: EPOLL_CTL_DEL done here
 * @FS_EPOLL_OTHER: left to the kernel's function; EPOLL_CTL_ADD is not counted
 * @FS_NR_EPOLL: how many there are
 */
enum fs_epoll_stat { FS_EPOLL_MOD, FS_EPOLL_DEL, FS_EPOLL_OTHER, FS_NR_EPOLL };

struct epoll_event;

extern unsigned int fs_epoll_enabled;

/* A live patch has do_epoll_ctl(): it gets all calls. For the trampoline. */
extern bool fs_epoll_yields;

/**
 * fs_epoll_trampoline() - ftrace's direct call at the entry of do_epoll_ctl(); in assembler
 *
 * Not to be called from C.
 */
void fs_epoll_trampoline(void);

/**
 * fs_epoll_ctl() - in place of do_epoll_ctl(), but for EPOLL_CTL_ADD; process context, sleeps
 * @epfd: as there, and so are the others
 * @op: EPOLL_CTL_MOD, EPOLL_CTL_DEL, or one that is none
 * @fd: what is in the epoll
 * @epds: the event, in memory of the kernel
 * @nonblock: it must not sleep
 *
 * Return: as do_epoll_ctl().
 */
int fs_epoll_ctl(int epfd, int op, int fd, struct epoll_event *epds, bool nonblock);

const unsigned long __percpu *fs_epoll_counters(void);
int fs_epoll_switch(bool on);
void fs_epoll_get(void);
void fs_epoll_put(void);
void fs_epoll_init(void);
void fs_epoll_exit(void);

#endif /* _FASTSOCKET_FAST_EPOLL_H */

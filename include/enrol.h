/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which programs are served without knowing it
 *
 * Why it exists: the library of the original puts listen() in front of a program's own.
 * That does not reach static programs (Go, musl), those whose environment is cleared and
 * those that raise their privileges. Here the kernel itself tells when a socket begins to listen,
 * and we look who did it: a process that is enrolled, or one that an enrolled process has made,
 * or one in an enrolled control group. A program that wants it for one socket says so by TCP_ULP.
 */
#ifndef _FASTSOCKET_ENROL_H
#define _FASTSOCKET_ENROL_H

#include <linux/types.h>

struct seq_file;
struct socket;

/* How many control groups may be enrolled: each costs some instructions per listen(). */
#define FS_MAX_CGROUPS 256

int fs_enrol_process(pid_t pid, bool on);
int fs_enrol_cgroup(int fd, bool on);
unsigned int fs_enrolled_processes(void);
unsigned int fs_enrolled_cgroups(void);
int fs_enrol_init(void);
void fs_enrol_exit(void);

#endif /* _FASTSOCKET_ENROL_H */

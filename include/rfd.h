/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Receive Flow Deliver: a connection that we open is handled on the CPU that opened it
 *
 * Why it exists: replies to connect() arrive on whatever CPU the NIC or RPS picks by
 * a hash, so a proxy's second half runs on two CPUs. The port of a connection is ours
 * to choose: it names the CPU, and packets to such a port go to that CPU's backlog,
 * without any table of connections.
 *
 * While the parameter is 0 nothing of this is installed.
 */
#ifndef _FASTSOCKET_RFD_H
#define _FASTSOCKET_RFD_H

#include <linux/bitops.h>
#include <linux/types.h>

#include "fastsocket.h"

#define FS_PORTS 65536

/* Tries with ports of one parity: with an unknown destination, and with one that had none free. */
#define FS_TRIES 16
#define FS_TRIES_AGAIN 2

#define FS_BACKOFFS 256
#define FS_BACKOFF_MIN 4
#define FS_BACKOFF_MAX 128

/**
 * struct fs_backoff - a destination to which a CPU had no port free
 * @key: of the destination, see fs_backoff_key(); 0: none
 * @until: jiffies, the low half; then it may be tried at once, and forgotten
 * @skip: how many connects to it still take any port
 * @step: how many there were after the last failure
 *
 * A hint of one CPU that nothing guards: two tasks of that CPU may spoil it and
 * then it costs some tries too many or too few.
 */
struct fs_backoff {
	u32 key;
	u32 until;
	u16 skip;
	u16 step;
};

/**
 * struct fs_rfd_cpu - what a CPU has for itself
 * @connecting: tasks that went into our connect functions here, less those that
 *	came out here; the sum of all CPUs counts
 * @backoff: by fs_backoff_key()
 */
struct fs_rfd_cpu {
	long connecting;
	struct fs_backoff backoff[FS_BACKOFFS];
};

/**
 * struct fs_port_set - the ports of a range that belong to a CPU, of one parity
 * @first: the lowest
 * @count: how many; each 2N above the one before
 */
struct fs_port_set {
	unsigned int first;
	unsigned int count;
};

extern unsigned int fs_rfd_enabled;

int fs_rfd_switch(bool on);
int fs_rfd_init(void);
void fs_rfd_exit(void);
void fs_rfd_net_exit(struct fs_net *fn);

#endif /* _FASTSOCKET_RFD_H */

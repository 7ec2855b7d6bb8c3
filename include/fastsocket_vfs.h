/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sockfs fast path: inodes of closed sockets are used again on the same CPU
 *
 * Why it exists: each socket is an inode, a dentry and a file. Stock kernels no longer take a
 * global lock for any of them, which is seen to at load; what is left is the inode's way into
 * the kernel's cache and out again: accounted to a memory cgroup, freed by an RCU callback of its
 * own. Here inodes wait for a grace period by the batch, and are handed out again without the
 * cache, to the memory cgroup that they are accounted to and no other.
 *
 * It is for all sockets of the system, from load to unload: who has made a socket is known only
 * after its inode was allocated.
 */
#ifndef _FASTSOCKET_VFS_H
#define _FASTSOCKET_VFS_H

#include <linux/types.h>

/**
 * enum fs_vfs_stat - what became of sockets' inodes
 * @FS_VFS_REUSED: new sockets that got an inode of the pool
 * @FS_VFS_FRESH: new sockets that got one from the kernel's cache
 * @FS_VFS_KEPT: closed sockets whose inode came into the pool
 * @FS_VFS_FREED: closed sockets whose inode went back to the kernel's cache at once
 * @FS_VFS_TRIMMED: inodes of the pool that went back because nobody took them
 * @FS_NR_VFS: how many there are
 */
enum fs_vfs_stat {
	FS_VFS_REUSED,
	FS_VFS_FRESH,
	FS_VFS_KEPT,
	FS_VFS_FREED,
	FS_VFS_TRIMMED,
	FS_NR_VFS
};

const unsigned long __percpu *fs_vfs_counters(void);
void fs_vfs_init(void);
void fs_vfs_exit(void);

#endif /* _FASTSOCKET_VFS_H */

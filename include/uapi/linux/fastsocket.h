/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of /dev/fastsocket.
 *
 * Numbers and argument layout are those of the original Fastsocket, so that
 * programs built against it keep working. Every call takes a pointer to one
 * struct fsocket_ioctl_arg and uses the members named beside its number.
 */
#ifndef _UAPI_LINUX_FASTSOCKET_H
#define _UAPI_LINUX_FASTSOCKET_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define FSOCKET_IOC_ID			0xf5

/* op.socket_op; returns the new file descriptor */
#define FSOCKET_IOC_SOCKET		_IO(FSOCKET_IOC_ID, 0x01)
/* fd, backlog */
#define FSOCKET_IOC_LISTEN		_IO(FSOCKET_IOC_ID, 0x02)
/* fd, op.accept_op; returns the new file descriptor */
#define FSOCKET_IOC_ACCEPT		_IO(FSOCKET_IOC_ID, 0x03)
/* fd */
#define FSOCKET_IOC_CLOSE		_IO(FSOCKET_IOC_ID, 0x04)
/* 0x05 was EPOLL_CTL in early versions of the original; never implemented */
/* fd, op.spawn_op; makes the calling task a worker of the listener */
#define FSOCKET_IOC_SPAWN_LISTEN	_IO(FSOCKET_IOC_ID, 0x06)
/* fd, op.shutdown_op */
#define FSOCKET_IOC_SHUTDOWN_LISTEN	_IO(FSOCKET_IOC_ID, 0x07)
/* no member; SPAWN_LISTEN with cpu -1 for every attached listener of the process */
#define FSOCKET_IOC_SPAWN_ALL_LISTEN	_IO(FSOCKET_IOC_ID, 0x08)

/* Not in the original: 0x10 and above */

/* op.enrol_op, fd with FSOCKET_ENROL_CGROUP */
#define FSOCKET_IOC_ENROL		_IO(FSOCKET_IOC_ID, 0x10)

/* take back, instead of enrol */
#define FSOCKET_ENROL_OFF		0x1
/* the control group whose directory fd is, instead of a process */
#define FSOCKET_ENROL_CGROUP		0x2

struct fsocket_accept_op {
	void *sockaddr;		/* struct sockaddr *, may be NULL */
	int *sockaddr_len;	/* in: room, out: length; may be NULL with sockaddr */
	int flags;		/* SOCK_NONBLOCK, SOCK_CLOEXEC */
};

struct fsocket_spawn_op {
	int cpu;		/* -1: choose one */
};

struct fsocket_io_op {
	char *buf;
	__u32 len;
};

struct fsocket_socket_op {
	__u32 family;
	__u32 type;
	__u32 protocol;
};

struct fsocket_shutdown_op {
	int how;
};

struct fsocket_epoll_op {
	__u32 epoll_fd;
	__u32 size;
	__u32 ep_ctl_cmd;
	__u32 time_out;
	struct epoll_event *ev;
};

struct fsocket_enrol_op {
	int pid;		/* of a process; 0: the caller's own */
	__u32 flags;		/* FSOCKET_ENROL_... */
};

union fsocket_op {
	struct fsocket_accept_op accept_op;
	struct fsocket_spawn_op spawn_op;
	struct fsocket_io_op io_op;
	struct fsocket_socket_op socket_op;
	struct fsocket_shutdown_op shutdown_op;
	struct fsocket_epoll_op epoll_op;
	struct fsocket_enrol_op enrol_op;
};

struct fsocket_ioctl_arg {
	__u32 fd;
	__u32 backlog;
	union fsocket_op op;
};

#endif /* _UAPI_LINUX_FASTSOCKET_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels we support
 *
 * The core is written for one kernel interface and never looks at a version
 * number; this is the only file that knows about differences. Tested: the 6.1
 * series. A kernel whose interfaces differ fails to compile here or in the
 * file concerned, which is better than a module that guesses.
 */
#ifndef _FASTSOCKET_COMPAT_H
#define _FASTSOCKET_COMPAT_H

#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/tcp.h>

/* inet_sock keeps these as bit fields up to 6.6, as bits of inet_flags later. */
static inline void fs_copy_inet_bits(struct sock *to, const struct sock *from)
{
	inet_sk(to)->freebind = inet_sk(from)->freebind;
	inet_sk(to)->transparent = inet_sk(from)->transparent;
}

/* The same for the bits of ipv6_pinfo that shape a SYN-ACK. */
static inline void fs_copy_inet6_bits(struct ipv6_pinfo *to, const struct ipv6_pinfo *from)
{
	to->sndflow = from->sndflow;
	to->repflow = from->repflow;
	to->pmtudisc = from->pmtudisc;
	to->srcprefs = from->srcprefs;
	to->dontfrag = from->dontfrag;
	to->autoflowlabel = from->autoflowlabel;
	to->autoflowlabel_set = from->autoflowlabel_set;
}

/* Keys of TCP-MD5 (and TCP-AO, since 6.7) live on the listener only. */
static inline bool fs_has_tcp_keys(const struct sock *sk)
{
#ifdef CONFIG_TCP_MD5SIG
	if (rcu_access_pointer(tcp_sk(sk)->md5sig_info))
		return true;
#endif
	return false;
}

#endif /* _FASTSOCKET_COMPAT_H */

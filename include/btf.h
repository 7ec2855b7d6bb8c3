/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the members of the kernel's private structures are
 *
 * Why it exists: some structures are defined in the kernel's .c files, and their
 * layout depends on its version, its configuration and its compiler. The kernel
 * carries a description of all its types, BTF, which it also shows as
 * /sys/kernel/btf/vmlinux: there we look up the offsets of the members that we use, once,
 * at load. Each must have the type and the size that we were written for, otherwise the
 * caller stays off. It is read in place: to read the file takes a copy of 5 MB, and
 * kernel_read_file() is for what security modules know (IPE warns of anything else).
 *
 * Nothing of the description is believed: whatever it holds, only it is read.
 */
#ifndef _FASTSOCKET_BTF_H
#define _FASTSOCKET_BTF_H

#include <linux/types.h>

/* Room for the phrase that says what is wrong; a longer one is cut off. */
#define FS_BTF_WHY 192

/**
 * struct fs_btf_member - a member that is looked for, and where it was found
 * @name: its name; with dots it is a member of a member, as "ffd.fd". It may also be
 *	one of a structure or union that has no name
 * @type: its type in C, without const, volatile and the like, "*" after one blank:
 *	"int", "struct file *", "char **", "struct list_head[16]"; a typedef by its
 *	name. A function is "function", what has no name is "struct {...}"
 * @size: its size in bytes
 * @offset: filled in, in bytes from the start of the outermost structure; valid only
 *	if all members of all structures were found
 */
struct fs_btf_member {
	const char *name;
	const char *type;
	u32 size;
	u32 *offset;
};

/**
 * struct fs_btf_struct - a structure that is looked for
 * @name: its name, without "struct"
 * @members: those of interest
 * @count: how many they are
 * @size: its size in bytes, 0: any
 */
struct fs_btf_struct {
	const char *name;
	const struct fs_btf_member *members;
	unsigned int count;
	u32 size;
};

int fs_btf_layout(const void *data, size_t len, const struct fs_btf_struct *structs, unsigned int n,
		  char *why, size_t why_len);
int fs_btf_vmlinux(const struct fs_btf_struct *structs, unsigned int n, char *why, size_t why_len);

#endif /* _FASTSOCKET_BTF_H */

// SPDX-License-Identifier: GPL-2.0
/* Cases for btf.c */
#include "../../btf.c"

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "kunit_util.h"

/* BTF that is being written; its sections are big enough for all cases. */
struct fsk_btf {
	u32 types[1024];
	u32 words;
	u32 count;
	char strings[512];
	u32 strings_len;
	/* Of the last thing that was written: where it is, to spoil it. */
	u32 last;
};

/* Results of the last look-up. */
static u32 fsk_offset;
static char fsk_why[FS_BTF_WHY];

static u32 fsk_string(struct fsk_btf *f, const char *s)
{
	u32 offset = f->strings_len;

	if (!*s)
		return 0;
	f->strings_len += strscpy(f->strings + offset, s, sizeof(f->strings) - offset) + 1;
	return offset;
}

static void fsk_word(struct fsk_btf *f, u32 word)
{
	f->types[f->words++] = word;
}

/* A type with @n things behind it; its number. */
static u32 fsk_type(struct fsk_btf *f, const char *name, u32 kind, u32 n, u32 size)
{
	f->last = f->words;
	fsk_word(f, fsk_string(f, name));
	fsk_word(f, kind << 24 | n);
	fsk_word(f, size);
	return ++f->count;
}

static void fsk_member(struct fsk_btf *f, const char *name, u32 type, u32 offset)
{
	f->last = f->words;
	fsk_word(f, fsk_string(f, name));
	fsk_word(f, type);
	fsk_word(f, offset);
}

static u32 fsk_int(struct fsk_btf *f, const char *name, u32 size, u32 bits)
{
	u32 id = fsk_type(f, name, BTF_KIND_INT, 0, size);

	fsk_word(f, bits);
	return id;
}

static u32 fsk_array(struct fsk_btf *f, u32 type, u32 n)
{
	u32 id = fsk_type(f, "", BTF_KIND_ARRAY, 0, 0);

	fsk_word(f, type);
	fsk_word(f, 1);
	fsk_word(f, n);
	return id;
}

/* One of each kind that no member is of. */
static void fsk_other_kinds(struct fsk_btf *f)
{
	u32 proto, var;

	fsk_type(f, "color", BTF_KIND_ENUM, 2, 4);
	f->words += 2 * 2;
	proto = fsk_type(f, "", BTF_KIND_FUNC_PROTO, 3, 1);
	f->words += 3 * 2;
	fsk_type(f, "open", BTF_KIND_FUNC, BTF_FUNC_GLOBAL, proto);
	var = fsk_type(f, "jiffies", BTF_KIND_VAR, 0, 1);
	fsk_word(f, BTF_VAR_STATIC);
	fsk_type(f, ".data", BTF_KIND_DATASEC, 1, 4);
	fsk_word(f, var);
	fsk_word(f, 0);
	fsk_word(f, 4);
	fsk_type(f, "float", BTF_KIND_FLOAT, 0, 4);
	fsk_type(f, "tag", BTF_KIND_DECL_TAG, 0, var);
	fsk_word(f, -1);
	fsk_type(f, "color64", BTF_KIND_ENUM64, 2, 8);
	f->words += 2 * 3;
}

/*
 * struct file;
 * struct raw { int v; };
 * typedef struct raw lock_t;
 * struct key { const struct file __tag *restrict file; int fd; };
 * struct item {
 *	union {
 *		lock_t first;
 *		struct { int a, b; };
 *	};
 *	struct key key;			(16)
 *	volatile lock_t lock;		(32)
 *	int numbers[3];			(36)
 *	int (*call)(int, int, int);	(48)
 *	enum color64 color;		(56)
 * };
 */
static struct fsk_btf *fsk_item(struct kunit *test)
{
	struct fsk_btf *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	u32 integer, id, file, raw, lock, key, pair, either, numbers, call;

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->strings_len = 1;
	integer = fsk_int(f, "int", 4, BTF_INT_SIGNED << 24 | 32);
	fsk_other_kinds(f);
	id = fsk_type(f, "file", BTF_KIND_FWD, 0, 0);
	id = fsk_type(f, "", BTF_KIND_CONST, 0, id);
	id = fsk_type(f, "tag", BTF_KIND_TYPE_TAG, 0, id);
	id = fsk_type(f, "", BTF_KIND_PTR, 0, id);
	file = fsk_type(f, "", BTF_KIND_RESTRICT, 0, id);
	raw = fsk_type(f, "raw", BTF_KIND_STRUCT, 1, 4);
	fsk_member(f, "v", integer, 0);
	lock = fsk_type(f, "lock_t", BTF_KIND_TYPEDEF, 0, raw);
	key = fsk_type(f, "key", BTF_KIND_STRUCT, 2, 16);
	fsk_member(f, "file", file, 0);
	fsk_member(f, "fd", integer, 64);
	pair = fsk_type(f, "", BTF_KIND_STRUCT, 2, 8);
	fsk_member(f, "a", integer, 0);
	fsk_member(f, "b", integer, 32);
	either = fsk_type(f, "", BTF_KIND_UNION, 2, 8);
	fsk_member(f, "first", lock, 0);
	fsk_member(f, "", pair, 0);
	numbers = fsk_array(f, integer, 3);
	call = fsk_type(f, "", BTF_KIND_PTR, 0, 3); /* the function of fsk_other_kinds() */
	id = fsk_type(f, "", BTF_KIND_VOLATILE, 0, lock);
	fsk_type(f, "item", BTF_KIND_STRUCT, 6, 64);
	fsk_member(f, "", either, 0);
	fsk_member(f, "key", key, 16 * 8);
	fsk_member(f, "lock", id, 32 * 8);
	fsk_member(f, "numbers", numbers, 36 * 8);
	fsk_member(f, "call", call, 48 * 8);
	fsk_member(f, "color", 9, 56 * 8); /* the last of fsk_other_kinds() */
	return f;
}

/* struct item with one member, after which it has room for more. */
static struct fsk_btf *fsk_small(struct kunit *test, u32 flag)
{
	struct fsk_btf *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->strings_len = 1;
	fsk_int(f, "int", 4, 32);
	fsk_type(f, "item", BTF_KIND_STRUCT | flag << 7, 1, 64);
	return f;
}

/*
 * As it is in a file, in memory of exactly that size, so that KASAN sees a look behind it. What
 * stands last is the strings, or the types.
 */
static void *fsk_pack(struct kunit *test, const struct fsk_btf *f, bool types_last, size_t *len)
{
	u32 types_len = f->words * sizeof(u32), strings_len = f->strings_len;
	struct btf_header *h;

	if (types_last)
		strings_len = round_up(strings_len, sizeof(u32));
	*len = sizeof(*h) + types_len + strings_len;
	h = kmalloc(*len, GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, h);
	h->magic = BTF_MAGIC;
	h->version = BTF_VERSION;
	h->hdr_len = sizeof(*h);
	h->type_off = types_last ? strings_len : 0;
	h->type_len = types_len;
	h->str_off = types_last ? 0 : types_len;
	h->str_len = strings_len;
	memcpy((void *)(h + 1) + h->type_off, f->types, types_len);
	memcpy((void *)(h + 1) + h->str_off, f->strings, f->strings_len);
	return h;
}

static int fsk_layout(const void *data, size_t len, const char *name, const char *type, u32 size)
{
	struct fs_btf_member member = { name, type, size, &fsk_offset };
	struct fs_btf_struct item = { "item", &member, 1 };

	fsk_offset = U32_MAX;
	strscpy(fsk_why, "", sizeof(fsk_why));
	return fs_btf_layout(data, len, &item, 1, fsk_why, sizeof(fsk_why));
}

/* Look for one member of struct item. */
static int fsk_look(struct kunit *test, const struct fsk_btf *f, const char *name, const char *type,
		    u32 size)
{
	size_t len;
	void *data = fsk_pack(test, f, false, &len);
	int err = fsk_layout(data, len, name, type, size);

	kfree(data);
	return err;
}

static void fs_btf_layout__finds_all_at_once(struct kunit *test)
{
	u32 lock, numbers, v, color;
	struct fs_btf_member members[] = {
		{ "lock", "lock_t", 4, &lock },
		{ "numbers", "int[3]", 12, &numbers },
		{ "color", "enum color64", 8, &color },
	};
	struct fs_btf_member raw = { "v", "int", 4, &v };
	struct fs_btf_struct structs[] = {
		{ "item", members, ARRAY_SIZE(members) },
		{ "raw", &raw, 1 },
		{ "key", NULL, 0 },
	};
	struct fsk_btf *f = fsk_item(test);
	size_t len;
	void *data = fsk_pack(test, f, false, &len);

	KUNIT_EXPECT_EQ_MSG(test, fs_btf_layout(data, len, structs, 3, fsk_why, sizeof(fsk_why)), 0,
			    "%s", fsk_why);
	KUNIT_EXPECT_EQ(test, lock, 32);
	KUNIT_EXPECT_EQ(test, numbers, 36);
	KUNIT_EXPECT_EQ(test, color, 56);
	KUNIT_EXPECT_EQ(test, v, 0);
	kfree(data);
}

static void fs_btf_layout__a_pointer_without_its_modifiers(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);

	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key.file", "struct file *", sizeof(void *)), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, 16);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "call", "function *", sizeof(void *)), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, 48);
}

static void fs_btf_layout__a_typedef_is_not_its_struct(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);

	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "lock", "lock_t", 4), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, 32);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "lock", "struct raw", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "member lock of struct item is lock_t, not struct raw");
}

static void fs_btf_layout__looks_through_what_has_no_name(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);

	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "first", "lock_t", 4), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, 0);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "b", "int", 4), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, 4);
}

static void fs_btf_layout__follows_a_path(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);

	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key.fd", "int", 4), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, 24);
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "lock.v", "int", 4), 0, "through a typedef");
	KUNIT_EXPECT_EQ(test, fsk_offset, 32);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key.no", "int", 4), -ENOENT);
	KUNIT_EXPECT_STREQ(test, fsk_why, "struct item has no member key.no");
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key.", "int", 4), -ENOENT);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key.fd.no", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "member key.fd of struct item is no struct");
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "key.file.no", "int", 4), -EINVAL,
			    "a pointer is not followed");
}

/* More types than are between two notes. */
static void fs_btf_layout__finds_a_type_that_is_far_away(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 0);
	u32 id = 200;

	fsk_member(f, "far", id, 64);
	while (f->count < id - 1)
		fsk_type(f, "", BTF_KIND_PTR, 0, 1);
	fsk_int(f, "u8", 1, 8);
	while (f->count < 210)
		fsk_type(f, "", BTF_KIND_PTR, 0, 1);
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "far", "u8", 1), 0, "%s", fsk_why);
	KUNIT_EXPECT_EQ(test, fsk_offset, 8);
}

static void fs_btf_layout__tells_what_is_missing(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);
	struct fs_btf_struct none = { "file", NULL, 0 };
	size_t len;
	void *data = fsk_pack(test, f, false, &len);

	KUNIT_EXPECT_EQ(test, fs_btf_layout(data, len, &none, 1, fsk_why, sizeof(fsk_why)),
			-ENOENT);
	KUNIT_EXPECT_STREQ(test, fsk_why, "there is no struct file");
	kfree(data);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "fllink", "int", 4), -ENOENT);
	KUNIT_EXPECT_STREQ(test, fsk_why, "struct item has no member fllink");
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "loc", "lock_t", 4), -ENOENT,
			    "the start of a name");
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "locks", "lock_t", 4), -ENOENT,
			    "more than a name");
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "", "int", 4), -ENOENT, "no name");
}

static void fs_btf_layout__tells_what_is_different(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);

	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key", "struct mutex", 16), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why,
			   "member key of struct item is struct key, not struct mutex");
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "lock", "lock_t", 64), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "member lock of struct item has 4 bytes, not 64");
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key.file", "struct fil *", 8), -EINVAL);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "key.file", "struct file", 8), -EINVAL);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "numbers", "int[4]", 12), -EINVAL);
}

static void fs_btf_layout__a_size_is_that_of_the_struct(struct kunit *test)
{
	u32 lock;
	struct fs_btf_member member = { "lock", "lock_t", 4, &lock };
	struct fs_btf_struct item = { "item", &member, 1, 64 };
	size_t len;
	void *data = fsk_pack(test, fsk_item(test), false, &len);

	KUNIT_EXPECT_EQ(test, fs_btf_layout(data, len, &item, 1, fsk_why, sizeof(fsk_why)), 0);
	KUNIT_EXPECT_EQ(test, lock, 32);
	item.size = 72;
	KUNIT_EXPECT_EQ(test, fs_btf_layout(data, len, &item, 1, fsk_why, sizeof(fsk_why)),
			-EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "struct item has 64 bytes, not 72");
	kfree(data);
}

static void fs_btf_layout__reads_bit_fields_offsets(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 1);

	fsk_member(f, "m", 1, 96);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, 12);
	f->types[f->last + 2] = 3 << 24 | 96;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "member m of struct item is a bit field");
	/* Without the flag these are bits of the offset. */
	f->types[f->last - 2] = BTF_KIND_STRUCT << 24 | 1;
	f->types[f->last - 1] = 8 << 20;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), 0);
	KUNIT_EXPECT_EQ(test, fsk_offset, (3 << 24 | 96) / 8);
	f->types[f->last + 2] = 97;
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "m", "int", 4), -EINVAL, "within a byte");
	f->types[f->last + 2] = 96;
	f->types[3] = 5;
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "m", "int", 4), -EINVAL, "an int of 5 bits");
}

static void fs_btf_layout__a_member_is_within_its_struct(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 0);

	fsk_member(f, "m", 1, 60 * 8);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), 0);
	f->types[f->last + 2] = 61 * 8;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: member m ends behind struct item");
}

static void fs_btf_layout__two_of_a_name_must_be_the_same(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);
	unsigned int i;

	fsk_type(f, "item", BTF_KIND_STRUCT, 1, 80);
	fsk_member(f, "a", 1, 0);
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "a", "int", 4), 0, "the same as far as we see");
	f->types[f->last + 2] = 32;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "a", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "there are two of struct item");
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "b", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "there are two of struct item");
	for (i = 2; i < FS_BTF_FOUND; i++)
		fsk_type(f, "item", BTF_KIND_STRUCT, 0, 80);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "a", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "there are two of struct item");
	fsk_type(f, "item", BTF_KIND_STRUCT, 0, 80);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "a", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "there are too many of struct item");
}

/* The header says more than is there. */
static void fs_btf_layout__data_may_end_anywhere(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);
	size_t len, cut, good = 0;
	void *data = fsk_pack(test, f, false, &len);

	for (cut = 0; cut < len; cut++) {
		void *part = kmalloc(cut ?: 1, GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, part);
		memcpy(part, data, cut);
		good += fsk_layout(part, cut, "key.fd", "int", 4) != -EINVAL;
		kfree(part);
	}
	KUNIT_EXPECT_EQ(test, good, 0);
	kfree(data);
}

/* The header says what is there, but a section lacks its end; the last member needs that. */
static void fs_btf_layout__sections_may_end_anywhere(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);
	size_t len, cut, section, good = 0;
	int last;

	for (last = 0; last < 2; last++) {
		void *data = fsk_pack(test, f, last, &len);
		struct btf_header *h = data;

		section = last ? h->type_len : h->str_len;
		for (cut = 1; cut <= section; cut++) {
			struct btf_header *part = kmalloc(len - cut, GFP_KERNEL);

			KUNIT_ASSERT_NOT_NULL(test, part);
			memcpy(part, data, len - cut);
			*(last ? &part->type_len : &part->str_len) -= cut;
			good += !fsk_layout(part, len - cut, "color", "enum color64", 8);
			kfree(part);
		}
		kfree(data);
	}
	KUNIT_EXPECT_EQ(test, good, 0);
}

/* Whatever a word is, KASAN sees no look behind the data, and it comes to an end. */
static void fs_btf_layout__words_may_be_anything(struct kunit *test)
{
	static const u32 values[] = { 0, 1, 30, 0x7fffffff, 0xfffffff0, 0xffffffff };
	struct fsk_btf *f = fsk_item(test);
	size_t len, i, bad = 0;
	unsigned int k, last;

	for (last = 0; last < 2; last++) {
		u32 *data = fsk_pack(test, f, last, &len);

		for (i = 0; i < len / sizeof(u32); i++) {
			u32 word = data[i];
			int err;

			for (k = 0; k < 32 + ARRAY_SIZE(values); k++) {
				data[i] = k < 32 ? word ^ 1U << k : values[k - 32];
				err = fsk_layout(data, len, "key.fd", "int", 4);
				bad += err && err != -EINVAL && err != -ENOENT;
				bad += err && !*fsk_why;
			}
			data[i] = word;
		}
		kfree(data);
	}
	KUNIT_EXPECT_EQ(test, bad, 0);
}

static void fs_btf_layout__refuses_other_headers(struct kunit *test)
{
	size_t len;
	struct btf_header *h = fsk_pack(test, fsk_item(test), false, &len);

	h->magic = 0x9feb;
	KUNIT_EXPECT_EQ(test, fsk_layout(h, len, "lock", "lock_t", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: its magic number is 0x9feb");
	h->magic = BTF_MAGIC;
	h->version = 2;
	KUNIT_EXPECT_EQ(test, fsk_layout(h, len, "lock", "lock_t", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: version 2 with flags 0x0 is unknown");
	h->version = BTF_VERSION;
	h->hdr_len = FS_BTF_HEADER - 1;
	KUNIT_EXPECT_EQ(test, fsk_layout(h, len, "lock", "lock_t", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: its header has 23 bytes");
	h->hdr_len = sizeof(*h);
	h->type_off++;
	KUNIT_EXPECT_EQ_MSG(test, fsk_layout(h, len, "lock", "lock_t", 4), -EINVAL, "not aligned");
	h->type_off--;
	((char *)h)[len - 1] = 'x';
	KUNIT_EXPECT_EQ(test, fsk_layout(h, len, "lock", "lock_t", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: its strings do not end");
	((char *)h)[len - 1] = '\0';
	KUNIT_EXPECT_EQ_MSG(test, fsk_layout(h, len, "lock", "lock_t", 4), 0, "%s", fsk_why);
	kfree(h);
}

static void fs_btf_layout__refuses_strings_outside(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 0);
	char phrase[64];

	fsk_member(f, "m", 1, 0);
	snprintf(phrase, sizeof(phrase), "BTF: string %u is behind the strings", f->strings_len);
	f->types[f->last] = f->strings_len;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, phrase);
	f->types[f->last]--;
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "m", "int", 4), -ENOENT, "the last NUL");
	f->types[f->last]--;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), 0);
	f->types[0] = f->strings_len;
	KUNIT_EXPECT_EQ_MSG(test, fsk_look(test, f, "m", "int", 4), -EINVAL, "of the type");
	KUNIT_EXPECT_STREQ(test, fsk_why, phrase);
}

static void fs_btf_layout__refuses_numbers_without_a_type(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 0);

	fsk_member(f, "m", 3, 0);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: there is no type 3");
	f->types[f->last + 1] = 0;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "void", 0), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: type 0 has no size");
}

/* A modifier of itself, a pointer to itself, an array of itself, a struct in itself. */
static void fs_btf_layout__leaves_loops(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 0);
	u32 member = f->words, type;

	fsk_member(f, "m", 3, 0);
	type = f->words;
	fsk_type(f, "t", BTF_KIND_CONST, 0, 3);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: type 3 leads through too many others");
	f->types[type + 1] = BTF_KIND_TYPEDEF << 24;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "t", 4), -EINVAL);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m.m", "t", 4), -EINVAL);
	f->types[type + 1] = BTF_KIND_PTR << 24;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int *", 8), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: type 3 leads through too many others");
	f->types[type + 1] = BTF_KIND_ARRAY << 24;
	fsk_word(f, 3);
	fsk_word(f, 1);
	fsk_word(f, U32_MAX);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int[1]", 4), -EINVAL);
	f->types[member] = 0;
	f->types[member + 1] = 2;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: structures are nested too deeply");
}

/* Eight levels of 32 members that have 32 members each. */
static void fs_btf_layout__leaves_what_is_endless(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 0);
	u32 i, k;

	fsk_member(f, "", 3, 0);
	for (i = 1; i < FS_BTF_NEST; i++) {
		fsk_type(f, "", BTF_KIND_STRUCT, 32, 4);
		for (k = 0; k < 32; k++)
			fsk_member(f, "", i == FS_BTF_NEST - 1 ? 1 : f->count + 1, 0);
	}
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", "int", 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: structures have too many members");
}

static void fs_btf_layout__refuses_unknown_kinds(struct kunit *test)
{
	struct fsk_btf *f = fsk_item(test);
	u32 word;

	fsk_type(f, "new", BTF_KIND_ENUM64 + 1, 0, 4);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "lock", "lock_t", 4), -EINVAL);
	word = f->last + 1;
	f->types[word] = 0;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "lock", "lock_t", 4), -EINVAL);
	/* Bits that 6.1 does not know, but newer kernels use. */
	f->types[word] = 0x63U << 24;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "lock", "lock_t", 4), -EINVAL);
	KUNIT_EXPECT_NOT_NULL(test, strstr(fsk_why, "is of unknown kind 99"));
	f->types[word] = BTF_KIND_STRUCT << 24 | 0x10000;
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "lock", "lock_t", 4), -EINVAL);
	KUNIT_EXPECT_NOT_NULL(test, strstr(fsk_why, "ends behind the data"));
}

static void fs_btf_layout__cuts_long_phrases_and_refuses_long_types(struct kunit *test)
{
	struct fsk_btf *f = fsk_small(test, 0);
	char name[FS_BTF_TEXT + 1];
	struct fs_btf_struct none = { "no_such_struct", NULL, 0 };
	char why[12];
	size_t len;
	void *data;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	fsk_member(f, "m", 3, 0);
	fsk_int(f, name, 4, 32);
	KUNIT_EXPECT_EQ(test, fsk_look(test, f, "m", name, 4), -EINVAL);
	KUNIT_EXPECT_STREQ(test, fsk_why, "BTF: the name of a type is too long");
	data = fsk_pack(test, f, false, &len);
	KUNIT_EXPECT_EQ(test, fs_btf_layout(data, len, &none, 1, why, sizeof(why)), -ENOENT);
	KUNIT_EXPECT_STREQ(test, why, "there is no");
	kfree(data);
}

static void fs_btf_vmlinux__agrees_with_the_compiler(struct kunit *test)
{
	u32 next, prev, owner, lock;
	struct fs_btf_member list[] = {
		{ "next", "struct list_head *", sizeof(void *), &next },
		{ "prev", "struct list_head *", sizeof(void *), &prev },
	};
	struct fs_btf_member mutex[] = {
		{ "owner", "atomic_long_t", sizeof(atomic_long_t), &owner },
		{ "wait_lock", "raw_spinlock_t", sizeof(raw_spinlock_t), &lock },
	};
	struct fs_btf_struct structs[] = {
		{ "list_head", list, ARRAY_SIZE(list) },
		{ "mutex", mutex, ARRAY_SIZE(mutex) },
	};
	u64 start = ktime_get_ns();

	KUNIT_ASSERT_EQ_MSG(test, fs_btf_vmlinux(structs, 2, fsk_why, sizeof(fsk_why)), 0, "%s",
			    fsk_why);
	kunit_info(test, "%llu us\n", (ktime_get_ns() - start) / 1000);
	KUNIT_EXPECT_EQ(test, next, offsetof(struct list_head, next));
	KUNIT_EXPECT_EQ(test, prev, offsetof(struct list_head, prev));
	KUNIT_EXPECT_EQ(test, owner, offsetof(struct mutex, owner));
	KUNIT_EXPECT_EQ(test, lock, offsetof(struct mutex, wait_lock));
}

static void fs_btf_vmlinux__tells_what_is_missing(struct kunit *test)
{
	struct fs_btf_struct none = { "fs_no_such_struct", NULL, 0 };

	KUNIT_EXPECT_EQ(test, fs_btf_vmlinux(&none, 1, fsk_why, sizeof(fsk_why)), -ENOENT);
	KUNIT_EXPECT_STREQ(test, fsk_why, "there is no struct fs_no_such_struct");
}

/* clang-format off */
static struct kunit_case fsk_btf_cases[] = {
	KUNIT_CASE(fs_btf_layout__finds_all_at_once),
	KUNIT_CASE(fs_btf_layout__a_pointer_without_its_modifiers),
	KUNIT_CASE(fs_btf_layout__a_typedef_is_not_its_struct),
	KUNIT_CASE(fs_btf_layout__looks_through_what_has_no_name),
	KUNIT_CASE(fs_btf_layout__follows_a_path),
	KUNIT_CASE(fs_btf_layout__finds_a_type_that_is_far_away),
	KUNIT_CASE(fs_btf_layout__tells_what_is_missing),
	KUNIT_CASE(fs_btf_layout__tells_what_is_different),
	KUNIT_CASE(fs_btf_layout__a_size_is_that_of_the_struct),
	KUNIT_CASE(fs_btf_layout__reads_bit_fields_offsets),
	KUNIT_CASE(fs_btf_layout__a_member_is_within_its_struct),
	KUNIT_CASE(fs_btf_layout__two_of_a_name_must_be_the_same),
	KUNIT_CASE(fs_btf_layout__data_may_end_anywhere),
	KUNIT_CASE(fs_btf_layout__sections_may_end_anywhere),
	KUNIT_CASE(fs_btf_layout__words_may_be_anything),
	KUNIT_CASE(fs_btf_layout__refuses_other_headers),
	KUNIT_CASE(fs_btf_layout__refuses_strings_outside),
	KUNIT_CASE(fs_btf_layout__refuses_numbers_without_a_type),
	KUNIT_CASE(fs_btf_layout__leaves_loops),
	KUNIT_CASE(fs_btf_layout__leaves_what_is_endless),
	KUNIT_CASE(fs_btf_layout__refuses_unknown_kinds),
	KUNIT_CASE(fs_btf_layout__cuts_long_phrases_and_refuses_long_types),
	KUNIT_CASE(fs_btf_vmlinux__agrees_with_the_compiler),
	KUNIT_CASE(fs_btf_vmlinux__tells_what_is_missing),
	{}
};

/* clang-format on */

struct kunit_suite fsk_btf_suite = {
	.name = "btf",
	.init = fsk_init,
	.exit = fsk_exit,
	.test_cases = fsk_btf_cases,
};

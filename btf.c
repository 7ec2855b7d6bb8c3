// SPDX-License-Identifier: GPL-2.0
/*
 * Where the members of the kernel's private structures are
 *
 * include/btf.h tells why. BTF is a header, a section of types and one of strings.
 * A type's number is its place in the order of types, counted from 1 (0 is void), so
 * to get from a number to a type one has to have walked there.
 *
 * One walk over all types checks that each is within the data, finds the structures
 * that are looked for, and notes where each 64th type is. With some 130000 types that
 * is 7 million instructions, a millisecond. To follow a number is then a walk over
 * less than 64 types: 700 instructions, for each of the 50 or so that are followed.
 * To note where every type is would cost more, if only for the 130 pages or more that
 * it fills; without notes, each number would be another walk over all types.
 *
 * What is reached by number was walked over before: it needs no check again.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/slab.h>
#include <linux/stdarg.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <uapi/linux/btf.h>

#include "include/btf.h"
#include "include/hook.h"

/* What all versions have of the header; newer ones have more behind it. */
#define FS_BTF_HEADER offsetofend(struct btf_header, str_len)

/* Not the kernel's macros: those of 6.1 cut off bits that were unused then. */
#define FS_BTF_KIND(t) ((t)->info >> 24 & 0x7f)
#define FS_BTF_COUNT(t) ((t)->info & 0xffffff)
#define FS_BTF_FLAG(t) ((t)->info >> 31)

#define FS_BTF_STRIDE 64
#define FS_BTF_FOUND 16
#define FS_BTF_CHAIN 32 /* modifiers, typedefs, pointers and arrays in a row */
#define FS_BTF_NEST 8 /* structures without a name in each other */
#define FS_BTF_VISITS 65536 /* members that are looked at: chains of nests could be endless */
#define FS_BTF_TEXT 128

/**
 * struct fs_btf - BTF that is being read
 * @types: the section of types
 * @types_len: its length
 * @strings: the section of strings, ends with a NUL
 * @strings_len: its length
 * @count: types walked over so far
 * @visits: members looked at so far
 * @index: where in @types each FS_BTF_STRIDE-th type is
 * @found: structures that were found, and what was looked for
 * @nfound: how many
 * @why: what is wrong goes here
 * @why_len: its size
 */
struct fs_btf {
	const void *types;
	u32 types_len;
	const char *strings;
	u32 strings_len;
	u32 count;
	u32 visits;
	u32 *index;
	struct {
		const struct btf_type *type;
		const struct fs_btf_struct *wanted;
	} found[FS_BTF_FOUND];
	unsigned int nfound;
	char *why;
	size_t why_len;
};

/* What follows a type of that kind, in all and for each thing that it counts; its keyword. */
static const struct {
	u8 size;
	u8 each;
	const char *word;
} fs_btf_kinds[] = {
	[BTF_KIND_INT] = { sizeof(struct btf_type) + sizeof(u32) },
	[BTF_KIND_PTR] = { sizeof(struct btf_type) },
	[BTF_KIND_ARRAY] = { sizeof(struct btf_type) + sizeof(struct btf_array) },
	[BTF_KIND_STRUCT] = { sizeof(struct btf_type), sizeof(struct btf_member), "struct " },
	[BTF_KIND_UNION] = { sizeof(struct btf_type), sizeof(struct btf_member), "union " },
	[BTF_KIND_ENUM] = { sizeof(struct btf_type), sizeof(struct btf_enum), "enum " },
	[BTF_KIND_FWD] = { sizeof(struct btf_type) },
	[BTF_KIND_TYPEDEF] = { sizeof(struct btf_type) },
	[BTF_KIND_VOLATILE] = { sizeof(struct btf_type) },
	[BTF_KIND_CONST] = { sizeof(struct btf_type) },
	[BTF_KIND_RESTRICT] = { sizeof(struct btf_type) },
	[BTF_KIND_FUNC] = { sizeof(struct btf_type) },
	[BTF_KIND_FUNC_PROTO] = { sizeof(struct btf_type), sizeof(struct btf_param) },
	[BTF_KIND_VAR] = { sizeof(struct btf_type) + sizeof(struct btf_var) },
	[BTF_KIND_DATASEC] = { sizeof(struct btf_type), sizeof(struct btf_var_secinfo) },
	[BTF_KIND_FLOAT] = { sizeof(struct btf_type) },
	[BTF_KIND_DECL_TAG] = { sizeof(struct btf_type) + sizeof(struct btf_decl_tag) },
	[BTF_KIND_TYPE_TAG] = { sizeof(struct btf_type) },
	[BTF_KIND_ENUM64] = { sizeof(struct btf_type), sizeof(struct btf_enum64), "enum " },
};

/* Type 0; its kind is none of those above. */
static const struct btf_type fs_btf_void;

static __printf(3, 4) int fs_btf_fail(struct fs_btf *b, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(b->why, b->why_len, fmt, args);
	va_end(args);
	return err;
}

/* Where the sections are. @b is zeroed but for @b->why. */
static int fs_btf_open(struct fs_btf *b, const void *data, size_t len)
{
	const struct btf_header *h = data;
	u32 room;

	if (len < FS_BTF_HEADER || len > S32_MAX)
		return fs_btf_fail(b, -EINVAL, "BTF: it has %zu bytes", len);
	if (h->magic != BTF_MAGIC)
		return fs_btf_fail(b, -EINVAL, "BTF: its magic number is 0x%x", h->magic);
	if (h->version != BTF_VERSION || h->flags)
		return fs_btf_fail(b, -EINVAL, "BTF: version %u with flags 0x%x is unknown",
				   h->version, h->flags);
	if (h->hdr_len < FS_BTF_HEADER || h->hdr_len > len)
		return fs_btf_fail(b, -EINVAL, "BTF: its header has %u bytes", h->hdr_len);
	room = len - h->hdr_len;
	if (h->type_off > room || h->type_len > room - h->type_off ||
	    (h->hdr_len + h->type_off) % sizeof(u32))
		return fs_btf_fail(b, -EINVAL, "BTF: its types are not where it says");
	if (h->str_off > room || h->str_len > room - h->str_off)
		return fs_btf_fail(b, -EINVAL, "BTF: its strings are not where it says");
	b->types = data + h->hdr_len + h->type_off;
	b->types_len = h->type_len;
	b->strings = data + h->hdr_len + h->str_off;
	b->strings_len = h->str_len;
	if (!b->strings_len || b->strings[b->strings_len - 1])
		return fs_btf_fail(b, -EINVAL, "BTF: its strings do not end");
	return 0;
}

/* The last byte of the section is a NUL, so each string ends within it. */
static const char *fs_btf_string(struct fs_btf *b, u32 offset)
{
	if (offset < b->strings_len)
		return b->strings + offset;
	fs_btf_fail(b, -EINVAL, "BTF: string %u is behind the strings", offset);
	return NULL;
}

/* How long type @id is, which is at @pos. */
static int fs_btf_length(struct fs_btf *b, u32 id, u32 pos)
{
	const struct btf_type *t = b->types + pos;
	u32 left = b->types_len - pos, kind, len;

	if (left < sizeof(*t))
		return fs_btf_fail(b, -EINVAL, "BTF: type %u ends behind the data", id);
	kind = FS_BTF_KIND(t);
	if (kind >= ARRAY_SIZE(fs_btf_kinds) || !fs_btf_kinds[kind].size)
		return fs_btf_fail(b, -EINVAL, "BTF: type %u is of unknown kind %u", id, kind);
	len = fs_btf_kinds[kind].size + fs_btf_kinds[kind].each * FS_BTF_COUNT(t);
	if (len > left)
		return fs_btf_fail(b, -EINVAL, "BTF: type %u ends behind the data", id);
	return len;
}

/* Is it one of those that are looked for? */
static int fs_btf_match(struct fs_btf *b, const struct btf_type *t,
			const struct fs_btf_struct *structs, unsigned int n)
{
	const char *name = fs_btf_string(b, t->name_off);
	unsigned int i;

	if (!name)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		if (strcmp(name, structs[i].name))
			continue;
		if (b->nfound == FS_BTF_FOUND)
			return fs_btf_fail(b, -EINVAL, "there are too many of struct %s", name);
		b->found[b->nfound].type = t;
		b->found[b->nfound++].wanted = &structs[i];
	}
	return 0;
}

/* The walk over all types. */
static int fs_btf_scan(struct fs_btf *b, const struct fs_btf_struct *structs, unsigned int n)
{
	const struct btf_type *t;
	int len, err;
	u32 pos;

	for (pos = 0; pos < b->types_len; pos += len) {
		if (b->count % FS_BTF_STRIDE == 0)
			b->index[b->count / FS_BTF_STRIDE] = pos;
		len = fs_btf_length(b, ++b->count, pos);
		if (len < 0)
			return len;
		t = b->types + pos;
		if (FS_BTF_KIND(t) != BTF_KIND_STRUCT)
			continue;
		err = fs_btf_match(b, t, structs, n);
		if (err)
			return err;
	}
	return 0;
}

/* A type by its number. */
static const struct btf_type *fs_btf_type(struct fs_btf *b, u32 id)
{
	u32 i, pos;

	if (!id)
		return &fs_btf_void;
	if (id > b->count) {
		fs_btf_fail(b, -EINVAL, "BTF: there is no type %u", id);
		return NULL;
	}
	pos = b->index[(id - 1) / FS_BTF_STRIDE];
	for (i = (id - 1) % FS_BTF_STRIDE; i; i--)
		pos += fs_btf_length(b, id - i, pos);
	return b->types + pos;
}

/* The same without const and the like and, if @typedefs, without other names for it. */
static const struct btf_type *fs_btf_plain(struct fs_btf *b, u32 id, bool typedefs)
{
	const struct btf_type *t;
	u32 next = id;
	int i;

	for (i = 0; i < FS_BTF_CHAIN; i++) {
		t = fs_btf_type(b, next);
		if (!t)
			return NULL;
		switch (FS_BTF_KIND(t)) {
		case BTF_KIND_TYPEDEF:
			if (!typedefs)
				return t;
			break;
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_RESTRICT:
		case BTF_KIND_TYPE_TAG:
			break;
		default:
			return t;
		}
		next = t->type;
	}
	fs_btf_fail(b, -EINVAL, "BTF: type %u leads through too many others", id);
	return NULL;
}

/* sizeof; U32_MAX for what is larger. */
static int fs_btf_size(struct fs_btf *b, u32 id, u32 *size)
{
	const struct btf_array *array;
	const struct btf_type *t;
	u32 next = id;
	u64 n = 1;
	int i;

	for (i = 0; i < FS_BTF_CHAIN; i++) {
		t = fs_btf_plain(b, next, true);
		if (!t)
			return -EINVAL;
		switch (FS_BTF_KIND(t)) {
		case BTF_KIND_ARRAY:
			array = (const struct btf_array *)(t + 1);
			n = min_t(u64, n * array->nelems, U32_MAX);
			next = array->type;
			continue;
		case BTF_KIND_INT:
		case BTF_KIND_FLOAT:
		case BTF_KIND_ENUM:
		case BTF_KIND_ENUM64:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
			*size = min_t(u64, n * t->size, U32_MAX);
			return 0;
		case BTF_KIND_PTR:
			*size = min_t(u64, n * sizeof(void *), U32_MAX);
			return 0;
		}
		return fs_btf_fail(b, -EINVAL, "BTF: type %u has no size", id);
	}
	return fs_btf_fail(b, -EINVAL, "BTF: type %u leads through too many others", id);
}

/* A type in C: what follows the name of a type is known before the name, so from the end. */
struct fs_btf_text {
	char buf[FS_BTF_TEXT];
	unsigned int at;
};

static int fs_btf_prepend(struct fs_btf *b, struct fs_btf_text *text, const char *s)
{
	size_t len = strlen(s);

	if (len > text->at)
		return fs_btf_fail(b, -EINVAL, "BTF: the name of a type is too long");
	text->at -= len;
	memcpy(text->buf + text->at, s, len);
	return 0;
}

/* The type that pointers point to and arrays are of. */
static int fs_btf_base(struct fs_btf *b, const struct btf_type *t, struct fs_btf_text *text)
{
	const char *name = fs_btf_string(b, t->name_off), *word = "";
	u32 kind = FS_BTF_KIND(t);
	int err = 0;

	if (!name)
		return -EINVAL;
	if (t == &fs_btf_void)
		name = "void";
	else if (kind == BTF_KIND_FUNC_PROTO)
		name = "function";
	else if (!*name)
		name = "{...}";
	if (kind == BTF_KIND_FWD)
		word = FS_BTF_FLAG(t) ? "union " : "struct ";
	else if (fs_btf_kinds[kind].word)
		word = fs_btf_kinds[kind].word;
	if (text->buf[text->at] == '*')
		err = fs_btf_prepend(b, text, " ");
	if (!err)
		err = fs_btf_prepend(b, text, name);
	if (!err)
		err = fs_btf_prepend(b, text, word);
	return err;
}

static int fs_btf_text(struct fs_btf *b, u32 id, struct fs_btf_text *text)
{
	const struct btf_array *array;
	const struct btf_type *t;
	char dimension[16];
	u32 next = id;
	int i, err;

	text->at = sizeof(text->buf) - 1;
	text->buf[text->at] = '\0';
	for (i = 0; i < FS_BTF_CHAIN; i++) {
		t = fs_btf_plain(b, next, false);
		if (!t)
			return -EINVAL;
		if (FS_BTF_KIND(t) == BTF_KIND_PTR) {
			next = t->type;
			err = fs_btf_prepend(b, text, "*");
		} else if (FS_BTF_KIND(t) == BTF_KIND_ARRAY) {
			/* Those that write BTF make one array of an array of arrays. */
			array = (const struct btf_array *)(t + 1);
			next = array->type;
			snprintf(dimension, sizeof(dimension), "[%u]", array->nelems);
			err = fs_btf_prepend(b, text, dimension);
		} else {
			return fs_btf_base(b, t, text);
		}
		if (err)
			return err;
	}
	return fs_btf_fail(b, -EINVAL, "BTF: type %u leads through too many others", id);
}

/**
 * struct fs_btf_place - where a member is
 * @id: the number of its type
 * @bit: its distance from the start of the outermost structure, in bits
 * @width: how many bits of a bit field, 0: it is none, or of those written in the
 *	old way, see fs_btf_is_bits()
 */
struct fs_btf_place {
	u32 id;
	u64 bit;
	u32 width;
};

static bool fs_btf_has_members(const struct btf_type *t)
{
	return FS_BTF_KIND(t) == BTF_KIND_STRUCT || FS_BTF_KIND(t) == BTF_KIND_UNION;
}

/* Member number @i, from the start of the structure that @t is in at bit @base. */
static struct fs_btf_place fs_btf_place(const struct btf_type *t, u32 i, u64 base)
{
	const struct btf_member *m = (const struct btf_member *)(t + 1) + i;
	struct fs_btf_place p = { .id = m->type };

	if (FS_BTF_FLAG(t)) {
		p.bit = base + BTF_MEMBER_BIT_OFFSET(m->offset);
		p.width = BTF_MEMBER_BITFIELD_SIZE(m->offset);
	} else {
		p.bit = base + m->offset;
	}
	return p;
}

/*
 * The member of @t whose name is the first @len characters of @name; @p->bit is
 * where @t starts. 1: it is in @p, 0: there is none.
 */
static int fs_btf_find(struct fs_btf *b, const struct btf_type *t, const char *name, size_t len,
		       unsigned int depth, struct fs_btf_place *p)
{
	const struct btf_member *m = (const struct btf_member *)(t + 1);
	u32 i, count = FS_BTF_COUNT(t);
	struct fs_btf_place inner;
	const char *s;
	int err;

	if (depth == FS_BTF_NEST)
		return fs_btf_fail(b, -EINVAL, "BTF: structures are nested too deeply");
	for (i = 0; i < count; i++) {
		if (++b->visits > FS_BTF_VISITS)
			return fs_btf_fail(b, -EINVAL, "BTF: structures have too many members");
		s = fs_btf_string(b, m[i].name_off);
		if (!s)
			return -EINVAL;
		inner = fs_btf_place(t, i, p->bit);
		if (*s) {
			err = !strncmp(s, name, len) && !s[len];
		} else {
			const struct btf_type *nameless = fs_btf_plain(b, inner.id, true);

			if (!nameless)
				return -EINVAL;
			err = fs_btf_has_members(nameless) ?
				      fs_btf_find(b, nameless, name, len, depth + 1, &inner) :
				      0;
		}
		if (err > 0)
			*p = inner;
		if (err)
			return err;
	}
	return 0;
}

/* Follow a path from @t, the structure @s. */
static int fs_btf_walk(struct fs_btf *b, const struct fs_btf_struct *s, const struct btf_type *t,
		       const char *path, struct fs_btf_place *p)
{
	const char *name = path;
	size_t len;
	int err;

	for (;;) {
		len = strcspn(name, ".");
		err = fs_btf_find(b, t, name, len, 0, p);
		if (err < 0)
			return err;
		if (!err)
			return fs_btf_fail(b, -ENOENT, "struct %s has no member %s", s->name, path);
		if (!name[len])
			return 0;
		name += len + 1;
		t = fs_btf_plain(b, p->id, true);
		if (!t)
			return -EINVAL;
		if (!fs_btf_has_members(t))
			return fs_btf_fail(b, -EINVAL, "member %.*s of struct %s is no struct",
					   (int)(name - 1 - path), path, s->name);
	}
}

/* A bit field; in the old way of writing them its type is an integer of few bits. */
static bool fs_btf_is_bits(const struct btf_type *t, const struct fs_btf_place *p)
{
	u32 bits;

	if (p->width || p->bit % 8)
		return true;
	if (FS_BTF_KIND(t) != BTF_KIND_INT)
		return false;
	bits = *(const u32 *)(t + 1);
	return BTF_INT_OFFSET(bits) || BTF_INT_BITS(bits) != (u64)t->size * 8;
}

/* Is what was found what we were written for? */
static int fs_btf_check(struct fs_btf *b, const struct fs_btf_struct *s, const struct btf_type *t,
			const struct fs_btf_member *m, const struct fs_btf_place *p)
{
	const struct btf_type *type = fs_btf_plain(b, p->id, true);
	struct fs_btf_text text;
	u32 size;
	int err;

	if (!type)
		return -EINVAL;
	if (fs_btf_is_bits(type, p))
		return fs_btf_fail(b, -EINVAL, "member %s of struct %s is a bit field", m->name,
				   s->name);
	err = fs_btf_text(b, p->id, &text);
	if (err)
		return err;
	if (strcmp(text.buf + text.at, m->type))
		return fs_btf_fail(b, -EINVAL, "member %s of struct %s is %s, not %s", m->name,
				   s->name, text.buf + text.at, m->type);
	err = fs_btf_size(b, p->id, &size);
	if (err)
		return err;
	if (size != m->size)
		return fs_btf_fail(b, -EINVAL, "member %s of struct %s has %u bytes, not %u",
				   m->name, s->name, size, m->size);
	if (p->bit / 8 + size > t->size)
		return fs_btf_fail(b, -EINVAL, "BTF: member %s ends behind struct %s", m->name,
				   s->name);
	return 0;
}

/* All members of @s, which is @t; @again: another @t has been looked at before. */
static int fs_btf_members(struct fs_btf *b, const struct fs_btf_struct *s, const struct btf_type *t,
			  bool again)
{
	unsigned int i;
	int err;

	if (s->size && t->size != s->size)
		return fs_btf_fail(b, -EINVAL, "struct %s has %u bytes, not %u", s->name, t->size,
				   s->size);
	for (i = 0; i < s->count; i++) {
		const struct fs_btf_member *m = &s->members[i];
		struct fs_btf_place p = {};

		err = fs_btf_walk(b, s, t, m->name, &p);
		if (!err)
			err = fs_btf_check(b, s, t, m, &p);
		if (!err && again && *m->offset != p.bit / 8)
			err = -EINVAL;
		if (err && again)
			return fs_btf_fail(b, -EINVAL, "there are two of struct %s", s->name);
		if (err)
			return err;
		*m->offset = p.bit / 8;
	}
	return 0;
}

/* A structure may be there more than once, but then it must be the same to us. */
static int fs_btf_fill(struct fs_btf *b, const struct fs_btf_struct *s)
{
	bool again = false;
	unsigned int i;
	int err;

	for (i = 0; i < b->nfound; i++) {
		if (b->found[i].wanted != s)
			continue;
		err = fs_btf_members(b, s, b->found[i].type, again);
		if (err)
			return err;
		again = true;
	}
	return again ? 0 : fs_btf_fail(b, -ENOENT, "there is no struct %s", s->name);
}

/**
 * fs_btf_layout() - look up members of structures in BTF
 * @data: the BTF, aligned as a u32 is
 * @len: its length
 * @structs: what to look for; the offsets are filled in
 * @n: how many structures
 * @why: on failure a phrase, without a full stop, that says what is wrong
 * @why_len: size of @why, FS_BTF_WHY suffices
 *
 * Process context, may sleep.
 *
 * Return: 0; -ENOENT: a structure or a member is not there; -EINVAL: a type or a size
 * is another, there are two different structures of the name, or it is no valid BTF;
 * -ENOMEM.
 */
int fs_btf_layout(const void *data, size_t len, const struct fs_btf_struct *structs, unsigned int n,
		  char *why, size_t why_len)
{
	struct fs_btf b = { .why = why, .why_len = why_len };
	unsigned int i;
	int err;

	err = fs_btf_open(&b, data, len);
	if (err)
		return err;
	b.index = kvmalloc_array(b.types_len / sizeof(struct btf_type) / FS_BTF_STRIDE + 1,
				 sizeof(*b.index), GFP_KERNEL | __GFP_NOWARN);
	if (!b.index)
		return fs_btf_fail(&b, -ENOMEM, "not enough memory");
	err = fs_btf_scan(&b, structs, n);
	for (i = 0; i < n && !err; i++)
		err = fs_btf_fill(&b, &structs[i]);
	kvfree(b.index);
	return err;
}

/* Where the kernel's BTF ends: there is a symbol for it, which would take a search. */
static size_t fs_btf_extent(const struct btf_header *h)
{
	return h->hdr_len + max((size_t)h->type_off + h->type_len, (size_t)h->str_off + h->str_len);
}

/**
 * fs_btf_vmlinux() - look up members of structures of the running kernel
 * @structs: what to look for; the offsets are filled in
 * @n: how many structures
 * @why: on failure a phrase, without a full stop, that says what is wrong
 * @why_len: size of @why, FS_BTF_WHY suffices
 *
 * Process context, sleeps.
 *
 * Return: as fs_btf_layout(); -ENOENT also if the kernel has no BTF, or no symbols by which
 * to find it.
 */
int fs_btf_vmlinux(const struct fs_btf_struct *structs, unsigned int n, char *why, size_t why_len)
{
	const struct btf_header *h = fs_data_symbol("__start_BTF");

	if (!h) {
		snprintf(why, why_len, "this kernel has no BTF");
		return -ENOENT;
	}
	return fs_btf_layout(h, fs_btf_extent(h), structs, n, why, why_len);
}

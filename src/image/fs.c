/* SPDX-License-Identifier: MIT */
/*
 * A file system is a row of a table. Numbers of on-disk formats are from the kernel's headers
 * where it publishes them.
 */
#include "image/fs.h"

#include "base/checked.h"
#include "base/le.h"
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>

/*
 * An identifier is given to ext4 and xfs and makes them come out the same each time. Not to btrfs,
 * which has random numbers besides, and refuses an identifier that a disk of the host has just now.
 * Nothing is discarded: the file is new, and all of it a hole. What ext4 would leave for the guest
 * to initialise in the background is done at once, lest it should disturb measurements.
 */
static const struct vblk_image_fs table[] = {
	{ "btrfs",
	  "mkfs.btrfs",
	  "btrfs-progs",
	  "--version",
	  UINT64_C(109) << 20,
	  { "-q", "-K", NULL } },
	{ "ext4",
	  "mkfs.ext4",
	  "e2fsprogs",
	  "-V",
	  UINT64_C(2) << 20,
	  { "-q", "-F", "-U", "@", "-E",
	    "nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed=@", NULL } },
	{ "xfs",
	  "mkfs.xfs",
	  "xfsprogs",
	  "-V",
	  UINT64_C(300) << 20,
	  { "-q", "-K", "-m", "uuid=@", NULL } },
	{ "raw", NULL, NULL, NULL, VBLK_SECTOR_SIZE, { NULL } },
};

const struct vblk_image_fs *vblk_image_fs_find(const char *name)
{
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

const char *vblk_image_fs_name(size_t index)
{
	return index < VBLK_ARRAY_SIZE(table) ? table[index].name : NULL;
}

int vblk_image_fs_check_size(const struct vblk_image_fs *fs, uint64_t bytes,
			     struct vblk_image_failure *failure)
{
	char least[VBLK_IMAGE_SIZE_TEXT];

	if (bytes % VBLK_SECTOR_SIZE)
		return vblk_image_refuse(failure,
					 "%" PRIu64 " bytes are no whole number of sectors: a "
					 "multiple of 512 is wanted",
					 bytes);
	if (bytes > INT64_MAX)
		return vblk_image_refuse(failure,
					 "%" PRIu64 " bytes are too many: at most 2^63-512 are "
					 "possible",
					 bytes);
	if (bytes >= fs->min_bytes)
		return 0;
	vblk_image_size_text(fs->min_bytes, least);
	return vblk_image_refuse(failure,
				 "%" PRIu64 " bytes are too few for %s: at least %s is needed",
				 bytes, fs->name, least);
}

void vblk_image_size_text(uint64_t bytes, char text[VBLK_IMAGE_SIZE_TEXT])
{
	static const char suffixes[] = { 'T', 'G', 'M', 'k' };

	for (unsigned int i = 0; i < sizeof(suffixes); i++) {
		const unsigned int shift = 10 * (4 - i);

		if (bytes && bytes % (UINT64_C(1) << shift) == 0) {
			snprintf(text, VBLK_IMAGE_SIZE_TEXT, "%" PRIu64 "%c", bytes >> shift,
				 suffixes[i]);
			return;
		}
	}
	snprintf(text, VBLK_IMAGE_SIZE_TEXT, "%" PRIu64, bytes);
}

void vblk_image_fs_command(const struct vblk_image_fs *fs, const char *path, const char *file,
			   const char *uuid, struct vblk_image_words *words)
{
	char *text = words->text, *const end = words->text + sizeof(words->text);
	size_t count = 0;

	words->argv[count++] = (char *)path;
	for (size_t i = 0; fs->options[i]; i++) {
		const char *option = fs->options[i], *mark = strchr(option, '@');

		if (!mark) {
			words->argv[count++] = (char *)option;
			continue;
		}
		words->argv[count++] = text;
		text += 1 + snprintf(text, (size_t)(end - text), "%.*s%s", (int)(mark - option),
				     option, uuid);
	}
	words->argv[count++] = (char *)file;
	words->argv[count] = NULL;
}

/* ---- what is in an image ---- */

#define EXT_SUPER	   1024u /* where the superblock is */
#define EXT_MAGIC	   56u	 /* of s_magic, and so on, in it */
#define EXT_LOG_BLOCK_SIZE 24u
#define EXT_COMPAT	   92u
#define EXT_INCOMPAT	   96u
#define EXT_RO_COMPAT	   100u
#define EXT_HAS_JOURNAL	   0x4u
/* What an ext3 may have of the other two; more makes it an ext4. */
#define EXT3_INCOMPAT  (0x2u | 0x4u | 0x10u)
#define EXT3_RO_COMPAT (0x1u | 0x2u | 0x4u)

#define BTRFS_MAGIC_AT 0x10040u

static const char *probe_ext(const uint8_t *super)
{
	if (vblk_le16_get(super + EXT_MAGIC) != EXT4_SUPER_MAGIC ||
	    vblk_le32_get(super + EXT_LOG_BLOCK_SIZE) > 6)
		return NULL;
	if (vblk_le32_get(super + EXT_INCOMPAT) & ~EXT3_INCOMPAT ||
	    vblk_le32_get(super + EXT_RO_COMPAT) & ~EXT3_RO_COMPAT)
		return "ext4";
	return vblk_le32_get(super + EXT_COMPAT) & EXT_HAS_JOURNAL ? "ext3" : "ext2";
}

static bool has(const uint8_t *head, size_t length, size_t at, const char *magic)
{
	const size_t size = strlen(magic);

	return length >= at + size && memcmp(head + at, magic, size) == 0;
}

const char *vblk_image_probe(const uint8_t *head, size_t length)
{
	if (has(head, length, 0, "XFSB"))
		return "xfs";
	if (has(head, length, BTRFS_MAGIC_AT, "_BHRfS_M"))
		return "btrfs";
	return length >= EXT_SUPER + 1024 ? probe_ext(head + EXT_SUPER) : NULL;
}

/* SPDX-License-Identifier: MIT */
/*
 * The object around a table of operations: reference count, description, end of life. Files,
 * memory and the fault injector are made through the same call as an embedder's own backing.
 */
#include "backing/backing.h"

#include <stdlib.h>

int vblk_backing_create(const struct vblk_backing_ops *ops, void *context,
			const struct vblk_backing_info *info, struct vblk_backing **backing)
{
	struct vblk_backing *made;
	int err = -EINVAL;

	if (!ops->preadv || (!ops->pwritev && !(info->flags & VBLK_BACKING_READ_ONLY)))
		goto close_context;

	err = -ENOMEM;
	made = calloc(1, sizeof(*made));
	if (!made)
		goto close_context;
	atomic_init(&made->refs, 1);
	made->ops = ops;
	made->context = context;
	made->info = *info;
	vblk_spares_init(&made->spares);
	*backing = made;
	return 0;

close_context:
	if (ops->close)
		ops->close(context);
	return err;
}

struct vblk_backing *vblk_backing_ref(struct vblk_backing *backing)
{
	atomic_fetch_add_explicit(&backing->refs, 1, memory_order_relaxed);
	return backing;
}

void vblk_backing_unref(struct vblk_backing *backing)
{
	/* Whoever closes must see what every other holder did before giving its reference back. */
	if (!backing || atomic_fetch_sub_explicit(&backing->refs, 1, memory_order_acq_rel) != 1)
		return;
	vblk_spares_destroy(&backing->spares);
	if (backing->ops->close)
		backing->ops->close(backing->context);
	free(backing);
}

void vblk_backing_get_info(const struct vblk_backing *backing, struct vblk_backing_info *info)
{
	*info = backing->info;
}

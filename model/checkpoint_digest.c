/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint_digest.c - the SHA-256 that says which base model an adapter belongs to.
 *
 * Over every byte of the files a source names, in the source's fixed order; so it needs OpenSSL and
 * is left out with ILORA_TEXT=OFF.
 */
#include "model/checkpoint.h"

#include <assert.h>

#include "base/hash.h"
#include "model/checkpoint_source.h"

static void digest_bytes(void *context, struct span bytes) {
    sha256_update(context, bytes.data, bytes.size);
}

enum status checkpoint_sha256(struct checkpoint *checkpoint, uint8_t ret_digest[32],
                              struct error *err) {
    assert(checkpoint != NULL);

    struct sha256 *hash = NULL;
    enum status status = sha256_init(&hash, err);
    if (status != STATUS_OK) { return status; }

    const struct model_source *source = checkpoint_source(checkpoint);
    source->ops->visit(source, digest_bytes, hash);
    sha256_finish(hash, ret_digest);
    sha256_free(hash);
    return STATUS_OK;
}

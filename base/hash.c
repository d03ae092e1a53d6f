/* SPDX-License-Identifier: Apache-2.0
 *
 * hash.c - SHA-256 over OpenSSL's EVP interface, and XXH3-64 over the xxHash header.
 *
 * OpenSSL's digest calls fail only when the algorithm is missing or memory is gone at the start;
 * both are found by sha256_init, so later failures are asserted.
 */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"

#define FILE_CHUNK_BYTES 65536u

struct sha256 {
    EVP_MD_CTX *context; /* owns */
};

enum status sha256_init(struct sha256 **ret_hash, struct error *err) {
    struct sha256 *hash = memory_take_zeroed(1, sizeof *hash);
    if (hash == NULL) { goto fail; }
    hash->context = EVP_MD_CTX_new();
    if (hash->context == NULL) { goto fail; }
    if (EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) != 1) { goto fail; }

    *ret_hash = hash;
    return STATUS_OK;

fail:
    sha256_free(hash);
    return error_set(err, STATUS_NO_MEMORY, "SHA-256 context");
}

void sha256_free(struct sha256 *hash) {
    if (hash == NULL) { return; }
    EVP_MD_CTX_free(hash->context);
    memory_free(hash);
}

void sha256_restart(struct sha256 *hash) {
    int done = EVP_DigestInit_ex(hash->context, NULL, NULL);
    assert(done == 1);
    (void)done;
}

void sha256_update(struct sha256 *hash, const void *data, size_t size) {
    int done = EVP_DigestUpdate(hash->context, data, size);
    assert(done == 1);
    (void)done;
}

void sha256_finish(struct sha256 *hash, uint8_t ret_digest[SHA256_BYTES]) {
    unsigned int size = 0;
    int done = EVP_DigestFinal_ex(hash->context, ret_digest, &size);
    assert(done == 1);
    assert(size == SHA256_BYTES);
    (void)done;
    sha256_restart(hash);
}

void sha256_of(struct span bytes, uint8_t ret_digest[SHA256_BYTES]) {
    unsigned int size = 0;
    int done = EVP_Digest(bytes.data, bytes.size, ret_digest, &size, EVP_sha256(), NULL);
    assert(done == 1);
    assert(size == SHA256_BYTES);
    (void)done;
}

/* Feeds the open file to its end. */
static enum status sha256_feed(struct sha256 *hash, int fd, uint8_t *chunk, const char *path,
                               struct error *err) {
    for (;;) {
        ssize_t got = read(fd, chunk, FILE_CHUNK_BYTES);
        if (got < 0 && errno == EINTR) { continue; }
        if (got < 0) { return error_errno(err, errno, "reading '%s'", path); }
        if (got == 0) { return STATUS_OK; }
        sha256_update(hash, chunk, (size_t)got);
    }
}

enum status sha256_of_file(const char *path, uint8_t ret_digest[SHA256_BYTES], struct error *err) {
    struct sha256 *hash = NULL;
    uint8_t *chunk = NULL;
    enum status status;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return error_set(err, STATUS_NOT_FOUND, "'%s' does not exist", path);
    }
    if (fd < 0) { return error_errno(err, errno, "opening '%s'", path); }

    status = sha256_init(&hash, err);
    if (status != STATUS_OK) { goto out; }
    chunk = memory_take(FILE_CHUNK_BYTES);
    if (chunk == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "hashing '%s'", path);
        goto out;
    }
    status = sha256_feed(hash, fd, chunk, path, err);
    if (status == STATUS_OK) { sha256_finish(hash, ret_digest); }

out:
    memory_free(chunk);
    sha256_free(hash);
    (void)close(fd); /* read only: nothing to lose */
    return status;
}

uint64_t hash64(struct span bytes, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

uint64_t hash64_pair(uint64_t a, uint64_t b, uint64_t seed) {
    uint8_t bytes[16];
    put_u64le(bytes, a);
    put_u64le(bytes + 8, b);
    return XXH3_64bits_withSeed(bytes, sizeof bytes, seed);
}

double hash_unit(uint64_t a, uint64_t b, uint64_t seed) {
    return (double)(hash64_pair(a, b, seed) >> 11) * 0x1p-53;
}

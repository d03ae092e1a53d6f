/* SPDX-License-Identifier: Apache-2.0
 *
 * hash.h - the three hashes of the project, each with one job.
 *
 *   SHA-256  (OpenSSL)  digests and chains that others verify
 *   CRC-32C  (own, slicing-by-8, SSE4.2 where the CPU has it)  a check in every LMDB value and run
 *   XXH3-64  (xxHash)   keyed sampling decisions and event ids; never leaves the process as proof
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define SHA256_BYTES 32u

struct sha256; /* hides OpenSSL's context */

MUST_CHECK enum status sha256_init(struct sha256 **ret_hash, struct error *err);
void sha256_free(struct sha256 *hash);
void sha256_restart(struct sha256 *hash);
void sha256_update(struct sha256 *hash, const void *data, size_t size);
void sha256_finish(struct sha256 *hash, uint8_t ret_digest[SHA256_BYTES]); /* then restarts */
void sha256_of(struct span bytes, uint8_t ret_digest[SHA256_BYTES]);
/* Reads the whole file. IO, NOT_FOUND. */
MUST_CHECK enum status sha256_of_file(const char *path, uint8_t ret_digest[SHA256_BYTES],
                                      struct error *err);

/* CRC-32C (Castagnoli, RFC 3720), continued from crc (start with 0). */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);
/* The same without the CPU's instruction: what other machines run, and the tests compare. */
uint32_t crc32c_by_tables(uint32_t crc, const void *data, size_t size);

uint64_t hash64(struct span bytes, uint64_t seed);
/* A hash of two integers, for sampling by sequence number: uniform over 64 bits. */
uint64_t hash64_pair(uint64_t a, uint64_t b, uint64_t seed);
/* The same as a number in [0,1): 53 bits. */
double hash_unit(uint64_t a, uint64_t b, uint64_t seed);

#endif

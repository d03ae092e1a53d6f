/* SPDX-License-Identifier: Apache-2.0
 *
 * write_golden.c - writes the sample records as files, for decode_golden.py to read.
 */
#include <stdio.h>

#include "tests/proto/outbound_samples.h"

static int write_record(const char *folder, const char *name, enum status status,
                        struct buffer *bytes) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = status == STATUS_OK ? fopen(path, "wb") : NULL;
    if (file == NULL) {
        (void)fprintf(stderr, "cannot write %s\n", path);
        return 1;
    }
    size_t written = fwrite(bytes->data, 1, bytes->size, file);
    int failed = fclose(file) != 0 || written != bytes->size;
    buffer_reset(bytes);
    return failed;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: write_golden FOLDER\n");
        return 64;
    }
    struct prediction_record prediction = sample_prediction();
    struct manifest_record manifest = sample_manifest();
    struct metrics_record metrics = sample_metrics();
    struct epoch_record epoch = sample_epoch();
    struct buffer out = {0};
    enum status status = outbound_prediction(&prediction, OUTPUT_PROTOBUF, &out);
    int failed = write_record(argv[1], "prediction", status, &out);
    status = outbound_manifest(&manifest, OUTPUT_PROTOBUF, &out);
    failed |= write_record(argv[1], "manifest", status, &out);
    status = outbound_metrics(&metrics, OUTPUT_PROTOBUF, &out);
    failed |= write_record(argv[1], "metrics", status, &out);
    status = outbound_epoch(&epoch, &out);
    failed |= write_record(argv[1], "epoch", status, &out);
    status = outbound_prediction(&prediction, OUTPUT_JSON, &out);
    failed |= write_record(argv[1], "prediction.json", status, &out);
    buffer_free(&out);
    return failed;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * family_write.c - small random models of the supported families as Hugging Face folders.
 *
 * usage: family_write FOLDER        makes FOLDER/llama2, FOLDER/llama3, ...
 * usage: family_write FOLDER NAME   that one alone */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "tests/reference/family_model.h"

int main(int argc, char **argv) {
    struct error err = {.text = ""};
    if (argc != 2 && argc != 3) {
        (void)fprintf(stderr, "usage: family_write FOLDER [NAME]\n");
        return 64;
    }
    for (int i = 0; family_names[i] != NULL; i++) {
        char path[FILE_PATH_BYTES_MAX];
        if (argc == 3 && strcmp(argv[2], family_names[i]) != 0) { continue; }
        enum status status = path_join(path, argv[1], family_names[i], &err);
        if (status == STATUS_OK) { status = dir_make(path, &err); }
        if (status != STATUS_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        if (family_write(family_names[i], path) != 0) { return 1; }
        (void)printf("%s\n", path);
    }
    return 0;
}

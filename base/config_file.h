/* SPDX-License-Identifier: Apache-2.0
 *
 * config_file.h - an INI file as (line, section, key, value), through inih. Inside base only.
 *
 * Comments start a line with '#' or ';', or follow a blank with ';'. Blanks around everything are
 * dropped, indentation means nothing. A key before any section has the section "".
 */
#ifndef BASE_CONFIG_FILE_H
#define BASE_CONFIG_FILE_H

#include "base/bytes.h"
#include "base/status.h"

#define CONFIG_FILE_BYTES_MAX 1048576u /* 1 MiB */
#define CONFIG_LINE_BYTES_MAX 1024u

/* borrows: the strings until it returns. A status other than OK ends the reading with it. */
typedef enum status (*config_visit)(void *context, int line, const char *section, const char *key,
                                    const char *value, struct error *err);

/* Calls visit for every key of the file in order. CONFIG when the file is absent (its words name
 * it) or a line is not INI ("path:line: ..."); IO; NO_MEMORY. Words of visit get "path:line: " in
 * front. */
MUST_CHECK enum status config_file_read(const char *path, config_visit visit, void *context,
                                        struct error *err);
/* The same over text in memory; name stands where the path would. */
MUST_CHECK enum status config_text_read(const char *name, struct span text, config_visit visit,
                                        void *context, struct error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_open.h - the stream that the settings name: embedded, or Kafka. For the daemon (the one
 * writer of its identity) and for tools that read and produce.
 */
#ifndef DAEMON_STREAM_OPEN_H
#define DAEMON_STREAM_OPEN_H

#include <stdbool.h>

#include "base/status.h"
#include "base/stream.h"
#include "daemon/settings.h"

/* writer: may fence and commit as ilora.<deployment>.<shard>. Otherwise reads, produces and knows
 * what that identity has committed. CONFIG names the setting. The caller closes the stream. */
MUST_CHECK enum status stream_open(const struct settings *settings, bool writer,
                                   struct stream **ret_stream, struct error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * outbound_json.h - the published records as JSON, with the names of INTERFACES.
 *
 * One object a record, members in a fixed order, digests in hexadecimal. Same promises as the
 * functions of outbound.h that call these.
 */
#ifndef PROTO_OUTBOUND_JSON_H
#define PROTO_OUTBOUND_JSON_H

#include "base/bytes.h"
#include "base/status.h"
#include "proto/outbound.h"

MUST_CHECK enum status outbound_json_prediction(const struct prediction_record *record,
                                                struct buffer *out);
MUST_CHECK enum status outbound_json_manifest(const struct manifest_record *record,
                                              struct buffer *out);
MUST_CHECK enum status outbound_json_metrics(const struct metrics_record *record,
                                             struct buffer *out);

#endif

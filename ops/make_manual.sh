#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make_manual.sh ILORACTL - iloractl(1) from the help of every command, so that it cannot grow old.
set -euo pipefail
ctl=$1
roff() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\([.']\)/\\\\\&\1/"; }

cat <<'HEAD'
.\" SPDX-License-Identifier: Apache-2.0
.TH ILORACTL 1 "" "ilorad" "User Commands"
.SH NAME
iloractl \- the operator's tool of ilorad
.SH SYNOPSIS
.B iloractl
[\fB\-\-config\fR \fIFILE\fR] [\fB\-\-set\fR \fISECTION.KEY=VALUE\fR]... [\fB\-\-json\fR]
\fICOMMAND\fR ...
.SH DESCRIPTION
A running
.BR ilorad (8)
is asked through the socket in its state folder; topics are read and written directly, embedded or
Kafka. Results are text, or JSON lines with \-\-json; errors go to standard error. Exit: 0 done, 1
failed, 64 usage.
.SH COMMANDS
HEAD
"$ctl" --help | sed -n '/^commands/,$p' | tail -n +2 | while read -r name summary; do
    printf '.SS %s\n' "$name"
    printf '%s.\n.PP\n.nf\n' "$summary" | roff | sed 's/^\\&\././'
    "$ctl" "$name" --help | roff
    printf '.fi\n'
done
cat <<'TAIL'
.SH SEE ALSO
.BR ilorad (8),
.BR ilorad.conf (5)
TAIL

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report.py - the table of README.md from libFuzzer's logs.

    report.py LOG...        logs named <target>.*.log; prints the table
    report.py --write LOG...    and puts it into README.md, between its marks

Of several logs of one target executions are added, edges and corpus are those of the run that saw
most. A log without a final count (killed) counts up to its last line.
"""
import datetime
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BEGIN, END = "<!-- table: report.py -->", "<!-- end -->"
BAD = re.compile(r"ERROR: (AddressSanitizer|LeakSanitizer|libFuzzer)|runtime error:|Assertion")


def read_log(path):
    """(executions, edges, features, corpus files, bad lines) of one run."""
    with open(path, encoding="utf-8", errors="replace") as log:
        text = log.read()
    done = re.findall(r"stat::number_of_executed_units: (\d+)", text)
    seen = re.findall(r"^#(\d+)\s", text, re.M)
    cover = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)/", text)
    edges, features, files = map(int, cover[-1]) if cover else (0, 0, 0)
    count = int(done[-1]) if done else int(seen[-1]) if seen else 0
    return count, edges, features, files, sum(1 for line in text.splitlines() if BAD.search(line))


def kept(target):
    """Files and KiB of the corpus in the repository."""
    folder = os.path.join(HERE, "corpus", target)
    sizes = [os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)]
    return f"{len(sizes)} files, {sum(sizes) / 1024:.0f} KiB"


def table(paths):
    runs = {}
    for path in paths:
        runs.setdefault(os.path.basename(path).split(".")[0], []).append(path)
    rows = ["| date | target | executions | edges | features | corpus kept | crashes |",
            "| --- | --- | --: | --: | --: | --- | --: |"]
    for target, logs in sorted(runs.items()):
        got = [read_log(path) for path in logs]
        best = max(got, key=lambda g: (g[2], g[1]))
        day = datetime.date.fromtimestamp(max(os.path.getmtime(p) for p in logs)).isoformat()
        rows.append(f"| {day} | {target} | {sum(g[0] for g in got):,} | {best[1]} | {best[2]} | "
                    f"{kept(target)} | {sum(g[4] for g in got)} |")
    return "\n".join(rows)


def main():
    paths = [a for a in sys.argv[1:] if a != "--write"]
    if not paths:
        print(__doc__, file=sys.stderr)
        return 64
    made = table(paths)
    print(made)
    if "--write" in sys.argv:
        readme = os.path.join(HERE, "README.md")
        with open(readme, encoding="utf-8") as old:
            head, rest = old.read().split(BEGIN)
        with open(readme, "w", encoding="utf-8") as new:
            new.write(head + BEGIN + "\n" + made + "\n" + END + rest.split(END)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How long a sync takes, what it sends and what it costs on the disk, beside plain `rsync -aHAX`.

Cases: the first sync, a sync without a change, a sync after one package was changed. The golden
root is the lab's, a Debian system. Both sides are measured one right after the other, and again
and again; a row has the medians, and the median of the pairs' ratios. A version is a tree of its
own, so what a sync makes after a change is compared with rsync making one (`--link-dest`). The
initramfs is left out: the image's own tools build it.

    tests/bench/image.py --json image.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT))

from salt_diskless.disk import flush  # noqa: E402
from salt_diskless.image.progress import sent  # noqa: E402
from tests.bench.table import show  # noqa: E402
from tests.lab import packages, roots  # noqa: E402

REPEATS = 5
VERSIONS = 10
#: The package that changes: its files are written anew.
PACKAGE = "procps"

_SYNC = """
import json, sys, time
from salt_diskless.cluster import Image, Source
from salt_diskless.image.sync import sync
from salt_diskless.image.versions import latest
image = Image("bench", "bench", sys.argv[1], Source(directory=sys.argv[2]))
begun = time.monotonic()
done = sync(image)
wall = time.monotonic() - begun
newest = latest(image)
facts = {"sent": newest.bytes_sent, "disk": newest.bytes_new}
print(json.dumps({"wall": wall, "changed": done.changed, **facts}))
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of one sync, bytes that rsync's sender sent, bytes that are new on the disk."""

    wall: float
    sent: int
    disk: int


class Bench:
    """A golden root that can be changed, an image, and a directory for plain rsync."""

    def __init__(self, place: pathlib.Path):
        self.golden = place / "golden"
        self.image = place / "image"
        self.plain = place / "plain"
        self.plain.mkdir()
        self._changes = 0
        subprocess.run(["cp", "-a", roots.golden(), self.golden], check=True)
        script = self.golden / "usr/sbin/mkinitramfs"
        script.write_text('#!/bin/sh\n: > "$2"\n')
        (self.golden / "usr/bin/lsinitramfs").unlink()
        listed = self.golden / f"var/lib/dpkg/info/{PACKAGE}.list"
        files = [self.golden / line.lstrip("/") for line in listed.read_text().splitlines()]
        self._files = [path for path in files if path.is_file() and not path.is_symlink()]

    def change(self) -> None:
        """Write the files of one package anew, with what a new build of it would change."""
        self._changes += 1
        for path in self._files:
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data + b"%d" % self._changes)

    def sync(self, changes: bool) -> Cost:
        """Sync the image."""
        done = subprocess.run(
            [sys.executable, "-c", _SYNC, self.image, self.golden],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        answer = json.loads(done.stdout)
        if answer["changed"] is not changes:
            raise SystemExit(f"found changed={answer['changed']}, which spoils the figure")
        return Cost(answer["wall"], *((answer["sent"], answer["disk"]) if changes else (0, 0)))

    def rsync(self, name: str, link: str | None = None) -> Cost:
        """Have plain rsync bring a directory up to the golden root."""
        target = self.plain / name
        options = [f"--link-dest={self.plain / link}"] if link else []
        before = disk(self.plain)
        begun = time.monotonic()
        done = subprocess.run(
            ["rsync", "-aHAX", "--delete", "--stats", *options, f"{self.golden}/", target],
            check=True,
            capture_output=True,
            text=True,
        )
        wall = time.monotonic() - begun
        # Rsync leaves that to the kernel; whoever is measured next must not do it.
        flush([str(self.plain)])
        return Cost(wall, sent(done.stdout), disk(self.plain) - before)


def disk(place: pathlib.Path) -> int:
    """Return the bytes that a directory takes, each file once."""
    done = subprocess.run(["du", "-sB1", place], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])


@contextlib.contextmanager
def _bench() -> Iterator[Bench]:
    place = pathlib.Path(tempfile.mkdtemp(prefix="diskless-bench.", dir="/srv"))
    try:
        yield Bench(place)
    finally:
        shutil.rmtree(place)


def measure() -> list[dict]:
    """Return the rows of all cases."""
    first, same, package = [], [], []
    with _bench() as bench:
        for turn in range(REPEATS):
            plain = bench.rsync(f"first-{turn}")
            first.append((bench.sync(changes=True), plain))
            shutil.rmtree(bench.plain / f"first-{turn}")
            shutil.rmtree(bench.image)
        bench.rsync("0")
        bench.sync(changes=True)
        for _ in range(REPEATS):
            plain = bench.rsync("0")
            same.append((bench.sync(changes=False), plain))
        one = disk(bench.image)
        for turn in range(1, VERSIONS):
            bench.change()
            plain = bench.rsync(str(turn), link=str(turn - 1))
            package.append((bench.sync(changes=True), plain))
        all_of_them = disk(bench.image)
    print(f"{VERSIONS} versions take {all_of_them / one:.3f} times the disk of one\n")
    return [
        _row("first", first, "rsync -aHAX"),
        _row("no change", same, "rsync -aHAX"),
        _row("one package", package, "rsync -aHAX --link-dest"),
    ]


def _row(case: str, pairs: list[tuple[Cost, Cost]], against: str) -> dict:
    ours, plain = zip(*pairs, strict=True)
    return {
        "bench": "image",
        "case": case,
        "wall_s": round(statistics.median(cost.wall for cost in ours), 3),
        "sent_mb": round(statistics.median(cost.sent for cost in ours) / 1e6, 2),
        "disk_mb": round(statistics.median(cost.disk for cost in ours) / 1e6, 2),
        "against": against,
        "against_wall_s": round(statistics.median(cost.wall for cost in plain), 3),
        "against_sent_mb": round(statistics.median(cost.sent for cost in plain) / 1e6, 2),
        "against_disk_mb": round(statistics.median(cost.disk for cost in plain) / 1e6, 2),
        "ratio": round(statistics.median(one.wall / beside.wall for one, beside in pairs), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    packages.install()
    show(measure(), options.json)


if __name__ == "__main__":
    main()

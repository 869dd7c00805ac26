#!/usr/bin/env python3
"""How long `state.apply diskless` takes for N nodes, beside what nobody can do without.

Cases: the first run, a run without a change, a run with one node added. The measure is
`salt-call state.apply` of one `test.nop` with the same pillar, and for the first run also writing
the same files and directories by a bare program. Packages and services are left out: they do not
depend on the number of nodes. Everything is in private mounts and a private network.

    tests/bench/apply.py --nodes 128 1000 10000 --json apply.json
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import os
import pathlib
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
#: How often a run without a change, and a first run on a new place, are measured.
REPEATS = 7
FIRST_RUNS = 3

_STATES = """
pillar: {diskless.valid: []}
record: {diskless.recorded: []}
images: {diskless_image.synced: []}
snapshots: {diskless_snapshot.managed: []}
tftp: {diskless_tftp.managed: []}
nfs: {diskless_nfs.managed: []}
dhcpd: {diskless_dhcpd.managed: []}
"""

#: Writes what a pickle says, and prints wall and CPU seconds of the writing alone.
_BARE = """
import os, pickle, sys, time
directories, files = pickle.load(open(sys.argv[1], "rb"))
base = sys.argv[2]
begun, cpu = time.monotonic(), time.process_time()
for path in directories:
    os.makedirs(base + path, exist_ok=True)
for path, content in files:
    with open(base + path, "wb") as stream:
        stream.write(content)
print(time.monotonic() - begun, time.process_time() - cpu)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds and megabytes of one command with all its children."""

    wall: float
    cpu: float
    peak: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak))


class Bench:
    """A boot server's files below one directory, for ``count`` nodes."""

    def __init__(self, place: pathlib.Path, count: int):
        self.place = place
        self.count = count
        for name in ("states", "pillar", "salt", "etc/default", "etc/dhcp"):
            (place / name).mkdir(parents=True)
        (place / "states/bench.sls").write_text(_STATES)
        (place / "states/nop.sls").write_text("nop: {test.nop: []}\n")
        (place / "pillar/top.sls").write_text("base: {'*': [cluster]}\n")
        (place / "salt/minion").write_text(
            json.dumps(
                {
                    "id": "bootserver",
                    "file_client": "local",
                    "root_dir": str(place / "salt"),
                    "file_roots": {"base": [str(place / "states")]},
                    "pillar_roots": {"base": [str(place / "pillar")]},
                    "module_dirs": [str(place / "site/salt_diskless/modules")],
                    "states_dirs": [str(place / "site/salt_diskless/states")],
                }
            )
        )
        # As pip installs it: byte-compiled.
        shutil.copytree(CHECKOUT / "salt_diskless", place / "site/salt_diskless")
        compileall.compile_dir(place / "site", quiet=1)
        self._golden()

    def _golden(self) -> None:
        root = self.place / "golden"
        for name in (
            "bin",
            "sbin",
            "usr/bin",
            "boot",
            "etc",
            "root",
            "var/log/apt",
            "var/spool/cron",
        ):
            (root / name).mkdir(parents=True)
        modules = root / "lib/modules/6.1-test"
        modules.mkdir(parents=True)
        (modules / "modules.dep").write_text("kernel/nfs.ko:\nkernel/nfsv3.ko:\n")
        (root / "bin/sh").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
        (root / "bin/sh").chmod(0o755)
        (root / "boot/vmlinuz-6.1-test").write_bytes(b"kernel")
        (root / "sbin/mkinitramfs").write_text('#!/bin/sh\necho "$@" > "$2"\n')
        (root / "sbin/mkinitramfs").chmod(0o755)

    def write_pillar(self, count: int, **more: object) -> None:
        """Write the pillar as an admin does: a line a node; with more keys below ``diskless``."""
        lookup = {
            "tftp_root": f"{self.place}/srv/tftp",
            "dhcp_config": f"{self.place}/etc/dhcp/dhcpd.conf",
            "dhcp_defaults": f"{self.place}/etc/default/isc-dhcp-server",
        }
        head = {
            "servers": {"bootserver": {"address": "10.0.0.1", "interface": "eth0"}},
            "networks": {"all": {"subnet": "10.0.0.0/8", "nis_domain": "bench"}},
            "images": {
                "tiny": {
                    "location": f"{self.place}/diskless/tiny",
                    "source": {"directory": f"{self.place}/golden"},
                }
            },
            "profiles": {"compute": {"image": "tiny", "network": "all"}},
            "lookup": lookup,
            **more,
        }
        lines = ["diskless:", *(f"  {key}: {json.dumps(value)}" for key, value in head.items())]
        if count:
            lines.append("  nodes:")
        for number in range(1, count + 1):
            high, low = number >> 8, number & 255
            lines.append(
                f'    node{number:05d}: {{mac: "52:54:00:00:{high:02x}:{low:02x}", '
                f"ip: 10.1.{high}.{low}, profile: compute}}"
            )
        (self.place / "pillar/cluster.sls").write_text("\n".join(lines) + "\n")

    def apply(self, sls: str) -> tuple[Cost, dict]:
        """Run `salt-call state.apply` of an SLS and return its cost and answer."""
        python = pathlib.Path(sys.executable)
        command = [python, python.with_name("salt-call"), "--out=json", "--log-level=error"]
        command += ["-c", self.place / "salt", "state.apply", sls]
        begun = time.monotonic()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(self.place / "site")},
        )
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        answer = json.loads(said)["local"]
        bad = [state for state in answer.values() if not state["result"]]
        if bad or child.returncode:
            raise SystemExit(f"{sls}: {bad or child.returncode}")
        return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024), answer

    def same(self) -> list[tuple[Cost, Cost]]:
        """Return pairs of costs: the states when nothing changes, and the nop right before it."""
        pairs = []
        for _ in range(REPEATS):
            nop, bench = self.apply("nop"), self.apply("bench")
            if any(state["changes"] for _, answer in (nop, bench) for state in answer.values()):
                raise SystemExit("found changes in a run without a change, which spoils the figure")
            pairs.append((bench[0], nop[0]))
        return pairs

    def bare(self) -> Cost:
        """Write what the first run wrote once more, by a bare program."""
        directories, files = [], []
        for root in ("srv", "etc", "diskless/tiny/snapshot"):
            for directory, _, names in os.walk(self.place / root):
                directories.append(directory)
                for name in names:
                    path = os.path.join(directory, name)
                    files.append((path, pathlib.Path(path).read_bytes()))
        data = self.place / "bare.pickle"
        data.write_bytes(pickle.dumps((directories, files)))
        target = self.place / "bare"
        target.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", _BARE, data, target], check=True, capture_output=True, text=True
        )
        shutil.rmtree(target)
        data.unlink()
        wall, cpu = map(float, done.stdout.split())
        return Cost(wall, cpu, 0)


@contextlib.contextmanager
def _place(count: int) -> Iterator[Bench]:
    """Give a boot server that nothing was applied on yet, and take it away again."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="diskless-bench.", dir="/srv"))
    try:
        bench = Bench(place, count)
        bench.write_pillar(count)
        bench.apply("nop")
        yield bench
    finally:
        shutil.rmtree(place)
        for file in pathlib.Path("/etc/exports.d").iterdir():
            file.unlink()
        subprocess.run(["exportfs", "-r"], check=True)


def measure(count: int) -> list[dict]:
    """Return the rows of one number of nodes.

    Each cost is measured right beside what it is compared with, so that what else the machine does
    falls on both; the row shows the medians of the costs, and the median of the pairs' ratios.
    """
    firsts, bares = [], []
    for turn in range(FIRST_RUNS):
        with _place(count) as bench:
            nop, _ = bench.apply("nop")
            first, _ = bench.apply("bench")
            bare = bench.bare()
            firsts.append((first, nop + bare))
            bares.append((bare, bare))
            if turn < FIRST_RUNS - 1:
                continue
            same = bench.same()
            bench.write_pillar(count + 1)
            added = bench.apply("bench")[0], bench.apply("nop")[0]
    return [
        _row("first", count, firsts, "nop + bare writes"),
        _row("no change", count, same, "nop"),
        _row("one added", count, [added], "nop"),
        _row("(nop)", count, [(nop, nop) for _, nop in same], "nop"),
        _row("(bare writes)", count, bares, "bare writes"),
    ]


def _row(case: str, count: int, pairs: list[tuple[Cost, Cost]], against: str) -> dict:
    return {
        "bench": "apply",
        "case": case,
        "nodes": count,
        "wall_s": round(statistics.median(cost.wall for cost, _ in pairs), 3),
        "cpu_s": round(statistics.median(cost.cpu for cost, _ in pairs), 3),
        "peak_mb": round(max(cost.peak for cost, _ in pairs)),
        "against": against,
        "ratio": round(statistics.median(cost.wall / beside.wall for cost, beside in pairs), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[128, 1000, 10000], metavar="N")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if os.environ.get("DISKLESS_BENCH_APART") != "yes":
        os.environ["DISKLESS_BENCH_APART"] = "yes"
        script = (
            "ip link set lo up; ip link add eth0 type veth peer name node0; "
            "ip addr add 10.0.0.1/8 dev eth0; ip link set eth0 up; "
            "for d in /etc/exports.d /var/lib/nfs /var/lib/salt-diskless /etc/systemd/system "
            "/run/salt-diskless; do mkdir -p $d; mount -t tmpfs none $d; done; "
            # Without a name server: Salt's grains would wait for one.
            "for f in /etc/exports /etc/resolv.conf; do "
            '[ ! -e $f ] || mount --bind /dev/null $f; done; exec "$@"'
        )
        apart = ["unshare", "--mount", "--net", "sh", "-ec", script, "sh"]
        os.execvp(apart[0], [*apart, sys.executable, __file__, *sys.argv[1:]])
    rows = []
    print("| nodes | case | wall s | CPU s | peak MB | against | ratio |")
    print("|---|---|---|---|---|---|---|")
    for count in options.nodes:
        for row in measure(count):
            cells = (row[key] for key in ("nodes", "case", "wall_s", "cpu_s", "peak_mb", "against"))
            print(f"| {' | '.join(map(str, cells))} | {row['ratio']} |", flush=True)
            if not row["case"].startswith("("):
                rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

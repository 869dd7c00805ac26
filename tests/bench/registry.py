#!/usr/bin/env python3
"""How long the external pillar `diskless_nodes` takes for N registered nodes, beside reading their
rows with sqlite3 and nothing else.

For the boot server that has all of them, for it when its pillar lists as many others by hand (which
are looked at for conflicts), and for a minion that is no boot server. Each call is made right
beside the reading that it is compared with; a row has the medians, and the median of the ratios.

    tests/bench/registry.py --nodes 128 1000 10000 --json registry.json
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT))

import salt.config  # noqa: E402
import salt.loader  # noqa: E402

from salt_diskless.registry.store import RegisteredNode, Store  # noqa: E402
from tests.bench.table import show  # noqa: E402

TURNS = 9


def mac(number: int) -> str:
    return (0x5254 << 32 | number).to_bytes(6, "big").hex(":")


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def rows(count: int) -> list[dict]:
    """Return a row for each case with so many registered nodes."""
    with tempfile.TemporaryDirectory() as place:
        opts = salt.config.master_config(None)
        opts.update(id="boss_master", pki_dir=place, cachedir=f"{place}/cache", grains={})
        opts["pillar_dirs"] = [str(CHECKOUT / "salt_diskless/pillar")]
        ext_pillar = salt.loader.pillars(opts, {})["diskless_nodes"]
        store = Store(f"{place}/diskless")
        with store.write() as tx:
            for number in range(count):
                ip = f"10.8.{number >> 8}.{number & 255}"
                tx.decide(mac(number), "accepted")
                node = RegisteredNode(
                    f"n{number:05d}", mac(number), ip, "compute", {}, "bootserver"
                )
                tx.put(node)
        others = {f"h[00000-{count - 1:05d}]": {"mac": [], "ip": "10.9.0.0+"}}
        others[next(iter(others))]["mac"] = [mac(number + 20_000) for number in range(count)]

        def bare() -> object:
            with contextlib.closing(sqlite3.connect(store.path)) as connection:
                return connection.execute("SELECT * FROM node").fetchall()

        cases = {
            "boot server": ("bootserver", {}),
            "and as many by hand": ("bootserver", {"diskless": {"nodes": others}}),
            "another minion": ("other", {}),
        }
        made = []
        for case, (minion, pillar) in cases.items():
            pairs = [
                (timed(lambda: ext_pillar(minion, pillar)), timed(bare))  # noqa: B023
                for _ in range(TURNS)
            ]
            made.append(
                {
                    "bench": "registry",
                    "nodes": count,
                    "case": case,
                    "wall_ms": round(statistics.median(one for one, _ in pairs) * 1000, 1),
                    "against": "SELECT",
                    "its_wall_ms": round(statistics.median(one for _, one in pairs) * 1000, 1),
                    "ratio": round(statistics.median(one / beside for one, beside in pairs), 2),
                }
            )
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[128, 1000, 10000], metavar="N")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    show([row for count in options.nodes for row in rows(count)], options.json)


if __name__ == "__main__":
    main()

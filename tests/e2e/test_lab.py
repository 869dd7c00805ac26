"""The lab itself: it leaves nothing behind, however it ends, and two do not meet."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.lab import Lab, cache
from tests.lab.patience import Patience
from tests.lab.roots import CHECKOUT

# What runs in the background of a shell ignores SIGINT, and so do its children: not this one.
_HALF_WAY = """
import signal, sys
from tests.lab import Lab
signal.signal(signal.SIGINT, signal.default_int_handler)
with Lab() as lab:
    node = lab.power_on("node001")
    print(lab.place, lab.keeper.pid, *lab.keeper.cgroups, flush=True)
    signal.pause()
"""


def left_of(place: pathlib.Path, keeper: str, cgroups: list[pathlib.Path]) -> list[str]:
    """Return what is left of a lab: directories, cgroups, processes, mounts."""
    left = [str(path) for path in (place, *cgroups) if path.exists()]
    if is_running(keeper):
        left.append(f"/proc/{keeper}")
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for what in ("cmdline", "mounts"):
            try:
                if place.name in (process / what).read_text(errors="replace"):
                    left.append(f"{process}/{what}")
            except OSError:
                continue
    return left


def is_running(pid: str) -> bool:
    """Tell whether a process runs: one that has ended, and whose parent has not asked, does not."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_lab_that_is_interrupted_leaves_nothing(lab: Lab, end: signal.Signals):
    running = subprocess.Popen(
        [sys.executable, "-c", _HALF_WAY],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    place, keeper, *cgroups = running.stdout.readline().split()
    assert is_running(keeper)
    running.send_signal(end)
    running.wait()
    patience = Patience(60)
    while left := left_of(pathlib.Path(place), keeper, [pathlib.Path(name) for name in cgroups]):
        assert not patience.is_over, left
        time.sleep(0.2)
    # The lab beside it did not notice.
    assert lab.server.run("systemctl", "is-active", "multi-user.target").stdout == "active\n"


def test_two_labs_side_by_side_have_the_same_addresses_and_do_not_meet(lab: Lab):
    with Lab() as other:
        assert other.place.parent == lab.place.parent == cache.ROOT / "run"
        for each, text in ((lab, "one"), (other, "two")):
            each.server.path("/etc/motd").write_text(text)
        assert lab.server.run("cat", "/etc/motd").stdout == "one"
        assert other.server.run("cat", "/etc/motd").stdout == "two"
        assert "10.141.0.1/16" in other.server.run("ip", "addr", "show", "br0").stdout
    assert lab.server.run("cat", "/etc/motd").stdout == "one"

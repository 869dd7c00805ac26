"""What log lines say of machines is taken whole or not at all: each word may be a stranger's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.registry import announcement
from salt_diskless.watch.lines import Seen, read
from salt_diskless.watch.progress import Reached, _reached
from salt_diskless.watch.store import Machine

MAC = "52:54:00:99:99:01"
NAME = "01-52-54-00-99-99-01"
KNOWN = ("serial", "asset", "uuid")


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (f"DHCPOFFER on 10.8.226.201 to {MAC} via eth0", Seen("offer", MAC, "10.8.226.201")),
        (f"DHCPACK on 10.8.226.201 to {MAC} (a name) via eth0", Seen("ack", MAC, "10.8.226.201")),
        (
            "RRQ from 10.8.226.201 filename linux-install/pxelinux.0",
            Seen("loader", "", "10.8.226.201"),
        ),
        (
            "RRQ from ::ffff:10.8.226.73 filename linux-install/pxelinux.cfg/0A08E249",
            Seen("loader", "", "10.8.226.73"),
        ),
        (
            "RRQ from 10.8.226.73 filename linux-install/c/20261124T155012/vmlinuz",
            Seen("kernel", "", "10.8.226.73", "20261124T155012"),
        ),
        (
            "RRQ from 10.8.226.73 filename linux-install/c/20261124T155012-1/6.1.0-28/vmlinuz",
            Seen("kernel", "", "10.8.226.73", "20261124T155012-1"),
        ),
        (
            f"RRQ from 10.8.226.201 filename linux-install/registry/{NAME}",
            Seen("asked", MAC, "10.8.226.201"),
        ),
        (
            f"RRQ from 10.8.226.201 filename linux-install/announced/{NAME}/{b'SN 1'.hex()}/-/"
            f"{b'8F0B5C9E-0000-4000-8000-000000000001'.hex()}",
            Seen("asked", MAC, "10.8.226.201", known=(
                "SN 1", "", "8f0b5c9e-0000-4000-8000-000000000001")),
        ),
    ],
)  # fmt: skip
def test_a_line_of_a_daemon_is_read(line, seen):
    assert read(line) == seen


@pytest.mark.parametrize(
    "line",
    [
        f"DHCPACK on 10.8.226.201 to {MAC} (x) via eth0\nDHCPACK on 1.2.3.4 to {MAC} via x",
        f"DHCPACK on 999.8.226.201 to {MAC} via eth0",
        f"DHCPDISCOVER from {MAC} via eth0",
        f"DHCPACK on 10.8.226.201 to {MAC}:02 via eth0",
        f"x DHCPACK on 10.8.226.201 to {MAC} via eth0",
        f"DHCPACK on 10.8.226.201 to {MAC} (a (b) c) via eth0",
        "RRQ from 10.8.226.201 filename linux-install/registry/../../etc/passwd",
        f"RRQ from 10.8.226.201 filename linux-install/registry/{NAME}/x",
        f"RRQ from 10.8.226.201 filename linux-install/announced/{NAME}/{'41' * 65}/-/-",
        f"RRQ from 10.8.226.201 filename linux-install/announced/{NAME}/../-/-",
        "RRQ from 10.8.226.201 filename linux-install/{{ x }}/20261124T155012/vmlinuz",
        "RRQ from evil.example filename linux-install/pxelinux.0",
        "",
    ],
)
def test_what_is_no_such_line_says_nothing(line):
    assert read(line) is None


@pytest.mark.parametrize(
    "serial",
    [b"a\nb", b"\x00", "\u00e9".encode(), b"\x1b[2J", b"Default string", b"  ", b"None"]
    + [b"{{ x }}", b"$(reboot)", b"a: b", b"SN#1"],
)
def test_a_number_that_is_none_is_nothing(serial):
    line = f"RRQ from 10.8.226.201 filename linux-install/announced/{NAME}/{serial.hex()}/-/-"
    seen = read(line)
    assert seen is not None and seen.known == ("", "", "")


@given(st.text(max_size=300), st.binary(min_size=1, max_size=64))
def test_no_line_breaks_anything(text, serial):
    for line in (
        text,
        f"DHCPACK on 10.8.226.201 to {MAC} ({text}) via eth0",
        f"RRQ from 10.8.226.201 filename {text}",
        f"RRQ from 10.8.226.201 filename linux-install/announced/{NAME}/{serial.hex()}/-/-",
    ):
        seen = read(line)
        if seen is not None and seen.known is not None:
            # What goes to the master is what the registry there takes.
            said = announcement.read({"mac": MAC, **dict(zip(KNOWN, seen.known, strict=True))})
            assert tuple(getattr(said, key) or "" for key in KNOWN) == seen.known


UP = "version V handed over to its init"


@pytest.mark.parametrize(
    ("times", "root", "said", "reached"),  # dhcp, loader and kernel
    [
        ((), None, "", Reached("unseen")),
        ((100,), None, "", Reached("dhcp", "", 100)),
        ((100, 101), None, "", Reached("loader", "", 101)),
        ((100, 101, 102, "V"), None, "", Reached("kernel", "V", 102)),
        ((100, 101, 102), ("V", 120), "root: denied", Reached("root", "V", 120)),
        ((100, 101, 102), ("V", 120), UP, Reached("up", "V", 120)),
        # Its system has asked for an address, too.
        ((140, 101, 102), ("V", 120), UP, Reached("up", "V", 120)),
        # It is switched on again, and gets no loader.
        ((9000, 101, 102), ("V", 120), UP, Reached("dhcp", "", 9000)),
        ((9000, 9001, 102), ("V", 120), UP, Reached("loader", "", 9001)),
        ((), ("V", 120), UP, Reached("up", "V", 120)),
    ],
)  # fmt: skip
def test_the_last_step_of_a_node_is_that_of_its_last_boot(times, root, said, reached):
    machine = Machine(MAC, "10.8.226.73", 0, *times) if times else None
    assert _reached(machine, root, said) == reached


@pytest.mark.parametrize(
    ("times", "root", "said", "minion", "reached"),
    [
        ((100, 101, 102), ("V", 120), UP, 150, Reached("minion", "V", 150)),
        # That was before this boot, and these have not come so far.
        ((100, 101, 102), ("V", 120), UP, 90, Reached("up", "V", 120)),
        ((100, 101, 102), ("V", 120), "root: denied", 150, Reached("root", "V", 120)),
        ((9000, 9001, 102), ("V", 120), UP, 150, Reached("loader", "", 9001)),
        # And this cannot be.
        ((9000, 9001, 102), ("V", 120), UP, 9100, Reached("loader", "", 9001)),
        ((), None, "", 150, Reached("unseen")),
    ],
)
def test_its_minion_is_the_last_step_where_it_started_after_the_root_was_there(
    times, root, said, minion, reached
):
    machine = Machine(MAC, "10.8.226.73", 0, *times) if times else None
    assert _reached(machine, root, said, minion) == reached

"""The table of what belongs to one machine, and its page in the documentation."""

from __future__ import annotations

import re

import pytest

from salt_diskless.image.identity import BULK, PLACES
from salt_diskless.image.machine_identity import LEFT_OUT, TABLE, Kind
from salt_diskless.image.patterns import matches
from tests.conftest import CHECKOUT


def test_the_page_has_the_table():
    text = (CHECKOUT / "docs/machine-identity.md").read_text().split("<!-- table -->")[1]
    lines = [
        f"| {row.what} | {row.kind.value} | {' '.join(f'`{path}`' for path in row.patterns)} |"
        for row in TABLE
    ]
    assert text.split("\n")[3:-1] == lines


def test_a_path_is_of_one_kind():
    kinds: dict[str, set[Kind]] = {}
    for row in TABLE:
        for pattern in row.patterns:
            kinds.setdefault(pattern, set()).add(row.kind)
    assert [pattern for pattern, found in kinds.items() if len(found) > 1] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_patterns_are_absolute_paths(row):
    assert all(re.fullmatch(r"(/[A-Za-z0-9._*?+-]+)+", pattern) for pattern in row.patterns)


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "/etc/shadow", "/etc/ssh/sshd_config", "/var/spool/cron/crontabs/root"),
        *("/etc/ssl/certs/ca.pem", "/root/.ssh/authorized_keys", "/root/.ssh/known_hosts"),
        *("/etc/sssd/sssd.conf", "/etc/lvm/lvm.conf", "/etc/multipath.conf", "/etc/nvme/x"),
        *("/etc/iscsi/iscsid.conf", "/var/lib/samba/usershares", "/etc/openvpn/server.conf"),
    ],
)
def test_what_nodes_need_is_taken(path):
    assert not any(matches(path, pattern) for pattern in LEFT_OUT)


def test_nothing_of_the_bulk_is_in_the_table():
    """rsync takes all that is below these before it looks at the table."""
    below = re.compile("|".join(f"{path}/.*" for path in BULK))
    assert not [path for path in (*LEFT_OUT, *PLACES) if below.match(path)]


def test_only_files_that_fsck_recovered_may_be_directly_in_the_bulk():
    below = [
        (path, pattern) for path in BULK for pattern in LEFT_OUT if matches(f"{path}/x", pattern)
    ]
    assert not below

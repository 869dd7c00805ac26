"""An export that is the root of NFS 4 for nodes is refused: they would not find their own."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest

from tests.functional.test_preflight_foreign_files import refused

pytestmark = pytest.mark.any_salt

FILE = pathlib.Path("/etc/exports.d/mine.exports")


@pytest.fixture(autouse=True)
def no_other_exports() -> Iterator[None]:
    yield
    FILE.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "line",
    [
        *("/srv/nfs4 *(ro,fsid=0)", "/srv/nfs4 10.77.0.0/24(fsid=root,rw)", "/srv/nfs4 (fsid=0)"),
        *('"/srv/nfs4" 192.0.2.1(rw) 10.77.0.11(rw,fsid=0) # x', "/srv/nfs4 -ro,fsid=0 *"),
        *("/srv/nfs4 -fsid=0 10.77.0.0/255.255.255.0(rw)", "/srv/nfs4 \\\n  *(rw,\\\nfsid=0)"),
    ],
)
def test_a_root_of_nfs_4_for_nodes_is_refused(salt_call, pillar, listing, line):
    pillar["profiles"]["compute"]["nfs"] = "4.2"
    FILE.write_text(f"{line}\n")
    before = listing()
    comment = refused(salt_call(pillar))
    assert f"{FILE}: found /srv/nfs4" in comment and "remove fsid=0" in comment
    assert listing() == before


@pytest.mark.parametrize(
    "line",
    [
        *("/srv/nfs4 192.0.2.0/24(fsid=0)", "/srv/nfs4 *(ro,fsid=1)", "/srv/nfs4 *(ro)"),
        *("# /srv/nfs4 *(fsid=0)", "/srv/nfs4 *(ro) # fsid=0", "/ *(ro,fsid=0)"),
        *("/srv/nfs4 10.77.0.73(fsid=0)", "/srv/nfs4 @group(fsid=0)", "/srv/nfs4"),
    ],
)
def test_other_exports_are_right(salt_call, pillar, line):
    """node003, which is 10.77.0.73, mounts by NFS 3."""
    pillar["profiles"]["compute"]["nfs"] = "4.2"
    FILE.write_text(f"{line}\n")
    assert salt_call(pillar).state("diskless.valid").result is True


def test_a_pipe_is_not_read(salt_call, pillar):
    os.mkfifo(FILE)
    assert salt_call(pillar).state("diskless.valid").result is True

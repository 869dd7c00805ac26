"""What is wrong in the exports of others is named, and stands in the way of nothing."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest
from salt.exceptions import CommandExecutionError

from salt_diskless.services import exportfs, nfs
from tests.functional.test_nfs import EXPORTS, exported, location
from tests.functional.test_node import NEW, apply, served

__all__ = ["location", "served"]
pytestmark = pytest.mark.any_salt

ETC = pathlib.Path("/etc/exports")
OTHER = pathlib.Path("/etc/exports.d/aaa.exports")
LATER = pathlib.Path("/etc/exports.d/zzz.exports")

#: Lines of an admin, and a word of what exportfs says about them; {other} is a directory.
LINES = {
    "no subtree option": ("{other} 10.8.226.50(rw)", "subtree_check"),
    "no options": ("{other} 10.8.226.50", "No options for"),
    "no client": ("{other}", "No options for"),
    "no client but options": ("{other} (rw)", "No host name given"),
    "a space before the options": ("{other} 10.8.226.50 (rw,no_subtree_check)", "No host name"),
    "no directory": ("/nosuch 10.8.226.50(rw,no_subtree_check)", "Failed to stat /nosuch"),
    "a relative path": ("nosuch 10.8.226.50(rw,no_subtree_check)", "Failed to stat nosuch"),
    "a file": ("/etc/passwd 10.8.226.50(rw,no_subtree_check)", "is not a directory"),
    "an unknown option": ("{other} 10.8.226.50(rw,nonsense)", 'unknown keyword "nonsense"'),
    "an unknown default": ("{other} -nonsense 10.8.226.50", 'unknown keyword "nonsense"'),
    "no bracket at the end": ("{other} 10.8.226.50(rw", "bad option list"),
    "no quote at the end": ('"{other} 10.8.226.50(rw)', "No options for"),
    "a wrong user": ("{other} 10.8.226.50(rw,anonuid=x)", "bad anonuid"),
    "a wrong fsid": ("{other} 10.8.226.50(rw,fsid=x)", "bad fsid"),
    "a wrong flavour": ("{other} 10.8.226.50(rw,sec=x)", "unknown flavor"),
    "a host of no name": ("{other} nosuch.invalid(rw,no_subtree_check)", "Failed to resolve"),
    "no address": ("{other} 10.8.226.999(rw,no_subtree_check)", "Failed to resolve"),
    "no network": ("{other} 10.8.0.0/99(rw,no_subtree_check)", "Invalid prefix"),
    "twice": ("{other} 10.1.1.1(rw,no_subtree_check) 10.1.1.1(ro,no_subtree_check)", "duplicated"),
    "a directory in place of a client": ("{other} {ours}(rw,no_subtree_check)", "Invalid IP"),
    "a netgroup": ("{other} @nosuch(rw)", "subtree_check"),
    "any client": ("{other} *(rw)", "subtree_check"),
    "an IPv6 network": ("{other} fd00::/64(rw)", "subtree_check"),
    "a bracketed address": ("{other} [fd00::1](rw)", ""),
    "a carriage return": ("{other} 10.8.226.50(rw)\r", ""),
    "a merge conflict": ("<<<<<<< HEAD", "No options for"),
    "a byte that is no text": ("/nosuch\udce9 10.8.226.50(ro,no_subtree_check)", "Failed to stat"),
}


@pytest.fixture
def write(tmp_path) -> Iterator[Callable[[pathlib.Path, str], None]]:
    """Return a function that writes exports of an admin; they are gone after the test."""
    other = tmp_path / "other"
    other.mkdir()

    def write(file: pathlib.Path, line: str) -> None:
        ours = tmp_path / "diskless/tiny/snapshot/node003"
        text = f"{line.replace('{other}', str(other)).replace('{ours}', str(ours))}\n"
        file.write_text(text, encoding="utf-8", errors="surrogateescape")

    yield write
    ETC.write_text("")
    for file in (OTHER, LATER):
        with contextlib.suppress(OSError):
            file.unlink()
    EXPORTS.unlink(missing_ok=True)
    subprocess.run(["exportfs", "-r"], check=True)


@pytest.mark.parametrize("name", LINES)
def test_a_line_of_others_is_named_and_refuses_nothing(salt_call, pillar, location, write, name):
    line, file = LINES[name], (ETC, OTHER, LATER)[[*LINES].index(name) % 3]
    write(file, line[0])
    ret = salt_call(pillar).state("diskless_nfs.managed")
    assert ret.result is True, ret.comment
    assert line[1] in "\n".join(ret.warnings)
    assert salt_call(pillar).modules["diskless_nfs.list"](ask=False, full=True)["drift"] == {}
    ret = salt_call(pillar).state("diskless_nfs.managed")
    assert (ret.result, ret.changes) == (True, {})
    ret = salt_call(pillar).state("diskless_nfs.absent")
    assert ret.result is True, ret.comment
    assert line[1] in "\n".join(ret.warnings)
    assert not EXPORTS.exists()
    assert "snapshot" not in pathlib.Path(nfs.TABLE).read_text(errors="replace")


@pytest.mark.parametrize("file", [ETC, OTHER, LATER], ids=["exports", "before ours", "after ours"])
@pytest.mark.parametrize("name", ["no subtree option", "no directory", "an unknown option"])
def test_a_node_is_added_and_removed_beside_it(salt_call, served, write, file, name):
    line, says = LINES[name]
    write(file, line)
    call = salt_call(served).modules
    # exportfs itself has to read the files, as it has where no such export is in the table yet.
    pathlib.Path(nfs.TABLE).write_text("")
    assert says in "\n".join(call["diskless_node.add"]({"node004": NEW})["warnings"])
    assert "10.77.0.50" in {export.client for export in nfs.table()}
    text = EXPORTS.read_bytes()
    EXPORTS.write_bytes(b"".join(row for row in text.splitlines(True) if b"/node004 " not in row))
    said = call["diskless_node.remove"]("node004")
    assert says in "\n".join(said["warnings"]) and said["removed"] == {"nodes": "node004"}
    assert not [export for export in nfs.table() if export.path.endswith("/node004")]


@pytest.mark.parametrize("form", ["{}/", "{}/../node003", "{}/../../../link/snapshot/node003"])
def test_another_name_of_our_directory_is_found(salt_call, pillar, location, write, tmp_path, form):
    """exportfs takes the real path."""
    salt_call(pillar).state("diskless_nfs.managed")
    (tmp_path / "diskless/link").symlink_to(location)
    path = form.format(f"{location}/snapshot/node003")
    write(OTHER, f"{path} 10.77.0.73(ro,no_subtree_check)")
    del pillar["nodes"]["node[001-002]"]
    ret = salt_call(pillar).state("diskless_nfs.managed")
    assert ret.result is False
    assert f"{OTHER}: found {location}/snapshot/node003, with other options" in ret.comment


@pytest.mark.parametrize("file", [ETC, OTHER], ids=["exports", "before ours"])
def test_another_line_for_our_directory_and_client_is_named(
    salt_call, pillar, location, write, file, testmode
):
    """exportfs takes the first line, so that a node would have its snapshot read-only."""
    salt_call(pillar).state("diskless_nfs.managed")
    before = EXPORTS.read_bytes()
    write(file, f"{location}/snapshot/node003 10.77.0.73(ro,no_subtree_check)")
    del pillar["nodes"]["node[001-002]"]
    ret = salt_call(pillar, test=testmode).state("diskless_nfs.managed")
    assert (ret.result is None) is testmode
    if not testmode:
        assert ret.result is False
        assert f"{file}: found {location}/snapshot/node003, with other options" in ret.comment
        assert EXPORTS.read_bytes() == before


def test_such_a_line_after_ours_changes_nothing(salt_call, pillar, location, write):
    write(LATER, f"{location}/snapshot/node003 10.77.0.73(ro,no_subtree_check)")
    ret = salt_call(pillar).state("diskless_nfs.managed")
    assert ret.result is True, ret.comment
    assert "duplicated export entries" in "\n".join(ret.warnings)
    assert salt_call(pillar).state("diskless_nfs.managed").changes == {}


def test_our_directory_exported_to_others_is_theirs(salt_call, pillar, location, write):
    write(OTHER, f'"{location}/snapshot/node003/" 10.1.1.1(ro,no_subtree_check)')
    ret = salt_call(pillar).state("diskless_nfs.managed")
    assert ret.result is True, ret.comment
    assert exported(location)["/snapshot/node003"] == {"10.77.0.73", "10.1.1.1"}
    assert salt_call(pillar).state("diskless_nfs.managed").changes == {}


def test_what_is_wrong_with_our_own_lines_is_refused(salt_call, served, write, monkeypatch):
    """Beside somebody else's error, too; the file and the table are as they were."""
    write(ETC, "/nosuch 10.8.226.50(rw,no_subtree_check)")
    try:
        before, table = EXPORTS.read_bytes(), {*nfs.table()}
        monkeypatch.setattr("salt_diskless.boot.exports.SNAPSHOT_OPTIONS", "rw,nonsense_option")
        with pytest.raises(CommandExecutionError, match="nonsense_option"):
            salt_call(served).modules["diskless_node.add"]({"node004": NEW})
        assert EXPORTS.read_bytes() == before
        assert {one for one in nfs.table() if one.path != "/nosuch"} == table
        assert "node004" not in pathlib.Path(served["lookup"]["dhcp_config"]).read_text()
    finally:
        monkeypatch.undo()
    assert apply(salt_call, served) == {}


FILE = "/etc/exports.d/diskless.exports"
PATH = "/diskless/x/snapshot/node1"


@pytest.mark.parametrize(
    ("text", "is_own"),
    [
        (f'{FILE}:3: unknown keyword "x"', True),
        (f'{FILE}: 3: bad fsid "fsid=x"', True),
        (f"{FILE} [3]: Neither 'subtree_check' or ... for export \"10.1.1.1:/x\".", True),
        (f"can't open {FILE} for reading", True),
        (f"Failed to stat {PATH}: No such file or directory", True),
        (f"{PATH} does not support NFS export", True),
        (f"{PATH} requires fsid= for NFS export", True),
        (f"{PATH} is not a directory. Remote access will fail", True),
        (f"Failed to stat {PATH}0: No such file or directory", False),
        (f"\t10.1.1.1:{PATH} (0x420) [IGNORED]", False),
        (f"No options for {PATH} 10.1.1.1: suggest 10.1.1.1(sync) to avoid warning", False),
        (f'{FILE}.exports:3: unknown keyword "x"', False),
        ("/etc/exports:3: syntax error", False),
        ("unknown flavor x", False),
    ],
)
def test_each_message_of_exportfs_is_somebodys(text, is_own):
    found = exportfs.sort(f"exportfs: {text}\n  a line more\n\n", FILE, {PATH})
    assert (bool(found.own), bool(found.others)) == (is_own, not is_own)

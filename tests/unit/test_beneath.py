"""No path below a tree leads out of it, whatever links are in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import tempfile
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salt_diskless.disk import exchange
from salt_diskless.files.beneath import Tree

#: From openat2(2): the lookup by the kernel that the module's is compared with.
_OPENAT2, _RESOLVE_IN_ROOT, _RESOLVE_NO_MAGICLINKS = 437, 0x10, 0x02


@pytest.fixture
def server(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory of the server that no path of the tree may lead to."""
    outside = tmp_path / "server"
    (outside / "deep").mkdir(parents=True)
    (outside / "file").write_text("the server's")
    return outside


@pytest.fixture
def top(tmp_path: pathlib.Path, server: pathlib.Path) -> pathlib.Path:
    """A tree whose links all lead to the server's directory."""
    tree = tmp_path / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "usr/lib/libc").write_text("libc")
    (tree / "lib").symlink_to("/usr/lib")
    (tree / "lib64").symlink_to("usr/lib")
    (tree / "absolute").symlink_to(server)
    (tree / "relative").symlink_to("../server")
    (tree / "climbing").symlink_to("/../../../../../../.." + str(server))
    (tree / "chained").symlink_to("absolute")
    (tree / "loop").symlink_to("loop")
    return tree


OUT = ("absolute", "relative", "climbing", "chained", "loop")


def state(path: pathlib.Path) -> list[tuple]:
    found = []
    for directory, names, files in os.walk(path):
        for name in (".", *names, *files):
            status = os.lstat(os.path.join(directory, name))
            found.append((directory, name, status.st_mode, status.st_mtime_ns, status.st_uid))
    return found


@pytest.mark.parametrize("name", OUT)
def test_nothing_behind_a_link_out_is_seen(top, name):
    with Tree(str(top)) as tree:
        for path in (f"/{name}/file", f"/{name}/deep"):
            assert tree.status(path) is None and not tree.exists(path)
            assert tree.read(path, 100) is None and tree.names(path) == []
        assert not tree.is_directory(f"/{name}")
        assert tree.link(f"/{name}") is not None


@pytest.mark.parametrize("name", OUT)
def test_nothing_behind_a_link_out_is_changed(top, server, name):
    before = state(server)
    with Tree(str(top)) as tree:
        for change in (
            lambda: tree.chmod(f"/{name}/file", 0o777),
            lambda: tree.chmod(f"/{name}", 0o777),
            lambda: tree.unlink(f"/{name}/file"),
            lambda: tree.rename("/usr/lib/libc", tree, f"/{name}/deep/new"),
            lambda: tree.hard_link("/usr/lib/libc", tree, f"/{name}/deep/new"),
            lambda: tree.symlink("x", f"/{name}/deep/new"),
        ):
            with pytest.raises(OSError):
                change()
        tree.remove(f"/{name}/file")
        tree.remove(f"/{name}/deep")
    assert state(server) == before


@pytest.mark.parametrize("name", OUT[:4])
def test_what_is_written_behind_a_link_stays_in_the_tree(top, server, name):
    before = state(server)
    with Tree(str(top)) as tree:
        tree.write(f"/{name}/deep/new", b"content", 0o600)
        tree.make_directory(f"/{name}/deep/directory", 0o1777)
        assert tree.read(f"/{name}/deep/new", 100) == b"content"
        assert pathlib.Path(tree.full(f"/{name}/deep/new")).read_bytes() == b"content"
        assert tree.full(f"/{name}").startswith(str(top) + "/")
    assert state(server) == before


def test_links_inside_lead_where_a_node_sees_them(top):
    with Tree(str(top)) as tree:
        for path in ("/lib/libc", "/lib64/libc", "/lib/../lib/libc", "/../lib/./libc"):
            assert tree.read(path, 100) == b"libc"
            assert tree.real(path) == "/usr/lib/libc"
        assert tree.names("/lib") == ["libc"]
        assert tree.real("/") == "/" and tree.full("/") == str(top)


def test_a_snapshot_has_no_links_on_the_way(top):
    with Tree(str(top), links=False) as tree:
        assert tree.read("/usr/lib/libc", 100) == b"libc"
        assert tree.read("/lib/libc", 100) is None
        with pytest.raises(OSError, match="symbolic links"):
            tree.write("/lib/libc", b"", 0o600)


def test_removing_takes_links_and_not_their_targets(top, server):
    before = state(server)
    with Tree(str(top)) as tree:
        for name in OUT:
            tree.remove(f"/{name}")
        (top / "usr/out").symlink_to(server)
        tree.remove("/usr")
        tree.remove("/usr")
        assert tree.names() == ["lib", "lib64"]
    assert state(server) == before


def test_devices_and_pipes_are_not_opened(top):
    os.mkfifo(top / "pipe")
    os.mknod(top / "watchdog", 0o600 | 0o020000, os.makedev(10, 130))
    with Tree(str(top)) as tree:
        assert tree.read("/pipe", 1) is None and tree.read("/watchdog", 1) is None


def test_a_walk_finds_each_path_once_and_follows_no_link(top):
    with Tree(str(top)) as tree:
        found = [found.path for found in tree.walk()]
    names = sorted(os.fsencode(f"/{name}") for name in os.listdir(top))
    assert found == [b"", *names, b"/usr/lib", b"/usr/lib/libc"]


def test_a_walk_goes_deeper_than_open_files_allow(top):
    with Tree(str(top)) as tree, Tree("/proc/self/fd") as mine:
        deep = "/usr" + "/d" * 1500
        for _ in range(2):
            tree.make_directory(deep)
        before = len(mine.names())
        assert sum(1 for _ in tree.walk("/usr")) == 1503
        assert len(mine.names()) == before
        tree.remove("/usr")
        assert not (top / "usr").exists()


def test_no_descriptor_stays_open(top):
    with Tree(str(top)) as tree, Tree("/proc/self/fd") as mine:
        before = len(mine.names())
        for name in (*OUT, "lib", "usr", "usr/lib/libc", "lib/../usr/..", "nosuch/below", ""):
            for use in (tree.real, tree.status, tree.exists, tree.names, tree.link):
                with contextlib.suppress(OSError):
                    use(f"/{name}")
            tree.read(f"/{name}", 10)
            list(tree.walk(f"/{name}"))
        assert len(mine.names()) == before


def test_a_directory_that_becomes_a_link_while_it_is_walked(top, server):
    """A node changes its snapshot while the server walks it."""
    (top / "flip").mkdir()
    (top / "flip/file").write_text("the node's")
    (top / "link").symlink_to(server)
    before = state(server)
    ends = threading.Event()

    def flip() -> None:
        while not ends.is_set():
            exchange(os.fsencode(top / "flip"), os.fsencode(top / "link"))

    thread = threading.Thread(target=flip)
    thread.start()
    written = refused = 0
    try:
        with Tree(str(top), links=False) as tree:
            while not (written > 20 and refused > 20):
                paths = {found.path for found in tree.walk()}
                assert b"/flip/deep" not in paths and b"/link/deep" not in paths
                assert tree.read("/flip/file", 100) in (None, b"the node's")
                tree.remove("/flip/deep")
                try:
                    tree.write("/flip/new", b"x", 0o600)
                    written += 1
                except OSError:
                    refused += 1
    finally:
        ends.set()
        thread.join()
    assert state(server) == before


def by_kernel(top: str, path: str) -> str | None:
    """Return where the kernel has a path lead to, with the tree as the root."""
    libc = ctypes.CDLL(None, use_errno=True)
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    root = os.open(top, os.O_PATH | os.O_DIRECTORY)
    try:
        descriptor = libc.syscall(_OPENAT2, root, path.encode(), ctypes.byref(how), 24)
    finally:
        os.close(root)
    if descriptor < 0:
        return None
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(top) or "/"
    finally:
        os.close(descriptor)


PART = st.sampled_from(["a", "b", "c", "..", "."])
PATH = st.lists(PART, max_size=5).map("/".join)
LINKED = st.tuples(st.sampled_from(["", "/"]), PATH).map("".join).filter(bool)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(PATH, st.none() | LINKED), max_size=10), st.lists(PATH, min_size=3))
def test_a_lookup_ends_where_the_kernels_ends(entries, paths):
    """Links to anywhere, chained and in circles, are looked up as chroot(2) does."""
    with tempfile.TemporaryDirectory() as directory:
        top = f"{directory}/tree"
        os.mkdir(top)
        with Tree(top) as tree:
            for path, target in entries:
                try:
                    if target is None:
                        tree.make_directory(f"/{path}")
                    else:
                        tree.symlink(target, f"/{path}")
                except OSError:
                    continue
            assert os.listdir(directory) == ["tree"]
            for path in paths:
                expected = by_kernel(top, f"/{path}")
                assert tree.exists(f"/{path}") is (expected is not None)
                if expected is not None:
                    assert tree.real(f"/{path}") == expected

"""What a kernel has, read from the lists that depmod and its package put beside its modules."""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.image import modules

DEP = """\
kernel/fs/nfs/nfs.ko: kernel/fs/lockd/lockd.ko kernel/net/sunrpc/sunrpc.ko
kernel/fs/nfs/nfsv3.ko.xz: kernel/fs/nfs/nfs.ko
kernel/drivers/net/virtio-net.ko.zst:
extra/my_driver.ko.gz:
/abs/path/odd.ko:
kernel/odd.ko.bz2:
kernel/README:
"""


def test_modules_of_their_own_and_parts_of_the_kernel(tmp_path: pathlib.Path):
    (tmp_path / "modules.dep").write_text(DEP)
    (tmp_path / "modules.builtin").write_text("kernel/fs/nfs/nfsv4.ko\nkernel/net/af-packet.ko\n")
    found = modules.of(str(tmp_path))
    assert found.loadable == {"nfs", "nfsv3", "virtio_net", "my_driver", "odd"}
    assert found.builtin == {"nfsv4", "af_packet"}
    for name in ("nfs", "nfsv4", "virtio_net"):
        assert name in found
    # What another one needs is not what there is.
    assert "lockd" not in found


def test_a_kernel_with_nothing_built_in_need_not_say_so(tmp_path: pathlib.Path):
    (tmp_path / "modules.dep").touch()
    assert modules.of(str(tmp_path)) == modules.Modules(frozenset(), frozenset())


def test_without_its_list_nobody_knows_what_a_kernel_has(tmp_path: pathlib.Path):
    (tmp_path / "modules.builtin").write_text("kernel/fs/nfs/nfs.ko\n")
    with pytest.raises(FileNotFoundError):
        modules.of(str(tmp_path))


@given(
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True),
    st.sampled_from(["", ".gz", ".xz", ".zst"]),
    st.sampled_from(["", "kernel/", "lib/modules/6.1/kernel/net/"]),
)
def test_a_name_is_what_stands_before_its_ending(name, compressed, above):
    path = f"{above}{name}.ko{compressed}\n"
    assert modules.names([path, "kernel", ""]) == {name.replace("-", "_")}

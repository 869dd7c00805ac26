"""Kernels: the newest, or those that image, profile and nodes name, if they have what it takes."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest
from salt.exceptions import CommandExecutionError

from tests.conftest import put_kernel
from tests.functional.conftest import root

OLD, NEW = "6.1.0-9-test", "6.1.0-10-test"
NFS = "kernel/fs/nfs/nfs.ko:\nkernel/fs/nfs/nfsv3.ko:\nkernel/fs/nfs/nfsv4.ko:\n"


@pytest.fixture
def tftp(pillar) -> pathlib.Path:
    return pathlib.Path(pillar["lookup"]["tftp_root"]) / "linux-install"


@pytest.fixture
def both(golden) -> None:
    """The golden root has a newer kernel too."""
    put_kernel(golden, NEW)


def applied(salt_call, pillar, test: bool = False):
    """Sync, then write the loader's files, as state.apply does; return both results."""
    call = salt_call(pillar, test=test)
    return call.state("diskless_image.synced"), call.state("diskless_tftp.managed")


def served(tftp: pathlib.Path) -> list[str]:
    """Return the files of all the image's versions in the TFTP root."""
    found = (path for path in tftp.glob("tiny/2*/**/*") if path.is_file())
    return sorted(str(path.relative_to(tftp / "tiny")) for path in found)


def loader_line(tftp: pathlib.Path, name: str) -> str:
    """Return the directory that a node's kernel and initramfs come from."""
    words = (tftp / "pxelinux.cfg" / name).read_text().split()
    kernel = words[words.index("kernel") + 1]
    assert f"initrd={kernel.removesuffix('vmlinuz')}initrd.img" in words
    return kernel.removesuffix("/vmlinuz")


@pytest.mark.parametrize("release", [NEW, OLD])
def test_the_newest_kernel_or_the_one_that_the_image_names(
    salt_call, pillar, location, tftp, both, release
):
    if release == OLD:
        pillar["images"]["tiny"]["kernel"] = OLD
    synced, _ = applied(salt_call, pillar)
    modules = salt_call(pillar).modules
    assert modules["diskless_image.list"]()["tiny"]["kernel"] == release
    assert ("Kernel not specified, using" in synced.comment) is (release == NEW)
    version = root(location).name
    assert served(tftp) == [f"{version}/initrd.img", f"{version}/vmlinuz"]
    assert (tftp / f"tiny/{version}/vmlinuz").read_text() == f"kernel {release}"
    found = modules["diskless_image.kernels"]("tiny")
    assert list(found) == [NEW, OLD]
    assert found[release] == {"served": True, "nodes": "node[001-003]"}
    assert found[OLD if release == NEW else NEW] == {"served": False, "nodes": ""}


def test_an_image_that_names_no_kernel_any_more_gets_the_newest(salt_call, pillar, location, both):
    pillar["images"]["tiny"]["kernel"] = OLD
    salt_call(pillar).state("diskless_image.synced")
    del pillar["images"]["tiny"]["kernel"]
    ret = salt_call(pillar, test=True).state("diskless_image.synced")
    assert ret.comment == f"tiny: kernel {NEW} is wanted"
    assert salt_call(pillar).state("diskless_image.synced").changes
    assert salt_call(pillar).modules["diskless_image.list"]()["tiny"]["kernel"] == NEW
    assert salt_call(pillar).state("diskless_image.synced").changes == {}


def test_a_node_that_names_an_older_kernel_boots_that_one_with_its_own_initramfs(
    salt_call, pillar, location, tftp, both
):
    pillar["nodes"]["node003"]["kernel"] = OLD
    for result in applied(salt_call, pillar):
        assert result.result is True, result.comment
    version = root(location).name
    place = tftp / f"tiny/{version}"
    for directory, release in ((place, NEW), (place / OLD, OLD)):
        assert (directory / "vmlinuz").read_text() == f"kernel {release}"
        assert f"{release} drivers: nfs nfsv3\n" in (directory / "initrd.img").read_text()
        assert directory.stat().st_mode & 0o777 == 0o755
        for name in ("vmlinuz", "initrd.img"):
            assert (directory / name).stat().st_mode & 0o777 == 0o644
    assert loader_line(tftp, "0A4D0049") == f"tiny/{version}/{OLD}"
    assert loader_line(tftp, "0A4D000B") == f"tiny/{version}"
    modules = salt_call(pillar).modules
    assert modules["diskless_image.kernels"]("tiny") == {
        NEW: {"served": True, "nodes": "node[001-002]"},
        OLD: {"served": True, "nodes": "node003"},
    }
    shown = modules["diskless_image.show"]("tiny")
    assert shown["kernel"] == NEW
    assert shown["kernels"] == {one: ["nfs", "nfsv3", "nfsv4"] for one in (NEW, OLD)}
    files = {
        file["node"]: file["kernel"] for file in modules["diskless_tftp.list"](full=True).values()
    }
    assert files == {"node001": None, "node002": None, "node003": OLD}
    assert [ret.changes for ret in applied(salt_call, pillar)] == [{}, {}]


def test_a_node_that_names_the_images_own_kernel_boots_it_from_where_the_others_do(
    salt_call, pillar, location, tftp, both
):
    pillar["nodes"]["node003"]["kernel"] = NEW
    applied(salt_call, pillar)
    assert loader_line(tftp, "0A4D0049") == f"tiny/{root(location).name}"
    assert not (tftp / f"tiny/{root(location).name}/{NEW}").exists()


def test_a_node_can_name_a_newer_kernel_than_the_images_own_which_is_shown_first(
    salt_call, pillar, location, tftp, both
):
    pillar["images"]["tiny"]["kernel"] = OLD
    pillar["nodes"]["node003"]["kernel"] = NEW
    synced, _ = applied(salt_call, pillar)
    assert f"Kernel {OLD}, as the pillar says; for nodes that name it also {NEW}" in synced.comment
    assert loader_line(tftp, "0A4D0049") == f"tiny/{root(location).name}/{NEW}"
    assert loader_line(tftp, "0A4D000B") == f"tiny/{root(location).name}"
    assert list(salt_call(pillar).modules["diskless_image.show"]("tiny")["kernels"]) == [OLD, NEW]


def test_a_profiles_kernel_is_served_and_a_name_that_goes_takes_its_files_along(
    salt_call, pillar, location, tftp, both
):
    pillar["profiles"]["compute"]["kernel"] = OLD
    applied(salt_call, pillar)
    version = root(location).name
    assert loader_line(tftp, "0A4D000B") == f"tiny/{version}/{OLD}"
    assert len(served(tftp)) == 4
    del pillar["profiles"]["compute"]["kernel"]
    synced, managed = applied(salt_call, pillar)
    assert synced.changes == {}
    assert managed.changes["removed"]["files"] == [
        str(tftp / f"tiny/{version}/{OLD}/{name}") for name in ("initrd.img", "vmlinuz")
    ]
    assert loader_line(tftp, "0A4D000B") == f"tiny/{version}"
    assert sorted(path.name for path in (tftp / f"tiny/{version}").iterdir()) == [
        "initrd.img",
        "vmlinuz",
    ]
    pillar["profiles"]["compute"]["kernel"] = OLD
    synced, managed = applied(salt_call, pillar)
    assert (synced.changes, root(location).name) == ({}, version)
    salt_call(pillar).state("diskless_tftp.absent")
    assert not (tftp / "tiny").exists()


def test_a_kernel_or_driver_that_a_node_names_later_makes_one_new_version(
    salt_call, pillar, location, golden
):
    put_kernel(golden, NEW, NFS + "kernel/net/virtio-net.ko.zst: kernel/net/failover.ko\n")
    salt_call(pillar).state("diskless_image.synced")
    seen = [root(location).name]
    for change, why in (
        ({"kernel": OLD}, f"kernel {OLD} is wanted"),
        ({"kernel": NEW, "drivers": ["virtio-net"]}, f"kernel {NEW} with virtio_net is wanted"),
    ):
        pillar["nodes"]["node003"].update(change)
        ret = salt_call(pillar, test=True).state("diskless_image.synced")
        assert (ret.result, ret.comment) == (None, f"tiny: {why}")
        assert salt_call(pillar).state("diskless_image.synced").changes["tiny"]["old"] == seen[-1]
        seen.append(root(location).name)
        assert salt_call(pillar).state("diskless_image.synced").changes == {}
    initrd = root(location) / f"boot/initrd.img-{NEW}-diskless"
    assert initrd.read_text().endswith("drivers: nfs nfsv3 nfsv4 virtio_net\n")
    # Less is served by the same version, and so is NFS of another version that the kernel has.
    for key in ("kernel", "drivers", "nfs"):
        del pillar["nodes"]["node003"][key]
        assert salt_call(pillar).state("diskless_image.synced").changes == {}
    pillar["profiles"]["compute"]["nfs"] = "4.2"
    assert salt_call(pillar).state("diskless_image.synced").changes == {}
    assert len(list((location / "versions").iterdir())) == 3


DRIVER = "; name a kernel that has it, or install one in the golden root"


@pytest.mark.parametrize(
    ("change", "modules", "says"),
    [
        (
            {"kernel": "9.9"},
            NFS,
            f"diskless:nodes:node003:kernel: found 9.9; the image tiny has: {NEW}, {OLD}",
        ),
        (
            {},
            "kernel/fs/nfs/nfsv4.ko:\nkernel/fs/nfs/nfsv3.ko:\n",
            f"diskless:images:tiny:kernel: found {NEW}; it has no module nfs, by which nodes have "
            f"their root{DRIVER}",
        ),
        (
            {},
            "kernel/fs/nfs/nfs.ko:\nkernel/fs/nfs/nfsv4.ko:\n",
            f"diskless:nodes:node[001-003]:nfs: found 3; kernel {NEW} of the image tiny has no "
            f"module nfsv3{DRIVER}",
        ),
        (
            {"nfs": "4.2"},
            "kernel/fs/nfs/nfs.ko:\nkernel/fs/nfs/nfsv3.ko:\n",
            f"diskless:nodes:node003:nfs: found 4.2; kernel {NEW} of the image tiny has no module "
            f"nfsv4{DRIVER}",
        ),
        (
            {"drivers": ["virtio_net", "virtoi_net"]},
            NFS + "kernel/net/virtio_net.ko:\n",
            f"diskless:nodes:node003:drivers: found virtoi_net; kernel {NEW} of the image tiny has "
            f"no module virtoi_net (did you mean virtio_net?){DRIVER}",
        ),
        (
            {"drivers": ["mlx5-core"], "kernel": OLD},
            NFS,
            f"diskless:nodes:node003:drivers: found mlx5_core; kernel {OLD} of the image tiny has "
            f"no module mlx5_core{DRIVER}",
        ),
        (
            {},
            None,
            f"diskless:images:tiny: found no /lib/modules/{NEW}/modules.dep, which says what "
            f"kernel {NEW} has; run depmod {NEW} in the golden root",
        ),
    ],
    ids=["no kernel", "no nfs", "no nfsv3", "no nfsv4", "no driver", "of another", "no depmod"],
)
def test_a_kernel_that_lacks_what_its_nodes_need_is_refused_and_what_is_published_stays(
    salt_call, pillar, location, golden, change, modules, says
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    put_kernel(golden, NEW, modules or "", builtin="")
    if modules is None:
        (golden / f"lib/modules/{NEW}/modules.dep").unlink()
    pillar["nodes"]["node003"].update(change)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert (ret.result, ret.comment) == (False, says)
    assert root(location) == before
    assert list((location / "versions").iterdir()) == [before]


def test_all_that_is_lacking_is_said_at_once(salt_call, pillar, golden):
    put_kernel(golden, NEW, "", builtin="")
    pillar["profiles"]["compute"]["drivers"] = ["e1000e"]
    pillar["nodes"]["node003"]["kernel"] = "9.9"
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    paths = [line.split(": ")[0] for line in ret.comment.splitlines()]
    assert paths == [
        "diskless:images:tiny:kernel",
        "diskless:nodes:node[001-002]:nfs",
        "diskless:nodes:node[001-002]:drivers",
        "diskless:nodes:node003:kernel",
    ]


def test_a_module_that_is_built_in_counts_and_need_not_be_in_the_initramfs(
    salt_call, pillar, location, golden
):
    names = ("nfs/nfs", "nfs/nfsv3", "nfs/nfsv4", "net/virtio_net")
    put_kernel(golden, NEW, "", "".join(f"kernel/{name}.ko\n" for name in names))
    lister = golden / "usr/bin/lsinitramfs"
    lister.write_text("#!/bin/sh\necho usr/lib/modules/x/kernel/other.ko.zst\n")
    lister.chmod(0o755)
    pillar["profiles"]["compute"]["drivers"] = ["virtio-net"]
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    initrd = root(location) / f"boot/initrd.img-{NEW}-diskless"
    assert initrd.read_text().endswith("drivers:\n")


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "a hook leaves it out"])
def test_an_initramfs_that_lacks_a_driver_is_refused(salt_call, pillar, location, golden, whole):
    put_kernel(golden, NEW, NFS + "kernel/net/virtio_net.ko:\n", builtin="")
    lister = golden / "usr/bin/lsinitramfs"
    held = ["nfs.ko.zst", "nfsv3.ko.zst", "nfsv4.ko.zst", *(["virtio-net.ko.zst"] if whole else [])]
    lister.write_text("#!/bin/sh\n" + "".join(f"echo lib/modules/x/{name}\n" for name in held))
    lister.chmod(0o755)
    pillar["profiles"]["compute"]["drivers"] = ["virtio_net"]
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is whole, ret.comment
    assert (location / "root").exists() is whole
    if not whole:
        assert f"the initramfs of {NEW} was built without virtio_net" in ret.comment


def test_an_initramfs_of_one_kernel_that_fails_publishes_none(
    salt_call, pillar, location, golden, both
):
    pillar["nodes"]["node003"]["kernel"] = OLD
    script = golden / "usr/sbin/mkinitramfs"
    script.write_text(script.read_text() + f'case " $* " in *" {OLD} "*) exit 1 ;; esac\n')
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert f"the initramfs of {OLD} was not built" in ret.comment
    assert not (location / "root").exists()


def test_test_mode_foretells_a_nodes_kernel_and_touches_nothing(
    salt_call, pillar, tftp, both, listing
):
    pillar["nodes"]["node003"]["kernel"] = OLD
    for turn in ("first", "later"):
        before = listing()
        synced, managed = applied(salt_call, pillar, test=True)
        assert (synced.result, managed.result) == (None, None), managed.comment
        files = managed.changes["added"]["files"]
        expected = {f"{tftp}/tiny/next/vmlinuz", f"{tftp}/tiny/next/{OLD}/initrd.img"}
        assert expected <= {*files}
        nodes = managed.changes["added" if turn == "first" else "changed"]["nodes"]
        assert nodes == "node[001-003]"
        text = salt_call(pillar).modules["diskless_tftp.render"] if turn == "first" else None
        assert text is None or f"tiny/next/{OLD}/vmlinuz" in "".join(text("node003").values())
        assert listing() == before
        del pillar["nodes"]["node003"]["kernel"]
        applied(salt_call, pillar)
        pillar["nodes"]["node003"]["kernel"] = OLD


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "not synced"])
def test_a_kernel_that_the_booted_version_does_not_serve_is_refused_before_anything_is_written(
    salt_call, pillar, location, both, listing, pinned
):
    applied(salt_call, pillar)
    version = root(location).name
    pillar["nodes"]["node[001-002]"]["kernel"] = OLD
    if pinned:
        pillar["nodes"]["node[001-002]"]["version"] = version
        assert salt_call(pillar).state("diskless_image.synced").changes == {}
    before = listing()
    for test in (True, False):
        ret = salt_call(pillar, test=test).state("diskless_tftp.managed")
        assert ret.result is False
        assert ret.comment == (
            f"diskless:nodes:node[001-002]:kernel: found {OLD}; version {version} of the image "
            f"tiny serves: {NEW}; name one of these, or "
            + ("leave version out" if pinned else "sync or publish a version that serves it")
        )
    assert listing() == before


def test_a_pinned_nodes_kernel_comes_from_its_version_and_is_not_asked_of_the_next(
    salt_call, pillar, location, golden, tftp, both
):
    pillar["nodes"]["node003"]["kernel"] = OLD
    applied(salt_call, pillar)
    first = root(location).name
    pillar["nodes"]["node003"]["version"] = first
    (golden / f"boot/vmlinuz-{OLD}").unlink()
    shutil.rmtree(golden / f"lib/modules/{OLD}")
    for result in applied(salt_call, pillar):
        assert result.result is True, result.comment
    assert root(location).name != first
    assert loader_line(tftp, "0A4D0049") == f"tiny/{first}/{OLD}"
    assert len(served(tftp)) == 6


def test_a_version_that_does_not_serve_a_nodes_kernel_is_not_published(
    salt_call, pillar, location, both, listing
):
    applied(salt_call, pillar)
    first = root(location).name
    pillar["nodes"]["node003"]["kernel"] = OLD
    applied(salt_call, pillar)
    before = listing()
    for name, arguments in (("rollback", ["tiny"]), ("publish", ["tiny", first])):
        with pytest.raises(CommandExecutionError, match=f"node003:kernel: found {OLD}; version"):
            salt_call(pillar).modules[f"diskless_image.{name}"](*arguments)
    assert listing() == before


@pytest.mark.parametrize("linked", ["boot", "lib/modules", f"lib/modules/{OLD}"])
def test_a_kernel_that_a_link_takes_from_the_server_is_none_of_the_images(
    salt_call, pillar, location, golden, tmp_path, linked
):
    (golden / linked).rename(tmp_path / "outside")
    (golden / linked).symlink_to(tmp_path / "outside")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "found no kernel with its modules in the golden root" in ret.comment
    assert not (location / "root").exists()


@pytest.mark.parametrize("kernels", [{}, [], {OLD: {}}, {OLD: []}])
def test_metadata_that_does_not_say_which_kernels_there_are_is_refused(
    salt_call, pillar, location, kernels
):
    salt_call(pillar).state("diskless_image.synced")
    path = location / f"metadata/{root(location).name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kernels": kernels}))
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert ret.comment.startswith(f"{path}: cannot be read as metadata")


def test_a_flavour_is_taken_by_name_only(salt_call, pillar, location, tftp, both, golden):
    put_kernel(golden, f"{NEW}+debug")
    synced, _ = applied(salt_call, pillar)
    assert f"using {NEW} (only by name: {NEW}+debug)" in synced.comment
    assert salt_call(pillar).modules["diskless_image.list"]()["tiny"]["kernel"] == NEW


def test_several_flavours_without_an_ordinary_kernel_are_refused(salt_call, pillar, golden):
    (golden / f"boot/vmlinuz-{OLD}").unlink()
    put_kernel(golden, f"{NEW}-rt")
    put_kernel(golden, f"{NEW}-xen")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert "diskless:images:tiny:kernel: found nothing, and kernels of several" in ret.comment


@pytest.mark.parametrize(
    ("ordinary", "variant"),
    [
        ("5.14.0-427.el9.x86_64", "5.14.0-427.el9.x86_64+debug"),
        ("5.14.0-427.el9.x86_64", "5.14.0-427.el9.x86_64+rt"),
        ("5.14.0-427.el9.aarch64", "5.14.0-427.el9.aarch64+64k"),
        ("6.1.0-28-amd64", "6.1.0-29-rt-amd64"),
        ("6.1.0-28-amd64", "6.1.0-28-cloud-amd64"),
        ("6.4.0-150600.23-default", "6.4.0-150600.23-preempt"),
        ("6.4.0-150600.23-default", "6.4.0-150600.23-kvmsmall"),
        ("6.8.0-45-generic", "6.8.0-46-lowlatency"),
        ("6.8.0-45-generic", "6.8.0-1015-azure"),
        ("5.14.0-427.el9.x86_64", "6.11.0-1.el9.elrepo.x86_64"),
    ],
)
def test_a_variant_is_taken_only_by_its_name(
    salt_call, pillar, location, golden, ordinary, variant
):
    halve(golden, OLD, "modules")
    halve(golden, OLD, "kernel")
    put_kernel(golden, ordinary)
    put_kernel(golden, variant)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert f"using {ordinary} (only by name: {variant})" in ret.comment
    pillar["images"]["tiny"]["kernel"] = variant
    assert salt_call(pillar).state("diskless_image.synced").changes
    metadata = json.loads((location / f"metadata/{root(location).name}.json").read_text())
    assert metadata["kernel"] == variant


def halve(golden: pathlib.Path, release: str, half: str) -> None:
    """Take the modules or the kernel of a release away."""
    if half == "modules":
        shutil.rmtree(golden / f"lib/modules/{release}")
    else:
        (golden / f"boot/vmlinuz-{release}").unlink()


@pytest.mark.parametrize("half", ["modules", "kernel"])
@pytest.mark.parametrize("variant", ["+debug", "-rt", "+64k", "-cloud"])
def test_a_variant_does_not_replace_half_a_kernel(salt_call, pillar, golden, half, variant):
    ordinary = "6.1.0-11-test"
    put_kernel(golden, ordinary)
    halve(golden, ordinary, half)
    halve(golden, OLD, half)
    put_kernel(golden, ordinary + variant)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert f"{ordinary} in the golden root lacks" in ret.comment
    assert (
        f"kernels of other flavours are complete: {ordinary}{variant}; install all of {ordinary}"
        in ret.comment
    )
    pillar["images"]["tiny"]["kernel"] = ordinary + variant
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment


@pytest.mark.parametrize("half", ["modules", "kernel"])
def test_half_a_newer_kernel_is_named(salt_call, pillar, golden, both, half):
    halve(golden, NEW, half)
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True and f"using {OLD} (not {NEW}, which lacks" in ret.comment


def test_a_root_with_half_a_kernel_only_says_what_it_lacks(salt_call, pillar, golden):
    halve(golden, OLD, "modules")
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert f"{OLD} lacks its modules in /lib/modules/{OLD}; install one there" in ret.comment

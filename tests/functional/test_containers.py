"""Images of Docker and OCI as sources: skopeo and umoci really read them."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator

import pytest

from salt_diskless import command
from tests.functional.conftest import root
from tests.functional.containers import docker_archive, layer, oci_archive, oci_layout

pytestmark = pytest.mark.any_salt

WAYS = [
    *("docker", "docker.gz", "docker.xz", "docker.zst", "oci", "oci.gz", "oci.zst", "oci zstd"),
    *("oci plain", "layout"),
]


def write(way: str, place: pathlib.Path, images) -> pathlib.Path:
    """Write images in one of the :data:`WAYS`, anew, and return what the pillar names."""
    kind, _, compression = way.partition(" ")
    path = place / f"image.{kind.replace('.', '.tar.')}" if kind != "layout" else place / "layout"
    shutil.rmtree(path, ignore_errors=True)
    if kind.startswith("docker"):
        docker_archive(path, images)
    elif kind == "layout":
        oci_layout(path, images)
    else:
        oci_archive(path, images, {"": "gzip", "plain": ""}.get(compression, compression))
    return path


@pytest.fixture
def layers(golden: pathlib.Path, tmp_path: pathlib.Path) -> list[pathlib.Path]:
    """The golden root, and a second layer that takes some of it away, and puts a file anew."""
    for name in ("gone", "emptied/old", "emptied/below/old", "kept/old", "link/x"):
        (golden / "srv" / name).parent.mkdir(parents=True, exist_ok=True)
        (golden / "srv" / name).write_text(name)
    (golden / "etc/motd").write_text("first\n")
    above = tmp_path / "above"
    for name in (".wh.gone", "emptied/.wh..wh..opq", "emptied/new", "kept/new", ".wh.link"):
        (above / "srv" / name).parent.mkdir(parents=True, exist_ok=True)
        (above / "srv" / name).write_text("")
    (above / "etc").mkdir()
    (above / "etc/motd").write_text("second\n")
    return [layer(golden), layer(above)]


@pytest.fixture
def caches() -> Iterator[str]:
    """Where skopeo keeps what it knows of blobs, empty."""
    place = "/var/lib/containers"
    os.makedirs(place, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def left_beside(location: pathlib.Path) -> list[str]:
    return sorted(path.name for path in location.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("way", WAYS)
def test_an_image_is_unpacked_layer_by_layer_with_its_whiteouts(
    salt_call, pillar, location, golden, layers, tmp_path, way, testmode, listing, caches
):
    path = write(way, tmp_path, [(layers, ["compute:1"])])
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_image.synced")
    assert (ret.result is None) is testmode, ret.comment
    assert (listing() == before) is testmode
    if testmode:
        return
    assert f"from {path}" in ret.comment
    tree = root(location)
    below = {str(path.relative_to(tree / "srv")) for path in (tree / "srv").rglob("*")}
    assert below == {"emptied", "emptied/new", "kept", "kept/old", "kept/new"}
    assert (tree / "etc/motd").read_text() == "second\n"
    assert (tree / "etc/passwd").read_bytes() == (golden / "etc/passwd").read_bytes()
    assert not list(tree.rglob(".wh.*"))
    assert left_beside(location) == [".lock"] and os.listdir(caches) == []
    # As long as it is the same image nobody looks into it; and one that is looked into is the same.
    for test in (True, False):
        ret = salt_call(pillar, test=test).state("diskless_image.synced")
        assert (ret.result, ret.changes) == (True, {}), ret.comment
    done = salt_call(pillar).modules["diskless_image.sync"](again=True)
    assert done["tiny"]["changed"] is False, done
    assert root(location) == tree


@pytest.mark.parametrize("way", ["docker", "oci", "layout"])
def test_another_layer_makes_a_version_that_shares_what_is_the_same(
    salt_call, pillar, location, layers, tmp_path, way
):
    path = write(way, tmp_path, [(layers[:1], [])])
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    assert salt_call(pillar).state("diskless_image.synced").result is True
    first = root(location)
    write(way, tmp_path, [(layers, [])])
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.changes["tiny"]["old"] == first.name, ret.comment
    assert (root(location) / "etc/motd").read_text() == "second\n"
    assert (root(location) / "bin/busybox").samefile(first / "bin/busybox")


@pytest.mark.parametrize("way", ["docker", "oci", "layout"])
def test_of_several_images_the_tag_says_which_one(
    salt_call, pillar, location, layers, tmp_path, way
):
    path = write(way, tmp_path, [(layers[:1], ["compute:1"]), (layers, ["compute:2", "x/y:2"])])
    source = pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    said = f"diskless:images:tiny:source:tag: found nothing, and {path} has 2 images; give the tag "
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.comment == said + "of one, there are: compute:1, compute:2, x/y:2"
    source["tag"] = "compute:3"
    ret = salt_call(pillar).state("diskless_image.synced")
    said = f"diskless:images:tiny:source:tag: found compute:3; the tags in {path} are: "
    assert ret.comment == said + "compute:1, compute:2, x/y:2"
    assert left_beside(location) == [".lock"] and not (location / "root").exists()
    for tag, motd in (("compute:1", "first\n"), ("x/y:2", "second\n")):
        source["tag"] = tag
        ret = salt_call(pillar).state("diskless_image.synced")
        assert ret.changes, ret.comment
        assert (root(location) / "etc/motd").read_text() == motd


def test_a_tag_does_not_go_with_an_archive_of_a_root(salt_call, pillar, location, layers):
    pillar["images"]["tiny"]["source"] = {"archive": str(layers[0]), "tag": "compute:1"}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.comment.startswith("diskless:images:tiny:source:tag: found compute:1, but ")
    assert left_beside(location) == [".lock"]


@pytest.mark.parametrize("missing", ["skopeo", "umoci"])
def test_a_program_that_is_missing_is_said_and_its_package_is_installed_by_the_states(
    salt_call, pillar, location, layers, tmp_path, monkeypatch, missing
):
    call = salt_call(pillar)
    call.state("diskless_image.synced")
    before = root(location)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("tar", "setpriv", "rsync", "unshare", "chroot", "mount", "skopeo", "umoci"):
        if name != missing:
            (programs / name).symlink_to(shutil.which(name))
    monkeypatch.setattr(command, "_PATH", str(programs))
    assert call.modules["diskless_image.tools"]() == []
    pillar["images"]["tiny"]["source"] = {"archive": str(layers[0])}
    assert salt_call(pillar).modules["diskless_image.tools"]() == []
    path = write("docker", tmp_path, [(layers, [])])
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    call = salt_call(pillar)
    assert call.modules["diskless_image.tools"]() == ["skopeo", "umoci"]
    ret = call.state("diskless_image.synced")
    assert ret.result is False
    said = f"diskless:images:tiny:source:archive: found no {missing} on this boot server; install"
    assert ret.comment.startswith(said)
    assert root(location) == before and left_beside(location) == [".lock"]


@pytest.mark.parametrize("way", ["docker", "oci", "layout"])
@pytest.mark.parametrize("how", ["other layer", "no manifest", "rubbish"])
def test_an_image_that_is_broken_is_said_and_what_is_published_stays(
    salt_call, pillar, location, layers, tmp_path, way, how
):
    salt_call(pillar).state("diskless_image.synced")
    before = root(location)
    place = tmp_path / "broken"
    if way == "docker":
        docker_archive(tmp_path / "good.tar", [(layers, [])])
        with tarfile.open(tmp_path / "good.tar") as stream:
            stream.extractall(place)
        index, blob = place / "manifest.json", next(place.glob("*/layer.tar"))
    else:
        oci_layout(place, [(layers, [])])
        index = place / "index.json"
        blob = max((place / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    if how == "other layer":
        blob.write_bytes(blob.read_bytes()[:-1024] + os.urandom(1024))
    else:
        index.write_text({"no manifest": "{}", "rubbish": "hello"}[how])
    path = place
    if way != "layout":
        path = tmp_path / "broken.tar"
        with tarfile.open(path, "w") as stream:
            stream.add(place, ".")
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert ret.comment.startswith("diskless:images:tiny:source:archive: ")
    assert str(path) in ret.comment and "what is published stays" in ret.comment
    assert root(location) == before
    assert left_beside(location) == [".lock"]


def test_a_directory_that_is_no_layout_is_said(salt_call, pillar, location, golden):
    pillar["images"]["tiny"]["source"] = {"archive": str(golden)}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is False
    assert f"found {golden}/oci-layout, which cannot be read" in ret.comment


def test_an_index_of_another_architecture_is_not_taken(
    salt_call, pillar, location, layers, tmp_path
):
    """buildx writes one index below the index: skopeo takes this machine's of it."""
    place = tmp_path / "layout"
    oci_layout(place, [(layers[:1], []), (layers, [])])
    index = json.loads((place / "index.json").read_text())
    one, two = index["manifests"]
    one["platform"] = {"architecture": "s390x", "os": "linux"}
    config = json.loads((place / "blobs" / two["digest"].replace(":", "/")).read_text())["config"]
    machine = json.loads((place / "blobs" / config["digest"].replace(":", "/")).read_text())
    two["platform"] = {"architecture": machine["architecture"], "os": "linux"}
    (place / "blobs/sha256/x").write_text(json.dumps(index))
    data = (place / "blobs/sha256/x").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    (place / "blobs/sha256/x").rename(place / "blobs/sha256" / digest)
    index["manifests"] = [
        {"mediaType": index["mediaType"], "digest": f"sha256:{digest}", "size": len(data)}
    ]
    (place / "index.json").write_text(json.dumps(index))
    pillar["images"]["tiny"]["source"] = {"archive": str(place)}
    ret = salt_call(pillar).state("diskless_image.synced")
    assert ret.result is True, ret.comment
    assert (root(location) / "etc/motd").read_text() == "second\n"


def test_a_layer_writes_nothing_outside_of_the_root(salt_call, pillar, location, golden, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "there").write_text("mine\n")
    (golden / "link").symlink_to(outside)
    above = tmp_path / "above"
    (above / "link").mkdir(parents=True)
    (above / "link/evil").write_text("evil\n")
    (above / "link/.wh.there").write_text("")
    first, second = layer(golden), layer(above, "--transform=s,^./etc/x,../../x,")
    path = write("docker", tmp_path, [([first, second], [])])
    pillar["images"]["tiny"]["source"] = {"archive": str(path)}
    salt_call(pillar).state("diskless_image.synced")
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"there": "mine\n"}

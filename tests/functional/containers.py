"""Images of Docker and OCI, written by hand from layers: archives of tar, as their formats say."""

from __future__ import annotations

import hashlib
import json
import pathlib
import platform
import shutil
import subprocess

#: Layers, oldest first, and the tags of the image that they are.
Images = list[tuple[list[pathlib.Path], list[str]]]

_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}
_OCI = "application/vnd.oci.image"


def layer(directory: pathlib.Path, *more: str) -> pathlib.Path:
    """Pack a directory as a layer, beside it: attributes as the tools of Docker and OCI keep them.

    more
        More of tar's options.
    """
    packed = directory.with_name(f"{directory.name}.layer")
    command = ["tar", "--create", "--format=posix", "--xattrs", "--xattrs-include=*", "--no-acls"]
    command += ["--numeric-owner", *more, "--file", str(packed), "-C", str(directory), "."]
    subprocess.run(command, check=True)
    return packed


def docker_archive(path: pathlib.Path, images: Images) -> None:
    """Write what ``docker save`` does (Docker Image Specification v1.2); compressed as the name
    says."""
    place = path.with_name(f"{path.name}.d")
    place.mkdir()
    manifest = []
    for layers, tags in images:
        names = []
        for packed in layers:
            names.append(f"{_digest(packed)}/layer.tar")
            (place / names[-1]).parent.mkdir(exist_ok=True)
            shutil.copy(packed, place / names[-1])
        config = _config(layers)
        name = hashlib.sha256(config).hexdigest() + ".json"
        (place / name).write_bytes(config)
        manifest.append({"Config": name, "RepoTags": tags or None, "Layers": names})
    (place / "manifest.json").write_text(json.dumps(manifest))
    _pack(place, path)


def oci_layout(place: pathlib.Path, images: Images, compression: str = "gzip") -> None:
    """Write an image layout (OCI image-spec, image-layout.md), its layers compressed with
    ``compression``: gzip, zstd or nothing."""
    (place / "blobs/sha256").mkdir(parents=True)
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = []
    for layers, tags in images:
        blobs = [_layer_blob(place, packed, compression) for packed in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _blob(place, _config(layers), f"{_OCI}.config.v1+json"),
            "layers": blobs,
        }
        one = _blob(place, json.dumps(manifest).encode(), f"{_OCI}.manifest.v1+json")
        for tag in tags or [None]:
            name = {"annotations": {"org.opencontainers.image.ref.name": tag}} if tag else {}
            index.append({**one, **name})
    content = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": index}
    (place / "index.json").write_text(json.dumps(content))


def oci_archive(path: pathlib.Path, images: Images, compression: str = "gzip") -> None:
    """Write an archive of a layout, itself compressed as the name says."""
    place = path.with_name(f"{path.name}.d")
    oci_layout(place, images, compression)
    _pack(place, path)


def _pack(place: pathlib.Path, path: pathlib.Path) -> None:
    names = sorted(entry.name for entry in place.iterdir())
    command = ["tar", "--create", "--auto-compress", "--file", path, "-C", place, *names]
    subprocess.run(command, check=True)
    shutil.rmtree(place)


def _config(layers: list[pathlib.Path]) -> bytes:
    machine = platform.machine()
    config = {
        "architecture": _MACHINE.get(machine, machine),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(one)}" for one in layers]},
    }
    return json.dumps(config).encode()


def _layer_blob(place: pathlib.Path, packed: pathlib.Path, compression: str) -> dict:
    kind, data = f"{_OCI}.layer.v1.tar", packed.read_bytes()
    if compression:
        kind += f"+{compression}"
        data = subprocess.run([compression, "-1", "-c"], input=data, stdout=-1, check=True).stdout
    return _blob(place, data, kind)


def _blob(place: pathlib.Path, data: bytes, kind: str) -> dict:
    digest = hashlib.sha256(data).hexdigest()
    (place / "blobs/sha256" / digest).write_bytes(data)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}


def _digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

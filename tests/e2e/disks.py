"""Disks for nodes: files divided into partitions, each with a swap area or a file system."""

from __future__ import annotations

import hashlib
import pathlib
import struct
import subprocess

#: Bytes of a partition, and of what is before the first one.
SIZE, BEGIN = 64 << 20, 1 << 20
_MAKE = {"swap": ["mkswap", "-q"], "ext4": ["mkfs.ext4", "-q"]}


def make(disk: pathlib.Path, *parts: tuple[str, str]) -> pathlib.Path:
    """Write a disk, and return it.

    parts
        Of each partition (four at most) what it has, ``swap`` or ``ext4``, and that one's label.
    """
    with open(disk, "wb") as stream:
        stream.truncate(_begin(len(parts)))
        # The table of a PC's master boot record: type of the partition, first sector, sectors.
        for number in range(len(parts)):
            stream.seek(446 + 16 * number)
            stream.write(struct.pack("<4xB3xII", 0x83, _begin(number) // 512, SIZE // 512))
        stream.seek(510)
        stream.write(b"\x55\xaa")
    for number, (kind, label) in enumerate(parts):
        part = disk.with_suffix(".part")
        with open(part, "wb") as stream:
            stream.truncate(SIZE)
        named = ["-L", label] if label else []
        subprocess.run([*_MAKE[kind], *named, part], check=True, capture_output=True)
        place = ["bs=1M", f"seek={_begin(number) >> 20}", "conv=sparse,notrunc", "status=none"]
        subprocess.run(["dd", f"if={part}", f"of={disk}", *place], check=True)
        part.unlink()
    return disk


def digest(disk: pathlib.Path, number: int) -> str:
    """Return a digest of what is on a partition, the first of which is 0."""
    with open(disk, "rb") as stream:
        stream.seek(_begin(number))
        return hashlib.sha256(stream.read(SIZE)).hexdigest()


def _begin(number: int) -> int:
    return BEGIN + number * SIZE

"""What in a version's tree is secret."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from salt_diskless.files.beneath import Found, Tree
from salt_diskless.image.machine_identity import Kind, Row, rows
from salt_diskless.image.patterns import matching
from salt_diskless.regex import lazy_regex

#: As much of a file as is read.
_READ = 64 * 1024
#: Larger files are no keys.
_LARGEST = 256 * 1024
#: PEM (RFC 7468), OpenSSH's and PuTTY's keys, PGP's, WireGuard's.
_KEY = lazy_regex(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|^PuTTY-User-Key-File-|"
    rb"(?m:^[ \t]*PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{42,}=)"
)
#: Containers of private keys that are not text.
_CONTAINERS = (b".p12", b".pfx", b".jks", b".keystore")
_NAMED_LIKE_A_KEY = lazy_regex(rb"key|^id_|\.(pem|priv|ppk|gpg|asc)$", re.IGNORECASE)
#: Directories of installed libraries, which bring keys for their own tests.
_LIBRARIES = lazy_regex(rb"/(site-packages|dist-packages|node_modules|gems|share/doc)/")
#: Where hashes of passwords are; and one, as the second field of a line or as GRUB writes it.
_HASHES = (
    *("/etc/shadow", "/etc/gshadow", "/etc/passwd"),
    *("/boot/grub/user.cfg", "/boot/grub2/user.cfg", "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"),
)
_HASH = lazy_regex(rb"(?m)^[^:#\n]+:[^:\n]*(?<=[./0-9A-Za-z$]{10}):|grub\.pbkdf2\.")
_COMMENT = lazy_regex(rb"^\s*([#;].*)?$")


def shared(root: Tree) -> list[str]:
    """Return the files of a tree that hold a secret of the table. A file with nothing but comments
    holds none: packages bring such."""
    secret = [*rows(Kind.SECRET)]
    paths = matching(root, (pattern for row in secret for pattern in row.patterns))
    return sorted(
        {
            path
            for row in secret
            for pattern in row.patterns
            for path in paths[pattern]
            if _holds_secret(root, path, row)
        }
    )


def _holds_secret(root: Tree, path: str, row: Row) -> bool:
    content = root.read(path, _READ)
    if not content:
        return False
    if row.having:
        return re.search(row.having, content) is not None
    return not all(map(_COMMENT.match, content.splitlines()))


def private_keys(root: Tree) -> list[str]:
    """Return the private keys that are recognised by their content: in ``/etc`` any file, elsewhere
    those that look like keys from outside. What everybody may read in an installed library is the
    same on each machine that has the library, and no secret."""
    keys = {file.path for file in _files(root, "/etc") if _is_key(file)}
    for top in (
        "/root",
        "/home",
        "/opt",
        "/srv",
        "/usr/local",
        "/var/lib",
        "/var/spool",
        "/var/www",
    ):
        keys |= {
            file.path for file in _files(root, top) if _looks_like_a_key(file) and _is_key(file)
        }
    return sorted(map(os.fsdecode, keys))


def password_hashes(root: Tree) -> list[str]:
    """Return the files of a tree that hold the hash of a password: shadow(5), and GRUB's."""
    return [path for path in _HASHES if _HASH.search(root.read(path, _LARGEST) or b"")]


def _looks_like_a_key(file: Found) -> bool:
    mode = file.status.st_mode
    if not mode & 0o077 or b"/.ssh/" in file.path:
        return True
    if mode & 0o004 and _LIBRARIES.search(file.path):
        return False
    return _NAMED_LIKE_A_KEY.search(file.name) is not None


def _is_key(file: Found) -> bool:
    if file.name.lower().endswith(_CONTAINERS):
        return True
    return _KEY.search(file.read(_READ)) is not None


def _files(root: Tree, top: str) -> Iterator[Found]:
    """Yield the plain files below a directory of a tree that may be keys by their size."""
    if not root.is_directory(top):
        return
    for found in root.walk(root.real(top)):
        status = found.status
        if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= _LARGEST:
            yield found

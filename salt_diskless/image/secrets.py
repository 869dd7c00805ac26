"""What in a version's tree is secret, and which programs need what NFS does not have."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from salt_diskless.files.beneath import Tree
from salt_diskless.image.machine_identity import Kind, Row, rows
from salt_diskless.image.patterns import Patterns

#: As much of a file as is read.
_READ = 64 * 1024
#: Larger files are no keys.
_LARGEST = 256 * 1024
#: As many files of home directories as are looked at.
_MOST = 20_000
#: PEM (RFC 7468), OpenSSH's and PuTTY's keys, PGP's, WireGuard's.
_KEY = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|^PuTTY-User-Key-File-|"
    rb"(?m:^\s*PrivateKey\s*=\s*[A-Za-z0-9+/]{42,}=)"
)
#: Containers of private keys that are not text.
_CONTAINERS = (b".p12", b".pfx", b".jks", b".keystore")
_NAMED_LIKE_A_KEY = re.compile(rb"key|^id_|\.(pem|priv|ppk|gpg|asc)$", re.IGNORECASE)
_COMMENT = re.compile(rb"^\s*([#;].*)?$")

CAPABILITY = "security.capability"


def shared(root: Tree) -> list[str]:
    """Return the files of a tree that hold a secret of the table. A file with nothing but comments
    holds none: packages bring such."""
    patterns = Patterns(root)
    return sorted(
        {
            path
            for row in rows(Kind.SECRET)
            for pattern in row.patterns
            for path in patterns.matching(pattern)
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
    """Return the private keys that are recognised by their content: in ``/etc`` any file, in home
    directories those that look like keys from outside."""
    found = [path for path, _ in _files(root, "/etc")]
    for home in ("/root", "/home"):
        found += [
            path
            for path, mode in _files(root, home)
            if _NAMED_LIKE_A_KEY.search(os.path.basename(path)) or not mode & 0o077
        ]
    return sorted({os.fsdecode(path) for path in found if _is_key(root, path)})


def _is_key(root: Tree, path: bytes) -> bool:
    if path.lower().endswith(_CONTAINERS):
        return True
    return _KEY.search(root.read(path, _READ, follow=False) or b"") is not None


def _files(root: Tree, top: str) -> Iterator[tuple[bytes, int]]:
    """Yield the plain files below a directory of a tree that may be keys by their size, with the
    mode of each."""
    if not root.is_directory(top):
        return
    for count, found in enumerate(root.walk(root.real(top))):
        if count > _MOST:
            return
        status = found.status
        if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= _LARGEST:
            yield found.path, status.st_mode


def with_capabilities(root: Tree) -> list[str]:
    """Return the programs of a tree that have file capabilities (capabilities(7))."""
    found = []
    for one in root.walk():
        if stat.S_ISREG(one.status.st_mode) and one.status.st_mode & 0o111:
            try:
                os.getxattr(one.full, CAPABILITY, follow_symlinks=False)
            except OSError:
                continue
            found.append(os.fsdecode(one.path))
    return sorted(found)

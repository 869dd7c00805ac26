"""The ssh keys between boot servers and golden machines: made here, carried by Salt, and checked at
each end to be what they claim to be.

A boot server has one key for all of its images. On a golden machine it may do nothing but read by
rsync (``AUTHORIZED_KEYS FILE FORMAT`` in sshd(8)), and the machine's host keys are pinned under its
minion id (``HostKeyAlias`` in ssh_config(5)).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import pwd
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping

from salt_diskless import tree
from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.schema import is_name
from salt_diskless.command import run
from salt_diskless.disk import flush
from salt_diskless.regex import lazy_regex

#: Only root may look into it.
DIRECTORY = "/etc/salt/diskless"
IDENTITY = f"{DIRECTORY}/id_ed25519"
KNOWN_HOSTS = f"{DIRECTORY}/known_hosts"

#: Where the key is made.
_NEW = f"{DIRECTORY}/new"
_HOST_KEYS = "/etc/ssh"
_BEGIN = f"# {tree.MARK}: boot servers that may read this machine"
_END = f"# {tree.MARK}: end"
_BLOCK = lazy_regex(f"^{re.escape(_BEGIN)}\n.*?(?:^{re.escape(_END)}\n|\\Z)", re.S | re.M)
_KEY = lazy_regex(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]{40,1400}={0,2})(?: .*)?"
)


def own() -> str:
    """Return this boot server's public key, ``ssh-ed25519 AAAA...``; it is made when there is
    none."""
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    os.chmod(DIRECTORY, 0o700)
    with _alone():
        if os.path.lexists(_NEW):  # A run that was killed left it, with a private key.
            shutil.rmtree(_NEW)
        if not os.path.exists(IDENTITY):
            _make()
    return checked(run(["ssh-keygen", "-y", "-f", IDENTITY]).stdout, IDENTITY)


def _make() -> None:
    """Make the key in a directory of its own, and bring it in by one rename."""
    os.mkdir(_NEW, 0o700)
    try:
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", tree.MARK, "-f", f"{_NEW}/key"]
        run(argv, ends_with_us=True)
        flush([_NEW])
        os.rename(f"{_NEW}/key", IDENTITY)
    finally:
        shutil.rmtree(_NEW)


def checked(text: object, where: str) -> str:
    """Return a public key without its comment, ``type base64`` (RFC 4253 section 6.6).

    where
        What the text is, for the message.

    Raises :class:`DisklessError` when it is none.
    """
    match = _KEY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is not None:
        with contextlib.suppress(binascii.Error):
            kind = match[1].encode()
            if base64.b64decode(match[2]).startswith(len(kind).to_bytes(4, "big") + kind):
                return f"{match[1]} {match[2]}"
    raise DisklessError(f"{where}: found {shown(text)}; that is no public key of ssh")


def host_keys() -> list[str]:
    """Return the public host keys of this machine.

    Raises :class:`DisklessError` when there is none.
    """
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(_HOST_KEYS)):
            if name.startswith("ssh_host_") and name.endswith("_key.pub"):
                path = f"{_HOST_KEYS}/{name}"
                text = (tree.read(path) or b"").decode(errors="replace")
                if _KEY.fullmatch(text.strip()):  # Others, such as DSA, are no use any more.
                    found.append(checked(text, path))
    if not found:
        raise DisklessError(
            f"{_HOST_KEYS}: found no host key of this machine; install its ssh server"
        )
    return found


def pin(minion: str, keys: Iterable[object]) -> bool:
    """Have ssh know a golden machine by ``keys`` and no others; return whether that is new.

    minion
        Its minion id.

    Raises :class:`DisklessError` when they are not what they claim to be.
    """
    given = [checked(key, f"a host key of {shown(minion)}") for key in keys]
    if not is_name(minion) or not given:
        raise DisklessError(
            f"a golden machine's host keys: found {len(given)} for {shown(minion)}; give its "
            "minion id, and at least one"
        )
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    with _alone():
        lines = (tree.read(KNOWN_HOSTS) or b"").decode().splitlines(keepends=True)[1:]
        lines = [line for line in lines if line.split(" ", 1)[0] != minion]
        lines = sorted([*lines, *(f"{minion} {key}\n" for key in given)])
        text = tree.header("the host keys of golden machines") + "".join(lines)
        return _written(KNOWN_HOSTS, text)


def authorize(user: str, keys: Mapping[str, object], readers: Collection[str], rrsync: str) -> bool:
    """Let boot servers log in to this golden machine to read it by rsync, and for nothing else.
    They have a block of their own in the user's ``authorized_keys``; the rest of the file stays.
    Return whether anything changed.

    user
        Whom they log in as.
    keys
        Boot server to its public key, in the place of the one that it had.
    readers
        The boot servers that may read this machine: the key of any other one is taken out.
    rrsync
        The path of rrsync(1).

    Raises :class:`DisklessError` when a key is none, or not of one that may read, or there is no
    such user or program.
    """
    new = {}
    for server, key in keys.items():
        if server not in readers or not is_name(server):
            raise DisklessError(
                f"a key of {shown(server)} for {shown(user)}: the pillar has no image that this "
                f"boot server takes from this machine as that user; such have: "
                f"{', '.join(readers) or 'none'}"
            )
        right = checked(key, f"the key of {server}")
        new[server] = f'restrict,command="{rrsync} -ro /" {right} {tree.MARK}@{server}'
    if not os.access(rrsync, os.X_OK):
        raise DisklessError(
            f"{rrsync}: found no program; install rsync's rrsync, or name its place in the "
            "pillar's diskless:lookup:rrsync"
        )
    try:
        who = pwd.getpwnam(user)
    except KeyError:
        raise DisklessError(f"user {shown(user)}: found none of that name here") from None
    directory = f"{who.pw_dir}/.ssh"
    path = f"{directory}/authorized_keys"
    with _alone():
        if not os.path.isdir(directory):
            _make_directory(directory, who)
        there = (tree.read(path) or b"").decode(errors="surrogateescape")
        others = _BLOCK.sub("", there)
        if others and not others.endswith("\n"):
            others += "\n"
        lines = {
            line.rsplit(f" {tree.MARK}@", 1)[-1]: line
            for block in _BLOCK.findall(there)
            for line in block.splitlines()[1:]
        }
        lines = {server: line for server, line in lines.items() if server in readers} | new
        text = "\n".join([_BEGIN, *(lines[server] for server in sorted(lines)), _END])
        return _written(path, f"{others}{text}\n", who)


def _make_directory(path: str, who: pwd.struct_passwd) -> None:
    """Make a directory that a user owns, by one rename."""
    new = path + tree.UNFINISHED
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(new)
    os.mkdir(new, 0o700)
    os.chown(new, who.pw_uid, who.pw_gid)
    os.rename(new, path)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time read a file of keys and write it anew; another one waits."""
    os.makedirs(tree.RUNTIME, mode=0o755, exist_ok=True)
    with open(f"{tree.RUNTIME}/keys.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _written(path: str, text: str, who: pwd.struct_passwd | None = None) -> bool:
    """Write a file by one rename, and return whether it was another one.

    who
        Whose file it is, with others' lines in it: only that user may read it.
    """

    def give(new: str) -> None:
        if who is not None:
            descriptor = os.open(new, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.fchown(descriptor, who.pw_uid, who.pw_gid)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)

    files: dict[str, tree.Content] = {path: text.encode(errors="surrogateescape")}
    difference = tree.compare(files, foreign_ok=files if who is not None else ())
    tree.apply(difference, files, check=give)
    return bool(difference)

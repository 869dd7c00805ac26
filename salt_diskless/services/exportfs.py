"""Run exportfs(8), and sort its messages: a message about another file of exports is not an error
of the project's own exports."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from salt_diskless import tree
from salt_diskless.command import run

#: The files that exportfs reads: exports(5), FILES.
_FILES = ("/etc/exports", "/etc/exports.d/*.exports")
#: Is there while the kernel may still use exports that the table no longer has.
_PENDING = f"{tree.RUNTIME}/exports-pending"
_PREFIX = "exportfs: "
#: About lines that leave out a client or the options, or name a client that is no address: no line
#: of the project does.
_HINTS = (
    *("No options for ", "No host name given with "),
    *("Invalid IP address ", "Failed to resolve "),
)
#: The first word of a line: a path, in quotes where it has spaces; "\040" is an octal escape.
_PATH = re.compile(r'\s*(?:"([^"]*)"|([^\s"#]+))')
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Messages:
    """What exportfs printed: about the project's own exports, and about those of others."""

    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join((*self.own, *self.others))


def reread(exports_file: str, paths: Collection[str]) -> Messages:
    """Make the table of exports what the files say (``exportfs -r``) and return its messages.

    The exit code of exportfs is not 0 when any line of any file has an error. So the caller decides
    by :attr:`Messages.own` and by the table.

    exports_file
        The project's own file.
    paths
        The directories that the project's file exports.

    Raises ``CommandFailed`` when exportfs cannot be run.
    """
    with pending():
        # From 128 on a signal ended it, and it may have read nothing.
        return sort(run(["exportfs", "-r"], ok=range(128)).stderr, exports_file, paths)


def flush() -> None:
    """Have the kernel forget what it knows of exports (``exportfs -f``): it asks mountd again."""
    run(["exportfs", "-f"])


@contextlib.contextmanager
def pending() -> Iterator[None]:
    """Note that the kernel's exports may be older than the table, until the block ends without an
    error: a run that is killed in it leaves the note, and the next run reads the exports again."""
    os.makedirs(os.path.dirname(_PENDING), mode=0o755, exist_ok=True)
    os.close(os.open(_PENDING, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    yield
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_PENDING)


def is_pending() -> bool:
    """Return True if a run was killed before the kernel had the exports of the table."""
    return os.path.lexists(_PENDING)


def sort(stderr: str, exports_file: str, paths: Collection[str]) -> Messages:
    """Return the messages of exportfs, sorted by whose lines they are about.

    The continuation lines of a message have no prefix and are left out.
    """
    own: list[str] = []
    others: list[str] = []
    for line in dict.fromkeys(stderr.splitlines()):
        if not line.startswith(_PREFIX):
            continue
        text = line.removeprefix(_PREFIX).strip()
        (own if _is_own(text, exports_file, paths) else others).append(text)
    return Messages(tuple(own), tuple(others))


def _is_own(text: str, exports_file: str, paths: Collection[str]) -> bool:
    if text.startswith(_HINTS):
        return False
    # "FILE:3: syntax error", "FILE: 3: bad fsid", "FILE [3]: Neither ...", "Failed to stat PATH: "
    words = {word.rstrip(":") for word in text.split()}
    if exports_file in words or text.startswith(f"{exports_file}:"):
        return True
    return any(word in paths for word in words)


def files_of(paths: Collection[str], exports_file: str) -> dict[str, str]:
    """Return those of these directories that another file exports too, each with that file."""
    return {path: file for file, path, _ in lines_of_others(exports_file) if path in paths}


def lines_of_others(exports_file: str) -> Iterator[tuple[str, str, str]]:
    """Yield each line of all files that exportfs reads, but the project's own: the file, the
    directory, and the text with its clients and options."""
    for pattern in _FILES:
        for file in sorted(glob.glob(pattern)):
            if file != exports_file:
                for path, rest in _lines(file):
                    yield file, path, rest


def _lines(file: str) -> Iterator[tuple[str, str]]:
    try:
        if not os.path.isfile(file):
            return
        with open(file, encoding="utf-8", errors="surrogateescape") as stream:
            text = stream.read()
    except OSError:
        return
    for line in text.replace("\\\n", " ").splitlines():
        match = _PATH.match(line)
        if match is not None:
            path = _ESCAPE.sub(lambda code: chr(int(code[1], 8)), match[1] or match[2])
            # exportfs takes the real path (realpath(3)).
            yield os.path.realpath(path), line[match.end() :].partition("#")[0]

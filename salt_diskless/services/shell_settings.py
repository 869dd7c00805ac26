"""Settings of services in files of shell assignments, such as ``/etc/default/tftpd-hpa``."""

from __future__ import annotations

from collections.abc import Mapping

from salt_diskless import tree
from salt_diskless.cluster import DisklessError
from salt_diskless.command import run
from salt_diskless.files import shell_assignments


def value(path: str, key: str) -> str | None:
    """Return what a file of shell assignments has for a variable; None where it is not set."""
    return shell_assignments.value(_text(path), key, path)


def with_values(path: str, values: Mapping[str, str]) -> tree.Edited:
    """Return a file of shell assignments with some variables set and every other byte as it is."""
    text = _text(path)
    before: dict[str, str | None] = {}
    for name, wanted in values.items():
        try:
            current = shell_assignments.value(text, name, path)
        except DisklessError:
            current = "a value that only a shell can evaluate"
        if current != wanted:
            before[name] = current
    new = shell_assignments.with_values(text, values, path)
    return tree.Edited(new.encode(errors="surrogateescape"), values, before)


def _text(path: str) -> str:
    """Return a file of shell assignments, when a shell can read it."""
    text = (tree.read(path) or b"").decode(errors="surrogateescape")
    if not shell_assignments.has_no_commands(text):
        checked = run(["sh", "-n"], ok=range(256), input=text.encode(errors="replace").decode())
        if checked.code:
            what = checked.stderr.strip().removeprefix("sh: ")
            raise DisklessError(
                f"{path}: found a syntax error ({what}); mend it: sh -n {path} shows it"
            )
    return text

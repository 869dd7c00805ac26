"""rsync: one call that copies, one that only says what differs; its exit codes in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.command import CommandFailed, run
from salt_diskless.image import identity
from salt_diskless.image.progress import Progress, parse, sent
from salt_diskless.image.sources import RsyncSource

#: Seconds between two reports of progress.
REPORTS = 0.5

_COMMON = (
    "--archive",
    "--hard-links",
    "--acls",
    "--xattrs",
    "--sparse",
    "--numeric-ids",
    "--one-file-system",
    "--delete",
    # Times to the nanosecond: a file that is changed twice in a second is not taken for the same.
    "--modify-window=-1",
)

#: EXIT VALUES of rsync(1), and ssh's 255. 24 is no error: a running machine's files come and go.
_OK = (0, 24)
_SENTENCES = {
    2: "rsync's two ends speak different protocols; bring both to one version",
    3: "rsync could not select its files or directories; is the source there?",
    5: "rsync could not start its protocol; is rsync installed on the golden machine?",
    10: "the connection broke (socket)",
    11: "a file could not be read or written; is the disk full?",
    12: "the connection broke",
    20: "it was interrupted",
    23: "some files could not be read or written",
    30: "nothing came for too long",
    35: "nobody answered in time",
    127: "rsync or ssh is not installed",
    255: "the connection broke (ssh)",
}
#: rsync's words, with 12 or 255 by chance, when the other end never spoke.
_NEVER_SPOKE = "(0 bytes received so far)"
_NO_LOGIN = "ssh could not log in to the golden machine, or rsync is not installed there"


def copy(
    image: Image,
    source: RsyncSource,
    destination: str,
    link: str | None,
    report: Callable[[Progress], None] | None = None,
) -> int:
    """Copy the source into ``destination``, without what is of one machine only, and return how
    many bytes that took to send.

    link
        A tree whose unchanged files become hard links, or None.
    report
        Called with how far it is, now and then.
    """
    files, told = 0, 0.0

    def each(line: str) -> None:
        nonlocal files, told
        progress = parse(line, files)
        if progress is not None:
            files = progress.files
            if report is not None and time.monotonic() - told >= REPORTS:
                told = time.monotonic()
                report(progress)

    trees = [*([link] if link else []), *source.links]
    more = [f"--link-dest={tree}" for tree in trees]
    more += ["--info=progress2,stats2", "--outbuf=N"]
    return sent(_rsync(image, source, destination, more, each=each))


def differences(image: Image, source: RsyncSource, tree: str, own: Sequence[str]) -> list[str]:
    """Return the paths in which the source differs from a version.

    own
        Paths from the version's root that the project put there itself.
    """
    more = ["--dry-run", "--itemize-changes", "--out-format=%i %n", "--omit-dir-times"]
    said = _rsync(image, source, tree, more, own)
    changed = []
    for line in said.splitlines():
        what, _, name = line.partition(" ")
        if what.startswith(("<", ">", "c", "h", ".", "*")) and name and name != "./":
            changed.append("/" + name.lstrip().rstrip("/"))
    return [path for path in changed if path not in identity.VOLATILE]


def _rsync(
    image: Image,
    source: RsyncSource,
    destination: str,
    more: Sequence[str],
    own: Sequence[str] = (),
    each: Callable[[str], None] | None = None,
) -> str:
    argv = ["rsync", *_COMMON, *more, *source.options]
    argv += [f"--filter=- {path}" for path in own]
    argv += [f"--filter=P {path}" for path in sorted(_above(own))]
    argv += [f"--filter=H {pattern}" for pattern in image.exclude]
    argv += [*identity.rsync_filter(image.scrub), "--", source.location, f"{destination}/"]
    try:
        return run(argv, ok=_OK, ends_with_us=True, each=each).stdout
    except CommandFailed as err:
        if err.result is None:
            raise
        code = err.result.code
        why = _SENTENCES.get(code, "rsync failed")
        if _NEVER_SPOKE in err.result.stderr:
            why = _NO_LOGIN
        said = "\n".join(err.result.stderr.strip().splitlines()[-6:])
        raise DisklessError(
            f"diskless:images:{image.name}: syncing from {source.shown}: {why} (rsync's {code}). "
            f"What is published stays as it is. {said}"
        ) from err


def _above(paths: Sequence[str]) -> set[str]:
    """Return the directories above ``paths``, which may be the project's own too."""
    above = set()
    for path in paths:
        parts = path.split("/")
        above |= {"/".join(parts[:depth]) for depth in range(2, len(parts))}
    return above

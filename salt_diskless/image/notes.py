"""What a sync did not take, replaced or cannot keep, as sentences for its result.

A version's metadata has the findings: a name of :data:`_REASONS` to paths, folded. Which of them
matter depends on the nodes that use the image, so the sentences are made when they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from salt_diskless.cluster import DisklessError, Image
from salt_diskless.cluster.ranges import fold
from salt_diskless.regex import lazy_regex

#: As many paths of a finding as are kept and shown.
MOST = 10

Findings = Mapping[str, tuple[str, ...]]
#: Root mode to the nodes that have it.
Roots = Mapping[str, tuple[str, ...]]

NOBODY: Roots = MappingProxyType({})

#: What a terminal or a message of Salt cannot have.
_ODD = lazy_regex("[\x00-\x1f\x7f-\x9f\udc80-\udcff]")

_CAPABILITIES = "capabilities"
HASHES = "hashes"
LIKELY = "likely"
UNITS = "units"
#: The findings that are about what is in a version, and not about its source.
OF_TREE = ("secret", "keys", LIKELY, UNITS, HASHES, _CAPABILITIES)

_GIVE = (
    "write them on the nodes with Salt (file.managed, in a directory that `files` keeps), or put "
    "them into <location>/snapshot/<node>"
)
#: In the order in which they are shown.
_REASONS = {
    "mounts_left": "file systems mounted in the source, left out",
    "mounts_taken": "file systems mounted in the source, taken too",
    "fstab": (
        "lines of the source's fstab that nodes do not have: name what nodes are to mount in the "
        "image's fstab (fstab: [/home])"
    ),
    UNITS: (
        "units of systemd for a disk of the golden machine, in the image: a node waits for that "
        "disk while it boots; name them in the image's scrub"
    ),
    "private": (
        "private keys and passwords of the golden machine or its users, left out: name what all "
        "nodes are to have in the image's keep"
    ),
    "secret": (
        f"secrets that nodes share, in the image: whoever is root on a node can read them. To keep "
        f"them out, name them in the image's scrub and {_GIVE}"
    ),
    "keys": (
        "private keys, recognised by their content, in the image: name those of one machine in the "
        "image's scrub"
    ),
    LIKELY: (
        "probably secret, by their names or by a password or token in them, in the image: name "
        "those of one machine in the image's scrub, and those that nodes are to have in its keep"
    ),
    "node": "left out, and made for each node",
    "scrub": "left out because of the image's scrub",
    "machine": "left out: they describe the golden machine alone",
}
#: What is expected of every golden machine: not in a state's comment.
_EXPECTED = frozenset({"node", "machine", "scrub", "mounts_taken"})
#: Who has NFS below its root has no file capabilities.
_ON_NFS = ("readonly", "overlay")


def printable(path: str) -> str:
    """Return a path or another text of a machine for people and programs: control characters, and
    bytes that are no UTF-8, are escaped."""
    return _ODD.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", path)


def folded(paths: Iterable[str]) -> tuple[str, ...]:
    """Return a few of the paths, and how many more there are."""
    every = list(map(printable, paths))
    if len(every) <= MOST + 1:
        return tuple(every)
    return (*every[:MOST], f"and {len(every) - MOST} more")


def with_capabilities(findings: Findings, programs: Iterable[str]) -> Findings:
    """Return findings with the programs of a version that have file capabilities."""
    others = {name: paths for name, paths in findings.items() if name != _CAPABILITIES}
    every = folded(programs)
    return {**others, _CAPABILITIES: every} if every else others


def sentences(findings: Findings, roots: Roots, *, brief: bool = False) -> dict[str, list[str]]:
    """Return the findings as reason to paths.

    roots
        Which nodes use the image.
    brief
        Leave out what is expected of every golden machine.
    """
    shown = {
        reason: list(findings[name])
        for name, reason in _REASONS.items()
        if findings.get(name) and not (brief and name in _EXPECTED)
    }
    nodes = [node for mode in _ON_NFS for node in roots.get(mode, ())]
    if nodes and findings.get(_CAPABILITIES):
        modes = " and ".join(mode for mode in _ON_NFS if roots.get(mode))
        reason = (
            f"file capabilities, which NFS does not have, so these programs lack them on "
            f"{fold(nodes)} (root: {modes}); give these nodes root: squashfs or ram"
        )
        shown[reason] = list(findings[_CAPABILITIES])
    if roots.get("ram") and findings.get(HASHES):
        reason = (
            f"hashes of passwords, which anybody can fetch by TFTP with the root of "
            f"{fold(roots['ram'])} (root: ram) and guess from; lock these passwords in the golden "
            "root (passwd -l) and log in with keys, or give these nodes root: squashfs"
        )
        shown[reason] = list(findings[HASHES])
    if roots.get("ram") and findings.get(LIKELY):
        reason = (
            f"probably secret, and anybody can fetch them by TFTP with the root of "
            f"{fold(roots['ram'])} (root: ram): name them in the image's scrub and {_GIVE}, or "
            "give these nodes root: squashfs; those that are no secret, in its keep"
        )
        shown[reason] = shown.pop(_REASONS[LIKELY], list(findings[LIKELY]))
    return shown


def refuse_secrets(image: Image, findings: Findings, roots: Roots, whose: str) -> None:
    """Raise :class:`DisklessError` for secrets that would be in a root that anybody can fetch.

    whose
        The version, for people.
    """
    nodes = roots.get("ram", ())
    paths = [*findings.get("secret", ()), *findings.get("keys", ())]
    if nodes and paths:
        raise DisklessError(
            f"diskless:nodes:{fold(nodes)}:root: found ram, and {whose} of the image {image.name} "
            f"has secrets, which anybody could fetch by TFTP then: {', '.join(folded(paths))}; "
            f"name them in diskless:images:{image.name}:scrub and {_GIVE}, or give these nodes "
            "root: squashfs"
        )


def comment(notes: Mapping[str, Iterable[str]]) -> str:
    """Return sentences as lines of a state's comment, without what is expected."""
    expected = {_REASONS[name] for name in _EXPECTED}
    return "".join(
        f"\n  {reason}: {', '.join(paths)}"
        for reason, paths in notes.items()
        if reason not in expected
    )

"""Why rsync or ssh failed, in a sentence that names the cause and what to do."""

from __future__ import annotations

import re

from salt_diskless.regex import lazy_regex

#: EXIT VALUES of rsync(1), and ssh's 255.
_BY_CODE = {
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
_KEYS = "on the master, salt-run state.orchestrate diskless.orch.golden"
_NO_LOGIN = "ssh could not log in to the golden machine"
_INSTALL = "install it there: salt-call state.apply diskless.golden"

#: What rsync and ssh write, and the reason; the first that is in the text counts.
_BY_TEXT = tuple(
    (lazy_regex(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (
            r"is your shell clean",
            "a start-up file of the golden machine's shell prints something, which rsync takes for "
            "its protocol; have ~/.bashrc, /etc/bash.bashrc, ~/.profile and /etc/profile.d print "
            "nothing without a terminal, until `ssh MACHINE true` prints nothing",
        ),
        (
            r"host key verification failed|remote host identification has changed",
            f"{_NO_LOGIN}: its host key is not the pinned one, or none is pinned; if it was "
            f"installed anew, pin its key again ({_KEYS})",
        ),
        (
            r"permission denied, please|permission denied \((?:[a-z-]+,)*(?:publickey|password)",
            f"{_NO_LOGIN}: it does not accept the key; put the public key into its authorized_keys "
            f"({_KEYS}), and look whether its sshd lets that user in",
        ),
        (
            r"unprotected private key|bad permissions|load key .*: (?:invalid|error)",
            f"{_NO_LOGIN}: the private key cannot be used; it must be root's alone (chmod 600)",
        ),
        (
            r"connection refused",
            f"{_NO_LOGIN}: nothing answers at that port; is its sshd on, and is source:port right?",
        ),
        (
            r"could not resolve hostname|name or service not known",
            f"{_NO_LOGIN}: its name has no address; set source:host",
        ),
        (
            r"no route to host|network is unreachable|connection timed out|operation timed out",
            f"{_NO_LOGIN}: it cannot be reached; is it on, and does a firewall let ssh in?",
        ),
        (
            r"rsync: (?:command )?not found|rsync: no such file|exec.* rsync.*: no such file",
            f"rsync is not installed on the golden machine; {_INSTALL}",
        ),
        (
            r"rrsync: (?:command )?not found|rrsync: no such file",
            f"rrsync is not installed on the golden machine; {_INSTALL}",
        ),
        (
            r"account is currently not available|account has expired|password change required",
            f"{_NO_LOGIN}: that user may not log in there; set source:user",
        ),
        (
            r"kex_exchange_identification|connection (?:closed|reset) by",
            f"{_NO_LOGIN}: it closed the connection; look into the journal of its sshd",
        ),
        (
            r"no space left on device",
            "a file could not be written; is the disk full? Make room there (diskless_image.prune)",
        ),
        (r"disk quota exceeded", "the quota of the disk is used up"),
        (r"read-only file system", "the disk is mounted read-only"),
        (
            r"(?:acl|xattr).*operation not supported",
            "the disk keeps no extended attributes or no ACLs: give the image a location on ext4, "
            "xfs or btrfs",
        ),
    )
)
#: rsync's words, with 12 or 255 by chance, when the other end never spoke.
_NEVER_SPOKE = "(0 bytes received so far)"


def reason(code: int, stderr: str) -> str:
    """Return why rsync ended with an exit code and these words."""
    for pattern, found in _BY_TEXT:
        if pattern.search(stderr):
            return found
    if _NEVER_SPOKE in stderr:
        return f"{_NO_LOGIN}, or rsync is not installed there"
    return _BY_CODE.get(code, "rsync failed")

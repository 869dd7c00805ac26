"""Why rsync failed is named by the words of rsync and ssh."""

from __future__ import annotations

import pytest

from salt_diskless.image.rsync_reasons import reason

NEVER = "rsync: connection unexpectedly closed (0 bytes received so far) [Receiver]\n"
CASES = [
    (2, "protocol version mismatch -- is your shell clean?\n", "shell prints something"),
    (2, "rsync error: protocol incompatibility (code 2) at compat.c(622)", "different protocols"),
    (255, "Host key verification failed.\r\n" + NEVER, "not the pinned one"),
    (255, "No ED25519 host key is known for x\nHost key verification failed.\n", "none is pinned"),
    (255, "root@x: Permission denied (publickey).\n" + NEVER, "does not accept the key"),
    (255, "root@x: Permission denied (publickey,gssapi-with-mic,password).\n", "accept the key"),
    (255, "ssh: connect to host x port 22: Connection refused\n" + NEVER, "nothing answers"),
    (255, "ssh: connect to host x port 22: No route to host\n" + NEVER, "cannot be reached"),
    (255, "ssh: connect to host x port 22: Connection timed out\n", "cannot be reached"),
    (255, "ssh: Could not resolve hostname x: Name or service not known\n", "has no address"),
    (255, "kex_exchange_identification: Connection closed by remote host\n", "its sshd"),
    (127, "bash: line 1: rsync: command not found\n" + NEVER, "rsync is not installed on the"),
    (127, "sh: 1: rsync: not found\n" + NEVER, "rsync is not installed on the golden"),
    (255, "Permissions 0644 for 'k' are too open.\nLoad key \"k\": bad permissions\n", "chmod 600"),
    (11, 'rsync: write failed on "/x": No space left on device (28)\n', "is the disk full?"),
    (23, 'rsync: [receiver] mkstemp "/x" failed: Permission denied (13)\n', "some files could not"),
    (23, "rsync: set_acl: sys_acl_set_file(x): Operation not supported (95)\n", "no ACLs"),
    (23, 'rsync: rsync_xal_set: lsetxattr("x") failed: Operation not supported (95)\n', "no ACLs"),
    (12, NEVER, "ssh could not log in to the golden machine, or rsync is not installed there"),
    (99, "", "rsync failed"),
]


@pytest.mark.parametrize(("code", "stderr", "says"), CASES)
def test_the_cause_is_named(code, stderr, says):
    assert says in reason(code, stderr)

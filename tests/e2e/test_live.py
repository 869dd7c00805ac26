"""Nodes run a program of their root, hold files and a directory open and read others again; fifty
times all of these are replaced and deleted under them, in place, and they do not notice. With plain
rsync they do."""

from __future__ import annotations

import time

import pytest

from tests.lab import Lab, Node
from tests.lab.patience import Patience

CHANGES = 50
NAMES = ("node001", "node002")
#: The files of the golden root that each change replaces, or deletes.
PLACE = "/usr/lib/live"

#: What nodes here have no use for: a third of the files that every change has to look at.
SPARED = ["/usr/share/zoneinfo/*", "/usr/share/perl/*", "/usr/lib/python3.11/*"]

#: On the golden root, for change $1. "named" is 4,000 times the same line.
CHANGE = f"""
mkdir -p /diskless/golden{PLACE}
cd /diskless/golden{PLACE}
rm -rf *
for name in program tool; do
    cp --preserve=mode /diskless/golden/usr/bin/perl "$name"
    echo "$1" >>"$name"
done
yes "$1" | head -n 4000 >named
[ $(($1 % 3)) = 0 ] || yes "held $1" | head -n 4000 >held
mkdir "only$1"
echo "$1" >"only$1/file"
"""

#: On the server: changes from $1 up to $2, each brought to the version in place.
SYNCS = f"""
import subprocess, sys
import salt.client
caller = salt.client.Caller()
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    subprocess.run(["sh", "-ec", {CHANGE!r}, "sh", str(number)], check=True)
    done = caller.cmd("diskless_image.sync", "debian", live=True)["debian"]
    assert done["changed"], done
"""

#: On a node, run by {PLACE}/program: forgets what it has in memory of files and of itself, reads
#: all of it again, and writes down whatever is not as it should be.
READER = f"""
use strict;
sub put {{ open(my $out, $_[0], $_[1]) or die "$_[1]: $!"; print $out $_[2]; close($out); }}
sub failed {{ put(">>", "/run/failed", "$_[0]\\n"); }}
put(">", "/sys/fs/cgroup/live/cgroup.procs", $$);
open(my $held, "<", "{PLACE}/held") or die "held: $!";
opendir(my $directory, glob("{PLACE}/only*")) or die "directory: $!";
my ($first, $names, $rounds);
$/ = undef;
until (-e "/run/stop") {{
    put(">", "/proc/sys/vm/drop_caches", "3");
    open(my $reclaim, ">", "/sys/fs/cgroup/live/memory.reclaim") or die "reclaim: $!";
    print $reclaim "100M";
    close($reclaim);
    seek($held, 0, 0);
    my $now = <$held>;
    failed("held: $!") unless length($now);
    $first //= $now;
    failed("held: other content") if $now ne $first;
    rewinddir($directory);
    $! = 0;
    my $entries = join(" ", sort(readdir($directory)));
    $names //= $entries;
    failed("directory: $entries, not $names: $!") if $entries ne $names;
    if (open(my $named, "<", "{PLACE}/named")) {{
        my $text = <$named>;
        my ($line) = $text =~ /^([0-9]+\\n)/;
        failed("named: torn, or cannot be read: $!") unless $line and $text eq $line x 4000;
    }} else {{ failed("named: $!"); }}
    system("{PLACE}/tool", "-e", "exit 0") == 0 or failed("tool: $? $!");
    put(">", "/run/rounds", ++$rounds);
    select(undef, undef, undef, 0.5);
}}
put(">", "/run/over", "over");
"""


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> list[Node]:
    """A node by NFS 4.2 and one by NFS 3, up on an image that may be changed in place."""
    server = lab.server
    for name in ("golden", "upper", "work"):
        server.run("mkdir", f"/diskless/{name}")
    layers = "lowerdir=/srv/golden,upperdir=/diskless/upper,workdir=/diskless/work"
    server.run("mount", "-t", "overlay", "-o", layers, "overlay", "/diskless/golden")
    server.run("sh", "-ec", CHANGE, "sh", "1")
    pillar = lab.pillar(2)
    pillar["diskless"]["images"]["debian"].update(
        source={"directory": "/diskless/golden"}, exclude=SPARED, live=True
    )
    pillar["diskless"]["nodes"]["node001"]["nfs"] = "4.2"
    server.write_pillar(pillar)
    server.salt_call("state.apply", "diskless")
    for name in NAMES:
        lab.power_on(name)
    for name in NAMES:
        lab.nodes[name].wait_for("login")
    return [lab.nodes[name] for name in NAMES]


def start_reader(node: Node) -> None:
    node.run(
        "rm -f /run/stop /run/over /run/failed /run/rounds\n"
        "echo +memory >/sys/fs/cgroup/cgroup.subtree_control\n"
        "mkdir -p /sys/fs/cgroup/live\n"
        f"cat >/run/reader <<'END'\n{READER}\nEND\n"
        f"setsid {PLACE}/program /run/reader >/run/failed 2>&1 &"
    )
    wait_for_rounds(node, 2)


def wait_for_rounds(node: Node, count: int) -> None:
    """Wait until the reader has gone round ``count`` times more, or has stopped."""
    wanted = rounds(node) + count
    patience = Patience(120)
    while rounds(node) < wanted and is_running(node):
        assert not patience.is_over, f"{node.name}: {failed(node)}"
        time.sleep(0.2)


def wait_for_change(node: Node, number: int) -> None:
    """Wait until a node sees a change and nothing of those before it."""
    patience = Patience(60)
    see = f"cd {PLACE} && head -n 1 named && echo only*"
    while (seen := node.run(see, check=False).split()) != [str(number), f"only{number}"]:
        assert not patience.is_over, f"{node.name} sees {seen}, not {number}"
        time.sleep(0.5)


def rounds(node: Node) -> int:
    return int(node.run("cat /run/rounds", check=False) or 0) if exists(node, "rounds") else 0


def exists(node: Node, name: str) -> bool:
    return node.run(f"[ -e /run/{name} ] && echo yes", check=False) == "yes"


def is_running(node: Node) -> bool:
    return node.run("pgrep -f /run/reader", check=False) != ""


def failed(node: Node) -> str:
    """Return what was not as it should be, by the reader and by the kernel's log."""
    return node.run("cat /run/failed; dmesg | grep -i stale", check=False)


def test_fifty_changes_in_place_and_no_node_notices(lab: Lab, nodes: list[Node]):
    for node in nodes:
        start_reader(node)
    python = "/opt/salt/bin/python"
    lab.server.run(python, "-c", SYNCS, "2", str(2 + CHANGES))
    for node in nodes:
        wait_for_rounds(node, 3)
        assert is_running(node), failed(node)
        assert failed(node) == ""
        wait_for_change(node, 1 + CHANGES)
        node.run("touch /run/stop")
        wait_for_rounds(node, 10**6)
        assert exists(node, "over")
    shown = lab.server.salt_call("diskless_image.show", "debian", "check=True")
    assert shown["intact"] is True and shown["changed_live"]
    assert set(shown["aside"].values()) == {"node[001-002]"}


def test_with_plain_rsync_they_do(lab: Lab, nodes: list[Node]):
    lab.server.run("sh", "-ec", CHANGE, "sh", "100")
    lab.server.salt_call("diskless_image.sync", "debian", "live=True")
    for node in nodes:
        start_reader(node)
    version = "/diskless/debian/root" + PLACE
    for number in range(101, 111):
        lab.server.run("sh", "-ec", CHANGE, "sh", str(number))
        lab.server.run("rsync", "-a", "--delete", f"/diskless/golden{PLACE}/", f"{version}/")
        for node in nodes:
            wait_for_rounds(node, 2)
        if all("Stale file handle" in failed(node) for node in nodes):
            return
    pytest.fail(f"nothing was stale: {[(is_running(node), failed(node)) for node in nodes]}")


def test_after_a_reboot_nobody_holds_the_old_files_and_they_go(lab: Lab, nodes: list[Node]):
    for name in NAMES:
        lab.power_on(name)
    for name in NAMES:
        lab.nodes[name].wait_for("login")
    lab.server.salt_call("diskless_image.prune")
    assert lab.server.salt_call("diskless_image.show", "debian")["aside"] == {}
    assert list(lab.server.path("/diskless/debian/aside").iterdir()) == []

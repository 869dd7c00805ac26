"""The kernel line: reserved words, and its length before anything is written."""

from __future__ import annotations

import pathlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import salt_diskless.node
from salt_diskless.boot import kernel_line, pxelinux
from salt_diskless.boot.roots import Roots, Squashfs
from salt_diskless.cluster import ClusterError, DisklessError, parse
from salt_diskless.registry import importing
from salt_diskless.registry.importing import Found

from . import registry

SCRIPTS = pathlib.Path(salt_diskless.node.__file__).parent
VERSION = "20261124T155012-999"


def line_of(text: bytes) -> str:
    """Return the line that the kernel gets, with what PXELINUX adds (SYSAPPEND 3)."""
    kernel = re.search(rb"^ *kernel (\S+)$", text, re.M)
    append = re.search(rb"^ *append (.*)$", text, re.M)
    assert kernel and append
    return (
        f"BOOT_IMAGE={kernel[1].decode()} {append[1].decode()} "
        "ip=255.255.255.255:255.255.255.255:255.255.255.255:255.255.255.255 "
        "BOOTIF=01-00-00-00-00-00-00"
    )


def files(cluster):
    """Return the loader's files with a kernel and a root that make the line as long as can be."""
    site = cluster.served_by(next(iter(cluster.servers)))
    names = {image: VERSION for image in site.images}
    kernels = {(image, VERSION): None for image in site.images}
    roots = Roots({(image, VERSION): Squashfs("0" * 64, 10**11) for image in site.images})
    return pxelinux.nodes(site, names, kernels, roots)


def words_of_the_scripts() -> set[str]:
    """Return the words that the scripts of a node read from the kernel line."""
    found = set()
    for path in SCRIPTS.rglob("*"):
        # entries.sh reads the list of entries.
        if path.is_file() and path.suffix in (".sh", "") and path.name != "entries.sh":
            text = path.read_text()
            found |= set(
                re.findall(r"^\s*(?:case \$dl_word in )?([\w.]+)=[^\s()]*\*\S*\)", text, re.M)
            )
            found |= set(re.findall(r"^#\s+((?:[A-Z_]{4,})|diskless\.\w+)=", text, re.M))
    return found


def test_the_words_that_a_node_reads_are_reserved():
    found = words_of_the_scripts()
    assert {"NFSROOT", "SNAPSHOT", "DISKLESS_SWAP", "diskless.timeout", "BOOTIF"} <= found
    assert [word for word in found if kernel_line.reserved(f"{word}=x") is None] == []


def test_the_words_that_are_written_are_reserved(howto):
    howto["networks"]["compute"]["syslog"] = "10.8.226.2"
    howto["images"]["rhel5compute"]["live"] = False
    howto["profiles"]["compute"] |= {
        **{"root": "ram", "timeout": {"after": 1800, "then": "halt"}, "journal": "snapshot"},
        "files": [],
    }
    (text, *_) = files(parse(howto)).values()
    words = line_of(text).split()
    free = {word.split("=")[0] for word in words if kernel_line.reserved(word) is None}
    assert free == {"console"}


@pytest.mark.parametrize(
    "word",
    [
        *(
            "root=/dev/sda1",
            "rootfstype=ext4",
            "rootflags=x",
            "ip=dhcp",
            "initrd=x",
            "rdinit=/bin/sh",
        ),
        *(
            "nfsroot=10.0.0.1:/x",
            "nfsrootdebug",
            "nfsaddrs=x",
            "noinitrd",
            "--",
            "init=/bin/sh",
            "rw",
        ),
        *("boot=live", "netroot=nfs", "rd.live.image", "BOOTIF=x", "BOOT_IMAGE=x", "rd.neednet=1"),
        *("DISKLESS_NEW=x", "diskless.other=1", "nfs.nfs4-unique-id=x", "systemd.hostname=x"),
        *("systemd.machine-id=x", "systemd.volatile=yes", "resume=/dev/sda2", "mount.usr=x"),
        *("module_blacklist=nouveau,nfsv3", "modprobe.blacklist=squashfs", "rd.cmdline=ask"),
        *("blacklist=x,nfs", "initcall_blacklist=init_nfs_fs", "blacklist=af-packet"),
        *("rd.driver.blacklist=af-packet", "module-blacklist=nfs", "hostname=x"),
    ],
)
def test_a_word_that_keeps_a_node_from_booting_is_refused(howto, tmp_path, word):
    howto["nodes"]["node003"]["kernel_append"] = f"quiet {word} panic=30"
    with pytest.raises(ClusterError, match=re.escape(word.split("=")[0])) as caught:
        parse(howto)
    assert caught.value.problems[0].path == "diskless:nodes:node003:kernel_append"
    with pytest.raises(DisklessError, match=re.escape(word.split("=")[0])):
        registry.accept(registry.of(tmp_path), 1, kernel_append=word)


@pytest.mark.parametrize(
    "text",
    [
        *("net.ifnames=0 panic=30", "console=tty0 quiet", "rd.debug", "rootless=1", "iommu=pt"),
        *("module_blacklist=nouveau", "modprobe.blacklist=radeon,nfsd", "crashkernel=256M"),
        *("blacklist=nouveau", "initcall_blacklist=algif_aead_init"),
    ],
)
def test_other_words_are_accepted(howto, text):
    howto["nodes"]["node003"]["kernel_append"] = text
    assert parse(howto).nodes["node003"].settings.kernel_append == text


@pytest.mark.parametrize("where", ["profile", "node"])
def test_a_line_that_the_kernel_would_cut_is_a_problem_of_the_pillar(howto, where):
    place = howto["profiles"]["compute"] if where == "profile" else howto["nodes"]["node003"]
    place["kernel_append"] = "x" * 2500
    with pytest.raises(ClusterError) as caught:
        parse(howto)
    (problem,) = caught.value.problems
    assert problem.path.endswith(":kernel_append")
    assert "kernel line of up to" in problem.found and "2047" in problem.right


def test_a_registered_node_is_measured_as_well(tmp_path):
    store = registry.of(tmp_path)
    long = " ".join(["x" * 99] * 20)
    with pytest.raises(DisklessError, match="kernel line of up to"):
        registry.accept(store, 1, kernel_append=long)
    settings = {"kernel_append": long}
    one = Found("node9", 1, mac=registry.mac(9), ip="10.8.226.50", settings=settings)
    with pytest.raises(DisklessError, match="kernel line of up to"):
        importing.plan(registry.desk(store), [one], "compute").make(test=True)
    assert registry.content(store) == [[], [], []]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_what_is_accepted_is_never_cut(data):
    """Whatever the version and the kernel are called, an accepted pillar makes lines that fit."""
    name = st.text("ab", min_size=1, max_size=63)
    append = st.integers(1, 2047).map(lambda size: "x" * size)
    maybe = {
        "serial_console": "ttyS0,115200n8",
        **{"kernel": "6" * 64, "root": "ram", "nis_domain": "d" * 64, "journal": "snapshot"},
        **{
            "timeout": {"after": 86400, "then": "reboot"},
            "swap": {"kind": "disk", "label": "s" * 15},
        },
    }
    own = {key: value for key, value in maybe.items() if data.draw(st.booleans())}
    image = data.draw(name)
    cluster = {
        "servers": {"boot2": {"address": "10.8.226.72", "interface": "eth0"}},
        "networks": {"n": {"subnet": "10.8.0.0/16", "syslog": "10.8.226.2"}},
        "images": {
            image: {
                "location": "/diskless/"
                + data.draw(st.text("c/", max_size=5)).strip("/").replace("//", "")
                + image
            }
        },
        "profiles": {"p": {"image": image, "network": "n"}},
        "nodes": {
            data.draw(name): {
                "profile": "p",
                **{
                    "ip": "10.8.1.1",
                    "mac": "52:54:00:00:00:01",
                    "kernel_append": data.draw(append),
                },
                **own,
            }
        },
    }
    try:
        parsed = parse(cluster)
    except ClusterError as err:
        assert all("kernel line of" in problem.found for problem in err.problems)
        return
    (text,) = files(parsed).values()
    assert len(line_of(text)) <= kernel_line.LONGEST

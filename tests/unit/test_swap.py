"""Swap in the pillar, on the kernel line, and in the script that a node runs."""

from __future__ import annotations

import copy
import pathlib
import subprocess

import pytest

from salt_diskless.boot import pxelinux
from salt_diskless.boot.roots import Roots
from salt_diskless.cluster import ClusterError, Swap, parse
from tests.conftest import CHECKOUT
from tests.unit.test_node_scripts import LIBRARY, LINE, Shell

SCRIPT = CHECKOUT / "salt_diskless/node/swap/swap"
FROM = "10.8.226.72:/diskless/x86_64/c/swap/node003"


@pytest.mark.parametrize(
    ("given", "swap", "word"),
    [
        (None, Swap("zram"), "DISKLESS_SWAP=zram"),
        ("zram", Swap("zram"), "DISKLESS_SWAP=zram"),
        ({"size": "50%"}, Swap("zram", "50%"), "DISKLESS_SWAP=zram:50%"),
        ({"kind": "zram", "size": "2G"}, Swap("zram", "2G"), "DISKLESS_SWAP=zram:2G"),
        ({"kind": "nfs", "size": "512M"}, Swap("nfs", "512M"), "DISKLESS_SWAP=nfs"),
        ({"kind": "disk", "label": "sw"}, Swap("disk", label="sw"), "DISKLESS_SWAP=disk:sw"),
        ("none", Swap("none"), None),
    ],
)
def test_the_kernel_line_says_what_the_pillar_says(howto, given, swap, word):
    howto["nodes"]["node003"]["swap"] = given
    site = parse(howto).served_by("boot2")
    assert site.nodes["node003"].settings.swap == swap
    version = "20261124T155012"
    versions, kernels = {"rhel5compute": version}, {("rhel5compute", version): "6.1"}
    files = pxelinux.render(site, versions, kernels, Roots())
    words = files["linux-install/pxelinux.cfg/0A08E249"].decode().split()
    assert [found for found in words if found.startswith("DISKLESS_SWAP")] == ([word] * bool(word))


def test_a_nodes_swap_goes_over_its_profiles_as_a_whole(howto):
    howto["profiles"]["compute"]["swap"] = {"kind": "nfs", "size": "1G"}
    howto["nodes"]["node003"]["swap"] = "zram"
    nodes = parse(howto).nodes
    assert nodes["node001"].settings.swap.bytes == 1 << 30
    assert nodes["node003"].settings.swap == Swap("zram")


@pytest.mark.parametrize(
    ("given", "path", "right"),
    [
        (True, "", "give none, zram, or keys"),
        ("file", ":kind", "'zram', 'nfs', 'disk' or 'none'"),
        ({"kind": "nfs"}, "", "give size, like 512M or 2G"),
        ({"kind": "nfs", "size": "50%"}, "", "give size, like 512M or 2G"),
        ({"kind": "nfs", "size": "8M"}, "", "16M at least"),
        ({"kind": "nfs", "size": "16M\n"}, "", "16M at least"),
        ({"kind": "nfs", "size": 512}, ":size", "give a text"),
        ({"size": "201%"}, "", "1% to 200%"),
        ({"size": "0%"}, "", "1% to 200%"),
        ({"size": "1M"}, "", "16M at least"),
        ({"kind": "zram", "label": "sw"}, "", "leave label out"),
        ({"kind": "disk"}, "", "give the label of the partition"),
        ({"kind": "disk", "label": "sw", "size": "1G"}, "", "leave size out"),
        ({"kind": "disk", "label": "a b"}, ":label", "give a swap label"),
        ({"kind": "disk", "label": "sixteen-letters-"}, ":label", "give a swap label"),
        ({"kind": "none", "size": "1G"}, "", "leave size out"),
        ({"knid": "nfs"}, ":knid", "did you mean kind?"),
    ],
)
def test_what_makes_no_swap_is_refused(howto, given, path, right):
    pillar = copy.deepcopy(howto)
    pillar["profiles"]["compute"]["swap"] = given
    with pytest.raises(ClusterError) as caught:
        parse(pillar)
    (problem,) = caught.value.problems
    assert problem.path == f"diskless:profiles:compute:swap{path}"
    assert right in problem.right


class Swapping(Shell):
    """A shell with the script, and with stubs of the programs that need a node's kernel."""

    def __init__(self, place: pathlib.Path, shell: list[str]):
        super().__init__(place, shell)
        for name in ("modprobe", "mkswap", "swapon", "swapoff", "umount"):
            self.stub(name, f'echo "{name} $*" >> "$PLACE/calls"')
        self.stub(
            "mount",
            'echo "mount $*" >> "$PLACE/calls"\n: > "$dl_run/swap/swapfile"',
        )
        self.stub(
            "losetup",
            'echo "losetup $*" >> "$PLACE/calls"\n[ "$1" = -d ] || echo /dev/loop4',
        )
        for name in ("block/zram3", "class/zram-control"):
            (place / "sys" / name).mkdir(parents=True)
        (place / "sys/class/zram-control/hot_add").write_text("3\n")
        self.memory(494000)

    def memory(self, kib: int) -> None:
        text = f"MemTotal:       {kib:9} kB\nMemFree:           12345 kB\n"
        (self.place / "meminfo").write_text(text)

    def fails(self, name: str, says: str) -> None:
        """Have a program say why it does not do it."""
        self.stub(name, f'echo "{name} $*" >> "$PLACE/calls"\necho "{says}"\nreturn 1')

    def swap(self, word: str, does: str = "sw_start") -> int:
        """Run functions of the script, and return the exit code of the last one."""
        self.cmdline(f"{LINE} DISKLESS_SWAP={word}")
        settings = f'dl_library="{LIBRARY}" sw_sys="$PLACE/sys" sw_meminfo="$PLACE/meminfo"'
        done = self(f'{settings}\nset +e\n. "{SCRIPT}"\n{does}\nexit $?')
        assert done.stderr == ""
        return done.returncode

    @property
    def on(self) -> str | None:
        path = self.place / "run/swap.on"
        return path.read_text().strip() if path.exists() else None


@pytest.fixture(params=[["dash"], ["busybox", "sh"], ["bash"]], ids=["dash", "busybox", "bash"])
def node(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Swapping:
    return Swapping(tmp_path, request.param)


@pytest.mark.parametrize(
    ("word", "memory", "size"),
    [
        ("zram", 494000, 123500),
        ("zram", 263851264, 4194304),
        ("zram:50%", 494000, 247000),
        ("zram:200%", 263851264, 527702528),
        ("zram:512M", 494000, 524288),
        ("zram:2G", 494000, 2097152),
    ],
)
def test_zram_is_a_device_of_its_own_of_the_wanted_size(node, word, memory, size):
    node.memory(memory)
    assert node.swap(word) == 0
    assert node.said("calls") == [
        "modprobe -q zram num_devices=0",
        "mkswap /dev/zram3",
        "swapon -p 100 /dev/zram3",
    ]
    assert node.said("sys/block/zram3/disksize") == [f"{size}K"]
    assert node.said("kmsg") == [f"<5>diskless: swap: /dev/zram3, {size} KiB of compressed memory"]
    assert node.swap(word, "sw_start") == 0
    assert len(node.said("calls")) == 3, "what is on is put on again"


def test_a_kernel_without_zram_has_no_swap_and_says_so_once(node):
    (node.place / "sys/class/zram-control/hot_add").unlink()
    node.stub("modprobe", "return 1")
    assert node.swap("zram") == 0
    assert node.said("kmsg") == ["<5>diskless: swap: none: this kernel has no zram"]
    assert node.said("calls") == []
    assert node.swap("zram", "sw_stop") == 0


@pytest.mark.parametrize("program", ["mkswap", "swapon"])
def test_zram_that_cannot_be_used_is_taken_down_again(node, program):
    node.fails(program, "no memory")
    assert node.swap("zram") == 1
    assert "no memory" in node.said("kmsg")[-1]
    assert node.said("sys/class/zram-control/hot_remove") == ["3"]
    assert node.on is None


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("4.2", "nfs4 -o rw,vers=4.2,addr=10.8.226.72,proto=tcp,clientaddr=0.0.0.0"),
        ("3", "nfs -o rw,vers=3,addr=10.8.226.72,proto=tcp,nolock,mountproto=tcp"),
    ],
)
def test_a_file_of_its_own_over_nfs_is_used_directly(node, version, options):
    place = f"{node.place}/run/swap"
    assert node.swap(f"nfs DISKLESS_NFS={version}") == 0
    assert node.said("calls") == [
        f"mount -i -t {options} {FROM} {place}",
        f"swapon {place}/swapfile",
    ]
    assert node.said("kmsg") == [f"<5>diskless: swap: {FROM}, directly"]
    assert (node.place / "run/swap/taken").read_text() == "20261124T155012\n"


def test_where_the_kernel_cannot_a_loop_device_is_used_and_said(node):
    node.stub(
        "swapon",
        'echo "swapon $*" >> "$PLACE/calls"\n'
        'case $1 in *swapfile) echo "Invalid argument"; return 1 ;; esac',
    )
    assert node.swap("nfs") == 0
    place = f"{node.place}/run/swap"
    assert node.said("calls")[1:] == [
        f"swapon {place}/swapfile",
        "modprobe -q loop",
        f"losetup -f --show --direct-io=on {place}/swapfile",
        "swapon /dev/loop4",
    ]
    assert node.said("kmsg") == [
        f"<5>diskless: swap: {FROM}, through /dev/loop4 (directly: Invalid argument)"
    ]
    assert node.swap("nfs", "sw_stop") == 0
    assert node.said("calls")[-3:] == [
        "swapoff /dev/loop4",
        "losetup -d /dev/loop4",
        f"umount -i {place}",
    ]
    assert node.on is None


@pytest.mark.parametrize("also", ["losetup", "nothing else"])
def test_where_neither_way_works_it_is_said_and_nothing_is_left_mounted(node, also):
    node.fails("swapon", "Invalid argument")
    if also == "losetup":
        node.fails("losetup", "no loop device")
    assert node.swap("nfs") == 1
    (said,) = node.said("kmsg")
    assert said.startswith(f"<3>diskless: swap: {FROM}: neither directly (Invalid argument) nor")
    assert ("no loop device" in said) is (also == "losetup")
    assert node.said("calls")[-1] == f"umount -i {node.place}/run/swap"
    assert node.on is None


def test_a_server_without_the_file_is_said_and_nothing_is_left_mounted(node):
    node.stub("mount", 'echo "mount $*" >> "$PLACE/calls"')
    assert node.swap("nfs") == 1
    assert node.said("kmsg") == [
        f"<3>diskless: swap: no swapfile in {FROM} that this node can take"
    ]
    assert node.said("calls")[1:] == [f"umount -i {node.place}/run/swap"]
    assert not (node.place / "run/swap/taken").exists()


def test_a_server_that_does_not_answer_is_asked_again(node):
    node.stub(
        "mount",
        'echo "mount" >> "$PLACE/calls"\n'
        '[ "$(wc -l < "$PLACE/calls")" -gt 4 ] || { echo "timed out"; return 1; }\n'
        ': > "$dl_run/swap/swapfile"',
    )
    assert node.swap("nfs") == 0
    assert node.said("calls")[:5] == ["mount", "sleep 1", "mount", "sleep 2", "mount"]
    assert node.said("kmsg")[0] == f"<3>diskless: swap {FROM} (NFS 4.2): timed out; again in 1 s"


@pytest.mark.parametrize("word", ["zram", "nfs", "disk:sw"])
def test_stop_gives_back_all_that_start_took(node, word):
    assert node.swap(word) == 0
    assert node.on is not None
    assert node.swap(word, "sw_stop") == 0
    assert node.on is None
    calls = node.said("calls")
    if word == "zram":
        assert calls[-1] == "swapoff /dev/zram3"
        assert node.said("sys/block/zram3/reset") == ["1"]
        assert node.said("sys/class/zram-control/hot_remove") == ["3"]
    elif word == "nfs":
        place = f"{node.place}/run/swap"
        assert calls[-2:] == [f"swapoff {place}/swapfile", f"umount -i {place}"]
    else:
        assert calls[-1] == "swapoff -L sw"
    assert node.swap(word, "sw_stop") == 0
    assert node.said("calls") == calls


def test_a_file_that_has_another_name_by_now_is_given_up_all_the_same(node):
    assert node.swap("nfs") == 0
    (node.place / "run/swap/swapfile.old").touch()
    node.stub(
        "swapoff",
        'case $1 in *.old) echo "swapoff $*" >> "$PLACE/calls" ;; *) return 1 ;; esac',
    )
    assert node.swap("nfs", "sw_stop") == 0
    place = f"{node.place}/run/swap"
    assert node.said("calls")[-2:] == [f"swapoff {place}/swapfile.old", f"umount -i {place}"]
    assert node.on is None


def test_a_node_that_is_up_is_not_restarted_for_want_of_swap(node):
    """What the timeout of its boot says is for its boot."""
    node.fails("mount", "timed out")
    node.stub("sleep", '[ "$1" != 4 ] || exit 7')
    source = f'. "{SCRIPT}"\ndl_give_up() {{ echo "given up" >> "$PLACE/calls"; }}'
    assert node.swap("nfs diskless.timeout=60,reboot", f"{source}\nsw_start") == 7
    assert "given up" not in node.said("calls")


def test_what_cannot_be_given_up_stays_as_it_is(node):
    assert node.swap("nfs") == 0
    calls = node.said("calls")
    node.fails("swapoff", "Cannot allocate memory")
    assert node.swap("nfs", "sw_stop") == 1
    assert node.said("calls")[len(calls) :] == [f"swapoff {node.place}/run/swap/swapfile"]
    assert node.said("kmsg")[-1].endswith("cannot be given up: Cannot allocate memory")
    assert node.on is not None


def test_a_disk_is_swapped_to_by_the_label_that_is_named_and_no_other(node):
    assert node.swap("disk:diskless-swap") == 0
    assert node.said("calls") == ["swapon -L diskless-swap"]
    assert node.said("kmsg") == ["<5>diskless: swap: the partition labelled diskless-swap"]


def test_a_partition_that_is_not_there_is_waited_for_and_then_said(node):
    node.fails("swapon", "cannot find the device for sw")
    assert node.swap("disk:sw") == 1
    calls = node.said("calls")
    assert set(calls[::2]) == {"swapon -L sw"}
    assert calls[1::2] == [f"sleep {pause}" for pause in (1, 2, 4, 8, 16, 0)]
    assert node.said("kmsg") == [
        "<3>diskless: swap: no partition labelled sw: cannot find the device for sw"
    ]


@pytest.mark.parametrize(
    "word",
    [
        "zram:",
        "zram:50",
        "zram:$(reboot)%",
        "zram:-5%",
        "disk:",
        "disk:/dev/sda",
        "swapfile",
        "nfs:x",
    ],
)
def test_a_word_that_salt_diskless_does_not_write_is_refused(node, word):
    assert node.swap(word) == 1
    assert "is not what salt-diskless writes" in node.said("kmsg")[-1]
    assert node.said("calls") == []


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    """And it waits for the network only: a boot does not wait for it."""
    unit = tmp_path / "diskless-swap.service"
    text = (SCRIPT.parent / unit.name).read_text()
    unit.write_text(text.replace("/usr/lib/salt-diskless/swap", str(SCRIPT)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []
    assert "Type=simple" in text and "multi-user" not in text

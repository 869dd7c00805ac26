"""dracut's hooks on a node, in shells of this machine; real nodes boot them in e2e."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.unit.test_node_scripts import LIBRARY, LINE, Shell

HOOKS = LIBRARY / "dracut"
ADDRESS = "ip=10.8.226.73:10.8.226.72:10.8.226.1:255.255.255.0"
MAC = "00:21:5e:40:64:5c"
APART = f'dl_sys_net="$PLACE/net"\n. "{HOOKS}/network.sh"\n'


def hook(name: str) -> str:
    """Return a hook that finds its libraries here."""
    text = (HOOKS / f"{name}.sh").read_text()
    return APART + re.sub(r"^\. /usr/lib/salt-diskless/.*$", "", text, flags=re.MULTILINE)


@pytest.fixture(params=[["dash"], ["busybox", "sh"], ["bash"]], ids=["dash", "busybox", "bash"])
def shell(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Shell:
    shell = Shell(tmp_path, request.param)
    shell.cmdline(f"{LINE} {ADDRESS}")
    for name in ("ip", "udevadm", "modprobe"):
        shell.stub(name, f'echo "{name} $*" >> "$PLACE/calls"')
    card(shell, "ens3", MAC)
    card(shell, "eth0", "00:21:5e:40:00:01")
    return shell


def card(shell: Shell, name: str, mac: str, link: str = "1") -> None:
    """Plug a network card in."""
    place = shell.place / "net" / name
    (place / "device").mkdir(parents=True)
    (place / "address").write_text(f"{mac}\n")
    (place / "carrier").write_text(f"{link}\n")


@pytest.mark.parametrize("router", ["10.8.226.1", "", "0.0.0.0"])
def test_the_loaders_address_is_taken(shell, router):
    shell.cmdline(f"{LINE} ip=10.8.226.73:10.8.226.72:{router}:255.255.255.0")
    done = shell(f'{APART} dl_address; echo "$dl_client/$dl_netmask via [$dl_router]"')
    via = router if router != "0.0.0.0" else ""
    assert done.stdout == f"10.8.226.73/255.255.255.0 via [{via}]\n"


@pytest.mark.parametrize(
    "word", ["", "ip=dhcp", "ip=$(reboot):a:b:c", "ip=10.8.226.73:::", "ip=10.8.226.73:x:a;b:c"]
)
def test_a_line_without_a_usable_address_restarts_the_node(shell, word):
    shell.cmdline(f"{LINE} {word}")
    shell(hook("cmdline"))
    assert "kernel line: ip= is '" in shell.said("kmsg")[0]
    assert "the kernel line is not usable; restarting in 60 s" in shell.said("kmsg")[-1]
    assert shell.said("calls")[0] == "sleep 60"
    assert shell.said("proc/sysrq-trigger") == ["b"]


def test_dracut_is_told_of_a_root_that_is_no_device(shell):
    done = shell(hook("cmdline") + 'echo "$root $rootok"')
    assert done.stdout == "diskless 1\n", done.stderr
    assert shell.said("proc/sysrq-trigger") == []


def test_a_stranger_needs_no_address_and_restarts(shell):
    shell.cmdline("boot=diskless DISKLESS_UNKNOWN=node002 BOOTIF=01-00-21-5e-40-64-5c")
    assert shell(hook("cmdline") + 'echo "$root $rootok"').stdout == "diskless 1\n"
    shell.stub("dl_sysrq", 'echo "$1" >"$PLACE/proc/sysrq-trigger"; exit')
    shell(hook("mount"))
    assert f"its MAC is {MAC}" in "\n".join(shell.said("kmsg"))
    assert shell.said("proc/sysrq-trigger") == ["b"]


def test_a_stranger_has_its_network_when_it_asks(shell):
    shell.cmdline(f"DISKLESS_UNKNOWN=node002 BOOTIF=01-{MAC.replace(':', '-')} {ADDRESS}")
    shell.stub("dl_sysrq", "exit")
    shell.stub("dl_fetch", 'echo "fetch $1" >> "$PLACE/calls"; printf "#\\nregistered\\n" >"$2"')
    shell(hook("mount"))
    calls = shell.said("calls")
    addressed = next(at for at, line in enumerate(calls) if line.startswith("ip addr replace"))
    asked = next(at for at, line in enumerate(calls) if line.startswith("fetch "))
    assert addressed < asked


@pytest.mark.parametrize(
    ("bootif", "found"), [(f"BOOTIF=01-{MAC.replace(':', '-')}", "ens3"), ("", "eth0")]
)
def test_the_interface_that_booted_is_used_else_the_one_that_the_pillar_names(shell, bootif, found):
    shell.cmdline(f"{LINE.rpartition(' ')[0]} {ADDRESS} {bootif}")
    # It has the card's MAC, and is none.
    (shell.place / "net/br0").mkdir()
    (shell.place / "net/br0/address").write_text(f"{MAC}\n")
    done = shell(f"{APART} dl_parse; dl_address; dl_network")
    assert done.returncode == 0, done.stderr
    assert shell.said("calls") == [
        "udevadm settle --timeout=10",
        f"ip link set dev {found} up",
        f"ip addr replace 10.8.226.73/255.255.255.0 brd + dev {found}",
        f"ip route replace default via 10.8.226.1 dev {found}",
    ]


def test_a_network_that_does_not_come_up_is_said_with_its_reason_until_it_does(shell):
    (shell.place / "net/ens3").rename(shell.place / "late")
    shell.stub(
        "sleep",
        'case $1 in\n'
        '1) mv "$PLACE/late" "$PLACE/net/ens3"; echo 0 > "$PLACE/net/ens3/carrier" ;;\n'
        '2) echo 1 > "$PLACE/net/ens3/carrier" ;;\n'
        "esac",
    )  # fmt: skip
    shell(f"{APART} dl_parse; dl_address; dl_retry network dl_network")
    none, no_link = shell.said("kmsg")
    assert f"network: no network card: this initramfs has no driver for {MAC}; name it in" in none
    assert none.endswith("(there are: eth0); again in 1 s")
    assert no_link == "<3>diskless: network: no link on ens3; again in 2 s"
    assert shell.said("calls")[-1] == "ip route replace default via 10.8.226.1 dev ens3"


def test_the_root_is_mounted_with_the_address_that_the_node_was_given(shell):
    (shell.place / "run/snapshot/.diskless/entries").touch()
    done = shell(f'NEWROOT="{shell.place}/root"\n{hook("mount")}')
    assert done.returncode == 0, done.stderr
    mounts = [line for line in shell.said("calls") if line.startswith("mount -t nfs4")]
    assert len(mounts) == 2
    assert all("clientaddr=10.8.226.73," in line for line in mounts)


@pytest.mark.parametrize("wanted", [True, False], ids=["rd.shell", "no word"])
def test_where_dracut_gives_up_the_node_restarts_unless_its_shell_is_asked_for(shell, wanted):
    shell.stub("getargbool", f"[ $1 = 0 ] && [ $2 = rd.shell ] && {'true' if wanted else 'false'}")
    shell(hook("emergency"))
    assert shell.said("proc/sysrq-trigger") == ([] if wanted else ["b"])
    assert ("dracut gave up" in "".join(shell.said("kmsg"))) is not wanted

"""The SLS on each distribution, compiled by salt-call: names, order, and what stays switched on.
Debian's are applied by real boot servers in e2e."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import CHECKOUT

#: os_family to the packages and services of dhcpd, TFTP and NFS.
FAMILIES = {
    "Debian": (
        ["isc-dhcp-server"],
        ["tftpd-hpa", "pxelinux", "syslinux-common"],
        ["nfs-kernel-server"],
        ("isc-dhcp-server", "tftpd-hpa", "nfs-server"),
    ),
    "RedHat": (
        ["dhcp-server"],
        ["tftp-server", "syslinux"],
        ["nfs-utils"],
        ("dhcpd", "tftp.socket", "nfs-server"),
    ),
    "Suse": (
        ["dhcp-server"],
        ["tftp", "syslinux"],
        ["nfs-kernel-server"],
        ("dhcpd", "tftp.socket", "nfs-server"),
    ),
}
_FIREWALLD = """
def __virtual__():
    return "firewalld"
def get_zones(): return ["public", "nodes"]
def default_zone(): return "public"
"""
_SERVICE = """
__virtualname__ = "service"
def __virtual__():
    return "service"
def status(name): return name == "firewalld"
"""
_CMD = """
__virtualname__ = "cmd"
def __virtual__():
    return "cmd"
def run_stdout(command, **_):
    assert command == ["firewall-cmd", "--get-zone-of-interface=dl0"], command
    return "nodes"
"""


@pytest.fixture
def compiled(tmp_path: pathlib.Path, pillar: dict) -> Callable[..., list[dict]]:
    """Return a function that compiles an SLS on some system: the states in the order of a run."""

    def compile(
        sls: str, grains: dict, modules: dict[str, str] | None = None, **beside: object
    ) -> list[dict]:
        for name in ("conf", "pillar", "modules"):
            (tmp_path / name).mkdir(exist_ok=True)
        for name, text in (modules or {}).items():
            (tmp_path / f"modules/{name}.py").write_text(text)
        # The machine's own dhcpd.conf is a foreign one to another distribution.
        lookup = {"dhcp_config": str(tmp_path / "etc/dhcp/dhcpd.conf")}
        known = {**pillar, "lookup": lookup}
        (tmp_path / "pillar/top.sls").write_text("base: {'*': [cluster]}\n")
        (tmp_path / "pillar/cluster.sls").write_text(json.dumps({"diskless": known, **beside}))
        (tmp_path / "conf/minion").write_text(
            json.dumps(
                {
                    "id": "bootserver",
                    "file_client": "local",
                    "root_dir": str(tmp_path / "salt"),
                    "file_roots": {"base": [str(CHECKOUT / "states")]},
                    "pillar_roots": {"base": [str(tmp_path / "pillar")]},
                    "module_dirs": [str(CHECKOUT / "salt_diskless/modules"), f"{tmp_path}/modules"],
                    "states_dirs": [str(CHECKOUT / "salt_diskless/states")],
                    "grains": grains,
                }
            )
        )
        python = pathlib.Path(sys.executable)
        command = [python, python.with_name("salt-call"), "-c", tmp_path / "conf", "--out=json"]
        done = subprocess.run(
            [*map(str, command), "--log-level=error", "state.show_low_sls", sls],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )
        low = json.loads(done.stdout)["local"]
        assert all(isinstance(state, dict) for state in low), "\n".join(low)
        return sorted(low, key=lambda state: state["order"])

    return compile


@pytest.mark.parametrize("family", FAMILIES)
def test_each_distribution_has_its_packages_and_services(compiled, family):
    dhcp, tftp, nfs, services = FAMILIES[family]
    states = {state["__id__"]: state for state in compiled("diskless", {"os_family": family})}
    assert states["diskless dhcpd packages"]["pkgs"] == dhcp
    assert states["diskless tftp packages"]["pkgs"] == tftp
    assert states["diskless nfs packages"]["pkgs"] == nfs
    named = [states[f"diskless {what} service"] for what in ("dhcpd", "tftp", "nfs")]
    assert tuple(state["name"] for state in named) == services
    assert all(state["fun"] == "running" and state["enable"] for state in named)
    assert {"diskless boot server"} == {
        state["__id__"] for state in compiled("diskless.clean", {"os_family": family})
    }


def test_a_boot_server_is_given_what_its_images_are_made_with_where_it_is_missing(
    compiled, pillar, tmp_path
):
    pillar["images"]["tiny"]["source"] = {"bootstrap": {"suite": "bookworm"}}

    def packages(family: str) -> list[str]:
        states = compiled("diskless.tools", {"os_family": family})
        return {state["__id__"]: state for state in states}["diskless image packages"]["pkgs"]

    assert packages("Debian") == ["rsync", "openssh-client"]
    (tmp_path / "nothing").touch(mode=0o644)
    program = shutil.which("mmdebstrap")
    subprocess.run(["mount", "--bind", tmp_path / "nothing", program], check=True)
    try:
        assert packages("Debian") == ["rsync", "openssh-client", "mmdebstrap", "gpg"]
        assert packages("RedHat") == ["rsync", "openssh-clients", "mmdebstrap"]
    finally:
        subprocess.run(["umount", program], check=True)


@pytest.mark.parametrize(
    "sls",
    ["diskless", "diskless.tftp", "diskless.golden", "diskless.orch.golden"],
)
def test_with_a_wrong_pillar_there_is_one_state_that_says_so(compiled, pillar, sls):
    pillar["nodes"]["node003"]["mac"] = 41135040001
    (state,) = compiled(sls, {"os_family": "Debian"})
    assert (state["state"], state["fun"]) == ("diskless", "valid")


@pytest.mark.parametrize(
    ("sls", "wrong"),
    [
        ("diskless", ["a"]),
        ("diskless.tftp", "text"),
        ("diskless.golden", [["a"]]),
        ("diskless.orch.golden", 5),
    ],
)
def test_a_pillar_that_is_no_mapping_is_one_state_too(compiled, sls, wrong):
    """No traceback through Jinja."""
    (state,) = compiled(sls, {"os_family": "Debian"}, diskless=wrong)
    assert (state["state"], state["fun"]) == ("diskless", "valid")


def test_on_a_system_that_nobody_has_described_too(compiled):
    (state,) = compiled("diskless", {"os_family": "Gentoo"})
    assert (state["state"], state["fun"]) == ("diskless", "valid")


def test_the_order_of_the_first_run_is_right(compiled):
    ids = [state["__id__"] for state in compiled("diskless", {"os_family": "Debian"})]
    chains = [
        ["image packages", "images", "snapshots", "tftp root", "nfs exports", "nfs service"],
        ["tftp packages", "tftp root", "tftp settings", "tftp service", "tftp restart"],
        [
            "nfs settings",
            "nfs packages",
            "nfs exports",
            "nfs service",
            "nfs mountd service",
            "nfs mountd restart",
        ],
        ["dhcpd packages", "dhcpd configuration", "dhcpd service", "dhcpd restart"],
        ["nfs service", "dhcpd service"],
    ]
    for chain in chains:
        places = [ids.index(f"diskless {name}") for name in chain]
        assert places == sorted(places), chain


@pytest.mark.parametrize("family", FAMILIES)
def test_a_golden_machine_has_its_packages_before_the_states_that_are_included(
    compiled, pillar, family
):
    pillar["images"]["tiny"].update(
        source={"minion": "bootserver"},
        packages=["gcc"],
        absent_packages=["nano"],
        golden_states=["diskless.tools"],
    )
    states = compiled("diskless.golden", {"os_family": family})
    assert [state["__id__"] for state in states][:4] == [
        "diskless golden pillar",
        "diskless golden tools",
        "diskless golden absent packages",
        "diskless golden packages",
    ]
    named = {state["__id__"]: state for state in states}
    assert named["diskless golden packages"]["pkgs"] == ["gcc"]
    assert "openssh-server" in named["diskless golden tools"]["pkgs"]
    service = "ssh" if family == "Debian" else "sshd"
    assert named["diskless golden ssh service"]["name"] == service
    assert "diskless image packages" in named


def test_an_orchestrate_goes_from_the_golden_machines_to_publish(compiled, pillar):
    pillar["images"]["tiny"]["source"] = {"minion": "golden"}
    states = compiled("diskless.orch.golden", {"os_family": "Debian"})
    assert [(state["__id__"], state.get("tgt")) for state in states] == [
        ("diskless pillar", None),
        ("diskless pillar of minions", ["bootserver", "golden"]),
        ("diskless golden machines", ["golden"]),
        ("diskless tools of boot servers", ["bootserver"]),
        ("diskless keys for tiny", None),
        ("diskless sync of tiny", ["bootserver"]),
        ("diskless publish tiny", ["bootserver"]),
    ]
    assert all(state["failhard"] is True for state in states)
    assert states[5]["kwarg"] == {"publish": False}


def test_an_orchestrate_of_a_change_in_place_has_nothing_to_publish(compiled, pillar):
    pillar["images"]["tiny"].update(source={"minion": "golden"}, live=True)
    other = dict(pillar["images"]["tiny"], live=False, location="/diskless/other")
    pillar["images"]["other"] = other
    states = compiled("diskless.orch.golden", {"os_family": "Debian"}, live=True)
    assert states[0]["live"] is True
    assert [state["__id__"] for state in states[4:]] == [
        "diskless keys for tiny",
        "diskless sync of tiny",
    ]
    assert states[-1]["kwarg"] == {"live": True}


@pytest.mark.parametrize(
    ("beside", "says"),
    [
        ({"live": "yes"}, "live: found 'yes'; give True or False"),
        ({"live": True}, "diskless:images:tiny:live: found false; set it to true"),
        ({"live": True, "image": "tiny"}, "diskless:images:tiny:live: found false; set it to true"),
    ],
)
def test_an_orchestrate_that_cannot_be_is_one_error(salt_call, pillar, beside, says):
    pillar["images"]["tiny"]["source"] = {"minion": "golden"}
    call = salt_call(pillar)
    ret = call.states["diskless.valid"](name="x", role="master", **beside)
    assert ret["result"] is False
    assert says in ret["comment"]


def test_a_service_restarts_for_its_own_configuration_and_nfs_for_none(compiled):
    states = {state["__id__"]: state for state in compiled("diskless", {"os_family": "Debian"})}
    watched = {name: state["watch"] for name, state in states.items() if "watch" in state}
    assert watched == {
        "diskless dhcpd restart": [{"diskless_dhcpd": "diskless dhcpd configuration"}],
        "diskless tftp restart": [{"diskless_tftp": "diskless tftp settings"}],
        "diskless nfs mountd restart": [{"diskless_nfs": "diskless nfs settings"}],
    }


def test_with_selinux_booleans_and_labels_are_set_and_it_stays_on(compiled):
    grains = {"os_family": "RedHat", "selinux": {"enabled": True, "enforced": "Enforcing"}}
    states = [state for state in compiled("diskless", grains) if state["state"] == "selinux"]
    assert {(state["fun"], state["name"]) for state in states} == {
        ("boolean", "nfs_export_all_ro"),
        ("boolean", "nfs_export_all_rw"),
        ("fcontext_policy_present", "/var/lib/tftpboot(/.*)?"),
        ("fcontext_policy_applied", "/var/lib/tftpboot"),
    }
    assert all(state["value"] is True for state in states if state["fun"] == "boolean")


def test_with_firewalld_the_nodes_zone_lets_the_boot_services_in(compiled):
    fakes = {"fake_firewalld": _FIREWALLD, "fake_service": _SERVICE, "fake_cmd": _CMD}
    states = compiled("diskless.firewall", {"os_family": "RedHat"}, fakes)
    _, _, zone = states
    assert (zone["state"], zone["fun"], zone["name"]) == ("firewalld", "present", "nodes")
    assert zone["services"] == ["dhcp", "tftp", "nfs", "mountd", "rpc-bind"]
    assert zone["prune_services"] is False


def test_without_firewalld_and_selinux_there_is_nothing_to_do(compiled):
    states = compiled("diskless", {"os_family": "Debian", "selinux": {"enabled": False}})
    assert {state["state"] for state in states} & {"firewalld", "selinux"} == set()


def test_waiting_machines_are_told_last_and_without_a_master(compiled, pillar):
    assert "diskless answers to machines" not in {
        state["__id__"] for state in compiled("diskless", {})
    }
    pillar["networks"]["lab"]["discovery_range"] = "10.77.0.200-10.77.0.210"
    states = compiled("diskless", {})
    ids = [state["__id__"] for state in states]
    assert ids.index("diskless answers to machines") > ids.index("diskless dhcpd restart")
    (told,) = (state for state in states if state["__id__"] == "diskless answers to machines")
    assert told["require"] == [{"diskless": "diskless dhcpd restart"}]
    assert "diskless discovery beacon" not in ids

"""Units, programs and settings of others with which no node could boot are named at once."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.functional.test_preflight_foreign_files import refused
from tests.functional.wire import wait_until

_SERVER = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as one:
    if sys.argv[3:]:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[3].encode())
    one.bind((sys.argv[1], int(sys.argv[2])))
    print("bound", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def server() -> Iterator:
    """Return a function that starts a program on a UDP port; it ends with the test."""
    running: list[subprocess.Popen] = []

    def start(*words: str) -> int:
        command = [sys.executable, "-c", _SERVER, *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"bound\n"
        return process.pid

    yield start
    for process in running:
        process.communicate()


@pytest.mark.parametrize(
    "words", [("0.0.0.0", "67"), ("10.77.0.1", "69"), ("::", "69"), ("0.0.0.0", "67", "dl0")]
)
def test_another_server_on_the_port_is_named(salt_call, pillar, server, words, testmode):
    pid = server(*words)
    comment = refused(salt_call(pillar, test=testmode))
    assert f"  UDP port {words[1]}: found python" in comment
    assert f"(process {pid})" in comment and "stop and disable it" in comment


@pytest.mark.parametrize("words", [("127.0.0.1", "69"), ("0.0.0.0", "67", "lo"), ("0.0.0.0", "68")])
def test_a_server_for_other_interfaces_is_not_in_the_way(salt_call, pillar, server, words):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server(*words)
    assert salt_call(pillar).state("diskless.valid").comment == "The pillar: as it should be"


@pytest.fixture
def unit() -> Iterator:
    """Return a function that makes a file or link below systemd's directory."""
    root = pathlib.Path("/etc/systemd/system")

    def make(name: str, text: str | None) -> pathlib.Path:
        path = root / name
        path.parent.mkdir(exist_ok=True)
        if text is None:
            path.symlink_to("/dev/null")
        else:
            path.write_text(text)
        return path

    yield make
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("name", ["isc-dhcp-server", "tftpd-hpa", "nfs-server", "nfs-mountd"])
def test_a_masked_unit_is_named(salt_call, pillar, unit, name):
    path = unit(f"{name}.service", None)
    comment = refused(salt_call(pillar))
    assert f"  {path}: found {name}.service masked; run systemctl unmask {name}.service" in comment


@pytest.mark.parametrize("name", ["override.conf", "zz.conf"])
def test_a_drop_in_that_starts_another_program_is_named(salt_call, pillar, name):
    path = pathlib.Path(pillar["lookup"]["tftp_unit"]).parent / name
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=\nExecStart=/usr/sbin/in.tftpd -L /srv/other\n")
    assert f"  {path}: found ExecStart=/usr/sbin/in.tftpd -L /srv/other;" in refused(
        salt_call(pillar)
    )
    pillar["adopt"] = [str(path)]
    assert salt_call(pillar).state("diskless.valid").result is True
    path.write_text("[Service]\nNice=5\n# ExecStart=x\n")
    del pillar["adopt"]
    assert salt_call(pillar).state("diskless.valid").result is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[nfsd]\nvers4=n\n", "[nfsd] vers4=n; remove it: nodes mount their roots by NFS 4"),
        (
            "[nfsd]\nVers3 = no # x\n",
            "[nfsd] vers3=no; remove it: nodes mount their roots by NFS 3",
        ),
        ("[nfsd]\nvers4.2=0\n", "[nfsd] vers4.2=0; remove it: nodes mount their roots by NFS 4.2"),
        ("[NFSD]\ntcp=off\n", "[nfsd] tcp=off; remove it"),
        ("[nfsd]\nhost=10.8.0.1, 127.0.0.1\n", "; remove it, or add 10.77.0.1: nodes"),
        ("[nfsd]\nport=2050\n", "[nfsd] port=2050; remove it"),
        ("[mountd]\nport=\\\n1234\n", "[mountd] port=1234; remove it"),
    ],
)
@pytest.mark.parametrize("file", ["nfs.conf", "nfs.conf.d/aa.conf", "nfs.conf.d/zz.conf"])
def test_settings_of_nfsd_that_keep_nodes_out_are_named(
    salt_call, pillar, tmp_path, text, says, file
):
    path = tmp_path / "etc" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    pillar["nodes"]["node[001-002]"]["nfs"] = "4.2"
    comment = refused(salt_call(pillar))
    assert f"  {path}: found [" in comment and says in comment
    # What is read after the project's own file cannot be replaced by that.
    pillar["adopt"] = [str(path)]
    result = salt_call(pillar).state("diskless.valid").result
    assert result is not ("mountd" in text and "zz" in file)


@pytest.mark.parametrize(
    "text",
    [
        "[nfsd]\nthreads=64\nvers2=n\nvers4.1=n\nhost=10.77.0.1\nport=2049\n",
        "[nfsd]\nhost=0.0.0.0\ntcp=y\nudp=n\n",
        "vers4=n\n[exportd]\nvers4=n\n[mountd]\nport=20048\n",
        "[nfsd]\n# vers4=n\n; host=1.2.3.4\n",
    ],
)
def test_settings_that_are_in_nobodys_way_stay(salt_call, pillar, tmp_path, text):
    path = tmp_path / "etc/nfs.conf"
    path.parent.mkdir()
    path.write_text(text)
    assert salt_call(pillar).state("diskless.valid").comment == "The pillar: as it should be"


@pytest.mark.parametrize("sign", ["i", "a"])
@pytest.mark.parametrize("key", ["dhcp_config", "tftp_defaults", "dhcp_defaults"])
def test_a_protected_file_is_named_before_anything_is_written(
    salt_call, pillar, listing, key, sign
):
    path = pathlib.Path(pillar["lookup"][key])
    path.parent.mkdir(parents=True)
    path.write_text("")
    subprocess.run(["chattr", f"+{sign}", path], check=True)
    try:
        before = listing()
        assert f"run chattr -{sign} {path} and apply again" in refused(salt_call(pillar))
        assert listing() == before
    finally:
        subprocess.run(["chattr", f"-{sign}", path], check=True)


def test_a_port_that_is_free_again_is_no_problem(salt_call, pillar, server):
    server("0.0.0.0", "69")
    refused(salt_call(pillar))
    server.__closure__[0].cell_contents.pop().communicate()
    wait_until(lambda: salt_call(pillar).state("diskless.valid").result is True)


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("dhcp_defaults", "DHCPDv4_CONF=/etc/dhcp/own.conf\n", "remove it: dhcpd has to read /"),
        ("tftp_defaults", 'TFTP_ADDRESS="10.8.0.1:69"\n', "has to listen on 10.77.0.1"),
        ("tftp_defaults", "TFTP_ADDRESS=127.0.0.1:69\n", "has to listen on 10.77.0.1"),
        ("tftp_defaults", 'TFTP_ADDRESS=":69"\n', ""),
        ("tftp_defaults", "TFTP_ADDRESS=10.77.0.1:69\n", ""),
        ("tftp_defaults", "TFTP_ADDRESS=[::]:69\n", ""),
        (
            "sysconfig",
            "DHCPDARGS=eth1\n",
            "DHCPDARGS='eth1'; mend or remove it: dhcpd has to listen on dl0",
        ),
        ("sysconfig", "DHCPDARGS='-q eth1 dl0'\n", ""),
        ("sysconfig", "DHCPDARGS=\n", ""),
    ],
)
def test_a_daemon_that_serves_others_is_named(
    salt_call, pillar, tmp_path, monkeypatch, key, text, says
):
    path = tmp_path / "etc/sysconfig/dhcpd"
    family = {}
    if key == "sysconfig":
        monkeypatch.setattr("salt_diskless.preflight.foreign_files._DHCPD_ARGUMENTS", str(path))
        family = {"os_family": "RedHat"}
        for name in ("tftp_root", "tftp_defaults", "dhcp_defaults"):
            del pillar["lookup"][name]
    else:
        path = pathlib.Path(pillar["lookup"][key])
    path.parent.mkdir(parents=True)
    path.write_text(text)
    comment = salt_call(pillar, **family).state("diskless.valid").comment
    assert (f"  {path}: found " in comment) is bool(says)
    assert says in comment

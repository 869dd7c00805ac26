"""dhcpd: what is written is what dhcpd takes, and what it answers is what the pillar says."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from tests.functional.wire import ask, running_dhcpd, segment

__all__ = ["segment"]

#: What lies where dhcpd has its configuration.
FILES = ("dhcpd.conf", "diskless-omapi.key")


@pytest.fixture
def config(pillar) -> pathlib.Path:
    return pathlib.Path(pillar["lookup"]["dhcp_config"])


def test_managed_writes_what_dhcpd_takes(salt_call, pillar, config, testmode, listing):
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_dhcpd.managed")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes["added"]["nodes"] == "node[001-003]"
    assert (listing() == before) is testmode
    if not testmode:
        subprocess.run(["dhcpd", "-t", "-4", "-cf", str(config)], check=True)
        defaults = pathlib.Path(pillar["lookup"]["dhcp_defaults"]).read_text()
        assert 'INTERFACESv4="dl0"' in defaults


def test_managed_again_changes_nothing(salt_call, pillar, testmode, listing):
    assert salt_call(pillar).state("diskless_dhcpd.managed").result is True
    before = listing()
    ret = salt_call(pillar, test=testmode).state("diskless_dhcpd.managed")
    assert (ret.result, ret.changes) == (True, {})
    assert listing() == before


def test_several_networks_on_several_interfaces(salt_call, pillar, config):
    pillar["servers"]["bootserver"] = {"interfaces": {"dl0": "10.77.0.1", "dl2": "10.78.0.1"}}
    pillar["servers"]["bootserver"]["interfaces"]["dl3"] = "10.79.0.1"
    pillar["networks"]["second"] = {"subnet": "10.78.0.0/24", "routers": ["10.78.0.254"]}
    pillar["networks"]["third"] = {
        "subnet": "10.79.0.0/24",
        "discovery_range": "10.79.0.9-10.79.0.19",
    }
    pillar["nodes"]["node004"] = {
        "mac": "52:54:00:77:00:04",
        "ip": "10.78.0.4",
        "profile": "compute",
        "network": "second",
    }
    assert salt_call(pillar).state("diskless_dhcpd.managed").result is True
    text = config.read_text()
    second = text.split("shared-network dl2 {")[1].split("shared-network dl3 {")[0]
    assert "next-server 10.78.0.1;" in second and "option routers 10.78.0.254;" in second
    assert "range 10.79.0.9 10.79.0.19;" in text.split("shared-network dl3 {")[1]
    defaults = pathlib.Path(pillar["lookup"]["dhcp_defaults"]).read_text()
    assert 'INTERFACESv4="dl0 dl2 dl3"' in defaults
    # dhcpd takes it: managed has asked it, and so does this.
    subprocess.run(["dhcpd", "-t", "-4", "-cf", str(config)], check=True)


def test_what_somebody_wrote_into_it_goes_whatever_it_is(salt_call, pillar, config, testmode):
    salt_call(pillar).state("diskless_dhcpd.managed")
    wanted = config.read_bytes()
    config.write_bytes(wanted.replace(b"node002", b"node999") + b"# caf\xe9\n")
    ret = salt_call(pillar, test=testmode).state("diskless_dhcpd.managed")
    assert (ret.result is None) is testmode, ret.comment
    assert ret.changes["added"] == {"nodes": "node002"}
    assert ret.changes["removed"] == {"nodes": "node999"}
    assert (config.read_bytes() == wanted) is not testmode


def test_a_node_that_goes_is_the_only_change(salt_call, pillar, config):
    salt_call(pillar).state("diskless_dhcpd.managed")
    del pillar["nodes"]["node003"]
    ret = salt_call(pillar).state("diskless_dhcpd.managed")
    assert ret.changes == {
        "changed": {"files": [str(config)]},
        "removed": {"nodes": "node003"},
    }
    assert "node003" not in config.read_text()


def test_a_configuration_that_dhcpd_refuses_never_goes_live(
    salt_call, pillar, config, monkeypatch, tmp_path
):
    salt_call(pillar).state("diskless_dhcpd.managed")
    live = config.read_text()
    broken = tmp_path / "broken"
    broken.mkdir()
    # The real dhcpd, given one statement too much: what a bug of ours would look like to it.
    (broken / "dhcpd").write_text(
        '#!/bin/sh\nfor last; do :; done\necho "nonsense here;" >> "$last"\n'
        'exec /usr/sbin/dhcpd "$@"\n'
    )
    (broken / "dhcpd").chmod(0o755)
    monkeypatch.setattr("salt_diskless.command._PATH", f"{broken}:/usr/sbin:/usr/bin:/sbin:/bin")
    del pillar["nodes"]["node003"]
    ret = salt_call(pillar).state("diskless_dhcpd.managed")
    assert ret.result is False
    assert "dhcpd refuses it, so the live configuration stays" in ret.comment
    assert "semicolon expected" in ret.comment
    assert config.read_text() == live
    assert sorted(path.name for path in config.parent.iterdir()) == [*FILES]


def test_a_full_disk_is_said_and_the_live_configuration_stays(salt_call, pillar, config):
    config.parent.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20k", "none", str(config.parent)], check=True
    )
    try:
        assert salt_call(pillar).state("diskless_dhcpd.managed").result is True
        live = config.read_text()
        (config.parent / "filler").write_bytes(bytes(3 * 4096))
        pillar["nodes"]["node003"]["ip"] = "10.77.0.74"
        ret = salt_call(pillar).state("diskless_dhcpd.managed")
        assert ret.result is False
        assert f"{config}: cannot be written: No space left on device" in ret.comment
        assert config.read_text() == live
        assert sorted(path.name for path in config.parent.iterdir()) == [*FILES, "filler"]
    finally:
        subprocess.run(["umount", str(config.parent)], check=True)


def test_what_a_killed_writer_left_is_removed(salt_call, pillar, config):
    salt_call(pillar).state("diskless_dhcpd.managed")
    half = config.with_name("dhcpd.conf.diskless-new")
    half.write_text("ddns-upd")
    ret = salt_call(pillar).state("diskless_dhcpd.managed")
    assert ret.changes == {"removed": {"files": [str(half)]}}
    assert not half.exists()


def test_a_configuration_of_somebody_else_is_not_overwritten(salt_call, pillar, config):
    config.parent.mkdir(parents=True)
    config.write_text("subnet 192.0.2.0 netmask 255.255.255.0 { }\n")
    ret = salt_call(pillar).state("diskless_dhcpd.managed")
    assert ret.result is False
    assert str(config) in ret.comment and "did not write" in ret.comment
    assert "192.0.2.0" in config.read_text()


def test_a_configuration_without_any_setting_may_be_replaced(salt_call, pillar, config):
    config.parent.mkdir(parents=True)
    config.write_text("# see dhcpd.conf.example\n\n")
    assert salt_call(pillar).state("diskless_dhcpd.managed").result is True


def test_other_settings_in_the_defaults_file_stay(salt_call, pillar):
    defaults = pathlib.Path(pillar["lookup"]["dhcp_defaults"])
    defaults.parent.mkdir(parents=True)
    defaults.write_text('# mine\nOPTIONS="-q"\nINTERFACESv4=""\nINTERFACESv6=""\n')
    salt_call(pillar).state("diskless_dhcpd.managed")
    assert defaults.read_text() == '# mine\nOPTIONS="-q"\nINTERFACESv4="dl0"\nINTERFACESv6=""\n'


def test_absent_removes_only_the_projects_configuration(salt_call, pillar, config, testmode):
    salt_call(pillar).state("diskless_dhcpd.managed")
    ret = salt_call(pillar, test=testmode).state("diskless_dhcpd.absent")
    assert (ret.result is None) is testmode
    assert config.exists() is testmode
    config.write_text("# somebody else's\n")
    ret = salt_call(pillar).state("diskless_dhcpd.absent")
    assert str(config) not in ret.changes.get("removed", ())
    assert config.exists()
    assert salt_call(pillar).state("diskless_dhcpd.absent").changes == {}


def test_a_wrong_pillar_is_refused_before_anything_is_written(salt_call, pillar, listing):
    pillar["nodes"]["node003"]["mac"] = "52:54:00:77:00:01"
    before = listing()
    ret = salt_call(pillar).state("diskless_dhcpd.managed")
    assert ret.result is False
    assert "diskless:nodes:node003:mac" in ret.comment and "node001 has it" in ret.comment
    assert listing() == before


def test_a_real_dhcpd_answers_a_real_client_with_what_the_pillar_says(
    salt_call, pillar, config, segment, tmp_path
):
    pillar["networks"]["lab"]["discovery_range"] = "10.77.0.200-10.77.0.210"
    call = salt_call(pillar)
    assert call.state("diskless_dhcpd.managed").result is True
    leases = tmp_path / "dhcpd.leases"
    with running_dhcpd(config, leases):
        script = tmp_path / "udhcpc.script"
        node = ask(segment, "52:54:00:77:00:03", script)
        assert node["ip"] == "10.77.0.73"
        assert node["hostname"] == "node003"
        assert node["siaddr"] == "10.77.0.1"
        assert node["boot_file"] == "linux-install/pxelinux.0"
        assert node["router"] == "10.77.0.1"
        assert node["subnet"] == "255.255.255.0"
        assert node["dns"] == "10.77.0.2"
        assert node["domain"] == "lab.example"
        assert node["nisdomain"] == "lab_nis"
        assert int(node["timezone"]) == -18000 % (1 << 32)  # it shows them unsigned
        assert node["lease"] == "21600"
        stranger = ask(segment, "52:54:00:99:99:99", script)
        assert stranger["ip"].startswith("10.77.0.20")
        assert "hostname" not in stranger
        found = {lease["mac"]: ip for ip, lease in _leases(leases).items()}
        assert found == {"52:54:00:99:99:99": stranger["ip"]}


def test_a_node_with_its_own_nis_domain_gets_that_by_dhcp(
    salt_call, pillar, config, segment, tmp_path
):
    """The kernel line and option 40 say the same; nodes of the same network can differ."""
    pillar["profiles"]["other"] = {"profile": "compute", "nis_domain": "profiles_nis"}
    pillar["nodes"]["node003"]["profile"] = "other"
    pillar["nodes"]["node004"] = {
        **{"profile": "other", "nis_domain": "own_nis"},
        **{"ip": "10.77.0.74", "mac": "52:54:00:77:00:04"},
    }
    call = salt_call(pillar)
    assert call.state("diskless_dhcpd.managed").result is True
    with running_dhcpd(config, tmp_path / "dhcpd.leases"):
        script = tmp_path / "udhcpc.script"
        found = [
            ask(segment, f"52:54:00:77:00:0{number}", script)["nisdomain"] for number in (1, 3, 4)
        ]
        assert found == ["lab_nis", "profiles_nis", "own_nis"]
    pillar["nodes"]["node004"]["nis_domain"] = "another"
    changes = salt_call(pillar).state("diskless_dhcpd.managed").changes
    assert changes["changed"]["nodes"] == "node004"
    del pillar["nodes"]["node004"]
    changes = salt_call(pillar).state("diskless_dhcpd.managed").changes
    assert changes["removed"] == {"nodes": "node004"}


def _leases(path: pathlib.Path) -> dict:
    from salt_diskless.services import dhcpd

    return dhcpd.leases(str(path))

"""Values with which nothing could boot are refused where they are written, with what is right."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from salt_diskless.cluster import ClusterError, parse
from salt_diskless.cluster.names import given
from salt_diskless.cluster.paths import pattern_reason

from . import registry

RULE = {"macs": ["52:54:00:00:01:01"], "nodes": "x1", "profile": "compute"}
IMAGE = {"location": "/diskless/x"}


def problems(**sections: Any) -> list[str]:
    """Return what is wrong in a pillar with more things in its sections."""
    pillar = copy.deepcopy(registry.PILLAR)
    for section, more in sections.items():
        pillar[section] = {**pillar.get(section, {}), **more}
    try:
        parse(pillar)
    except ClusterError as err:
        return [str(one) for one in err.problems]
    return []


@pytest.mark.parametrize(
    "host",
    ["golden", "golden.example.com", "10.8.226.9", "127.0.0.1", "::1", "fe80::1", "xn--a", "3com"],
)
def test_ssh_can_reach_a_host(host):
    assert not problems(images={"x": {**IMAGE, "source": {"minion": "g", "host": host}}})


@pytest.mark.parametrize(
    "host",
    [
        *("255.255.255.255", "0.0.0.0", "224.0.0.1", "10.8.226", "1", "010.8.226.9", "a..b", "a-"),
        *("a.", "::", "ff02::1", "10.8.226.9:22", "1.2.3.4.5", "-oProxyCommand=x", "", None, 5),
    ],
)
def test_ssh_can_reach_no_such_host(host):
    source = {"minion": "g", "host": host}
    found = problems(images={"x": {**IMAGE, "source": source}})
    assert host is None or "give a host name or address" in found[0]


@pytest.mark.parametrize("key", ["archive", "identity", "known_hosts"])
@pytest.mark.parametrize(
    "path", ["/etc", "/boot", "/proc/self", "/dev/sda", "/srv", "/tmp", "/var/lib"]
)
def test_a_directory_of_the_system_is_no_file(key, path):
    source = {key: path} if key == "archive" else {"minion": "g", key: path}
    (found,) = problems(images={"x": {**IMAGE, "source": source}})
    assert found.startswith(f"diskless:images:x:source:{key}: found '{path}'; give the path of a")


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "/", "/*", "**", "/***", "*/", "/etc", "/etc/", "/etc/*", "etc", "lib*", "[eu]*"),
        *("/lib/modules/*", "modules", "/usr/**", "bin/*", "/*/lib", "/?tc", "/../x", "a//b"),
    ],
)
def test_an_image_without_a_system_is_refused(pattern):
    (found,) = problems(images={"x": {**IMAGE, "exclude": [pattern]}})
    assert found.startswith("diskless:images:x:exclude:0: found ")
    assert "no node boots" in found or "no path of a root" in found
    if pattern.startswith("/") and pattern.strip("/*") and "**" not in pattern[1:]:
        assert problems(images={"x": {**IMAGE, "scrub": [pattern]}}) or pattern.endswith("/")


@pytest.mark.parametrize(
    "pattern",
    [
        *("/scratch", "/scratch/*", "*.iso", "cache", "/var/cache/**", "/usr/share/doc", "*.bak"),
        *("/usr/lib/debug", "/lib/modules/5.10*", "/home/*/.cache", ".git", "/tmp/", "/boot/efi"),
    ],
)
def test_a_pattern_that_leaves_a_system_is_right(pattern):
    assert pattern_reason(pattern) is None
    assert not problems(images={"x": {**IMAGE, "exclude": [pattern]}})


@pytest.mark.parametrize("console", ["ttyS0", "ttyS1,115200n8", "hvc0", "ttyAMA0,115200", "tty0"])
def test_a_console_is_a_device_with_a_number(console):
    assert not problems(profiles={"x": {"serial_console": console}})


@pytest.mark.parametrize("console", ["null", "ttyS", "None", "ttyS,115200", "115200", "ttyS0,", 0])
def test_a_console_without_a_number_is_refused(console):
    (found,) = problems(profiles={"x": {"serial_console": console}})
    assert "give device,speed, like ttyS0,115200n8" in found


def test_no_node_and_no_server_uses_the_loopback():
    (found,) = problems(profiles={"x": {"interface": "lo"}})
    assert "give an interface's name, like eth0" in found
    assert problems(servers={"b": {"interface": "lo", "address": "10.8.226.3"}})


@pytest.mark.parametrize("domain", ["10.8.226.72", "10.8", "5", "example.1"])
def test_an_address_is_no_domain(domain):
    network = {**registry.PILLAR["networks"]["compute"], "domain": domain}
    (found,) = problems(networks={"compute": network})
    assert "compute:domain: found" in found and "like example.com" in found


@pytest.mark.parametrize(
    ("ip", "nodes", "words"),
    [
        ("10.8.226.0", "x1", "leave 10.8.226.0 out: it is the subnet's own"),
        ("10.8.226.255", "x1", "leave 10.8.226.255 out: it is the broadcast address"),
        ("10.8.226.72", "x1", "leave 10.8.226.72 out: it is the boot server's"),
        ("10.8.226.1+", "x1", "it is a router's"),
        ("10.8.226.2", "x1", "it is a name server's"),
        ("10.8.226.70+", "x[1-9]", "it is the boot server's"),
        ("10.9.0.5", "x1", "give addresses inside 10.8.226.0/24"),
        ("10.8.226.150+", "x[1-200]", "150+ for 200 nodes; give addresses inside 10.8.226.0/24"),
        ("10.8.226.9", "x[1-2]", "10.8.226.9 for 2 nodes; give a range, or the first one with"),
        ("10.9.0.1-10.9.0.9", "x1", "give addresses inside 10.8.226.0/24"),
        ("10.8.226.210-10.8.226.220", "x1", "the discovery_range of compute"),
        ("10.8.226.9", "x1", ""),
        ("10.8.226.9+", "x[1-9]", ""),
        ("10.8.226.0-10.8.226.255", "x[1-9]", ""),
    ],
)
def test_addresses_of_a_rule_are_those_of_nodes(ip, nodes, words):
    rule = {**RULE, "nodes": nodes, "ip": ip}
    if nodes != "x1":
        rule = {**rule, "macs": None, "prefixes": ["52:54:00"]}
    found = problems(registry={"rules": {"r": rule}})
    assert bool(found) == bool(words)
    assert not words or (
        found[0].startswith("diskless:registry:rules:r:ip: ") and words in found[0]
    )


def test_a_rule_without_a_profile_may_use_any_network():
    rule = {key: RULE[key] for key in ("macs", "nodes")}
    assert not problems(registry={"rules": {"r": {**rule, "ip": "10.9.0.5"}}})
    (found,) = problems(registry={"rules": {"r": {**rule, "ip": "10.7.0.5"}}})
    assert "give addresses inside 10.8.226.0/24 or 10.9.0.0/28" in found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exclude: !!set {/a, /b}", "images:x:exclude: found ['/"),
        ("packages: !!binary aGVsbG8=", "images:x:packages: found binary data; give a list"),
        ("kernel: 2026-11-28", "images:x:kernel: found the date 2026-11-28"),
        ("live: null", "images:x:live: found null; give true or false"),
        ("live: {a: null}", "images:x:live: found {a: null}; give true or false"),
    ],
)
def test_types_that_only_yaml_has_are_refused(text, words):
    (found,) = problems(images={"x": {**IMAGE, **yaml.safe_load(text)}})
    assert words in found


def test_nothing_below_diskless_is_called_nothing():
    for pillar in ({}, None):
        with pytest.raises(ClusterError, match="diskless: found nothing; give a mapping"):
            parse(pillar)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/", "//etc/x", "/etc/", "/a/../b", "etc", "", None, 5, ["/a"]])
def test_a_file_to_adopt_has_an_absolute_path(path):
    pillar = {**registry.PILLAR, "adopt": [path]}
    with pytest.raises(ClusterError, match=r"diskless:adopt:0: found .*; give an absolute path"):
        parse(pillar)


@pytest.mark.parametrize("names", [[], (), ""])
def test_no_name_at_all_is_an_error(names):
    with pytest.raises(ValueError, match="at least one"):
        given(names)

"""What the pillar may say, and what it is told when it may not."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.boot import exports
from salt_diskless.cluster import ClusterError, Entry, parse, schema
from salt_diskless.cluster.ranges import expand, fold


def problems(pillar) -> dict[str, str]:
    """Return what is wrong with a pillar: path to found and right."""
    with pytest.raises(ClusterError) as caught:
        parse(pillar)
    return {p.path: f"{p.found}; {p.right}" for p in caught.value.problems}


def with_node(pillar, name="extra", **node):
    changed = copy.deepcopy(pillar)
    changed["nodes"][name] = {
        "profile": "compute",
        "mac": "52:54:00:00:00:01",
        "ip": "10.8.1.1",
        **node,
    }
    return changed


def test_the_howtos_cluster_has_128_nodes_with_its_addresses(howto):
    cluster = parse(howto)
    assert len(cluster.nodes) == 128
    assert str(cluster.nodes["node001"].ip) == "10.8.136.1"
    assert str(cluster.nodes["node003"].ip) == "10.8.226.73"
    assert str(cluster.nodes["node128"].ip) == "10.8.226.198"
    assert cluster.nodes["node128"].mac == "00:21:5e:41:00:80"


def test_profiles_nest_and_a_node_wins_over_them(howto):
    howto["profiles"]["login"] = {"profile": "compute", "nfs": 3, "interface": "eth1"}
    pillar = with_node(howto, profile="login", interface="eno1", files=["/var/log"])
    settings = parse(pillar).nodes["extra"].settings
    assert (settings.nfs, settings.interface) == ("3", "eno1")
    assert settings.serial_console == "ttyS0,115200n8r"
    assert settings.entries == (Entry("/var/log"),)


def test_kernel_and_drivers_are_inherited_and_a_dash_is_an_underscore(howto):
    howto["images"]["rhel5compute"]["kernel"] = "6.1.0-10"
    howto["profiles"]["compute"]["drivers"] = ["virtio-net", "8139too"]
    howto["profiles"]["old"] = {"profile": "compute", "kernel": "6.1.0-9"}
    nodes = parse(with_node(howto, profile="old", drivers=["e1000e"])).nodes
    assert (nodes["node001"].settings.kernel, nodes["extra"].settings.kernel) == (None, "6.1.0-9")
    assert nodes["node001"].settings.drivers == ("virtio_net", "8139too")
    assert nodes["extra"].settings.drivers == ("e1000e",)


def test_nodes_with_the_same_settings_share_them(howto):
    nodes = parse(howto).nodes
    assert nodes["node001"].settings is nodes["node128"].settings


def test_what_is_parsed_cannot_be_changed(howto):
    node = parse(howto).nodes["node001"]
    with pytest.raises(AttributeError):
        node.mac = "x"
    with pytest.raises(AttributeError):
        node.settings.nfs = "3"


def test_all_problems_are_named_at_once(howto):
    pillar = with_node(howto, mac=41135040001, ip="10.9.0.1")
    pillar["nodes"]["bad_host"] = {"profile": "compute"}
    pillar["networks"]["compute"]["lease_time"]["defalt"] = 1
    found = problems(pillar)
    assert "YAML made a number" in found["diskless:nodes:extra:mac"]
    assert "RFC 1123" in found["diskless:nodes:bad_host"]
    assert "did you mean default?" in found["diskless:networks:compute:lease_time:defalt"]
    assert found["diskless:nodes:bad_host:mac"].startswith("nothing")


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"mac": "00:21:5e:40:64:5c"}, "mac", "node003 has it"),
        ({"mac": "52-54-00-00-00-0"}, "mac", "six bytes"),
        ({"mac": "01:00:5e:00:00:01"}, "mac", "multicast"),
        ({"ip": "10.8.226.73"}, "ip", "node003 has it"),
        ({"ip": "10.9.0.1"}, "ip", "give one inside 10.8.0.0/16"),
        ({"ip": "10.8.226.72"}, "ip", "the boot server boot2"),
        ({"ip": "10.8.226.1"}, "ip", "a router"),
        ({"ip": "10.8.0.0"}, "ip", "the subnet's own address"),
        ({"ip": "10.8.255.255"}, "ip", "the broadcast address"),
        ({"ip": "10.8.1"}, "ip", "IPv4"),
        ({"profile": "comput"}, "profile", "did you mean compute?"),
        ({"image": "rhel5"}, "image", "rhel5compute"),
        ({"network": "compte"}, "network", "did you mean compute?"),
        ({"prfile": "compute"}, "prfile", "did you mean profile?"),
        ({"files": ["/var/log", "/var/log/x"]}, "files:1", "below the entry /var/log"),
        ({"files": ["/var/log", "/var/log"]}, "files:1", "twice"),
        ({"files": ["/tmp/x"]}, "files:0:path", "in memory"),
        ({"files": ["/etc/../x"]}, "files:0:path", "absolute path"),
        ({"files": ["/etc"]}, "files:0", "make it an overlay"),
        (
            {"files": [{"path": "/etc", "how": "overlay"}, {"path": "/etc/x", "how": "overlay"}]},
            *("files:1", "below the overlay /etc"),
        ),
        (
            {"files": [{"path": "/opt", "how": "copy"}, {"path": "/opt/x", "how": "tmpfs"}]},
            *("files:1", "below the entry /opt"),
        ),
        ({"files": [{"path": "/a:b", "how": "overlay"}]}, "files:0", "has no colon"),
        ({"files": [{"path": "/opt", "how": "link"}]}, "files:0:how", "'localdisk'"),
        ({"localdisk": "/dev/sda1"}, "localdisk", "file system's label"),
        ({"host_keys": ["dsa"]}, "host_keys:0", "'ed25519'"),
        ({"files": [{"path": "/a", "hwo": "tmpfs"}]}, "files:0:hwo", "did you mean how?"),
        ({"kernel_append": "a\nb"}, "kernel_append", "words"),
        ({"kernel_append": 'a="b"'}, "kernel_append", "words"),
        ({"kernel_append": "NFSROOT=1"}, "kernel_append", "writes it itself"),
        ({"serial_console": "ttyS0,115200\n"}, "serial_console", "ttyS0,115200n8"),
        ({"interface": "eth0;reboot"}, "interface", "interface's name"),
        ({"nis_domain": "a b"}, "nis_domain", "letters"),
        ({"root": "overlayy"}, "root", "readonly"),
        ({"overlay_size": "50"}, "overlay_size", "512M, 2G or 50%"),
        ({"overlay_size": "101%"}, "overlay_size", "512M, 2G or 50%"),
        ({"overlay_size": "1M,mode=777"}, "overlay_size", "512M, 2G or 50%"),
        ({"nfs": "4"}, "nfs", "3 or 4.2"),
        ({"timeout": {"after": 5}}, "timeout:after", "60"),
        ({"timeout": {"after": 600, "then": "panic"}}, "timeout:then", "reboot"),
        ({"timeout": 600}, "timeout", "mapping"),
        ({"version": "latest"}, "version", "like 20261124T155012"),
        ({"kernel": 6.1}, "kernel", "in quotes, like 6.1.0-28-amd64"),
        ({"kernel": "../6.1"}, "kernel", "a kernel's release"),
        ({"kernel": "vmlinuz"}, "kernel", "a kernel's release"),
        ({"drivers": ["e1000e", "virtio net"]}, "drivers:1", "module's name, like virtio_net"),
        ({"drivers": ["e1000e", 8139]}, "drivers:1", "module's name, like virtio_net"),
        ({"drivers": ["e1000.ko"]}, "drivers:0", "module's name, like virtio_net"),
        ({"drivers": ["-r"]}, "drivers:0", "module's name, like virtio_net"),
        ({"drivers": "e1000e"}, "drivers", "give a list, like"),
        ({"driver": ["e1000e"]}, "driver", "did you mean drivers?"),
        ({"bmc": "10.99.0"}, "bmc", "IPv4"),
        ({"bmc": ["10.99.0.1", "10.99.0.2"]}, "bmc", "give one a node"),
        ({"bmc": "10.8.226.72"}, "bmc", "this is the boot server boot2's"),
        ({"bmc": "10.8.226.73"}, "bmc", "this is node003's own"),
        ({"bmc": "10.8.1.1"}, "bmc", "this is extra's own"),
    ],
)
def test_a_wrong_node_is_refused(howto, change, path, says):
    found = problems(with_node(howto, **change))
    assert says in found[f"diskless:nodes:extra:{path}"]
    assert len(found) == 1


@pytest.mark.parametrize("name", ["-a", "a_b", "a..b", "a.", "x" * 64, "a b", "", "nöde", 7])
def test_a_name_that_is_no_host_name_is_refused(howto, name):
    assert any(path.startswith("diskless:nodes:") for path in problems(with_node(howto, name)))


@pytest.mark.parametrize("how", ["persistent", "tmpfs", "copy", "localdisk"])
def test_any_entry_but_an_overlay_may_lie_in_an_overlay(howto, how):
    files = [{"path": "/etc/salt", "how": how}, {"path": "/etc", "how": "overlay"}]
    pillar = with_node(howto, files=files, localdisk="scratch-1", host_keys=["rsa", "ecdsa"])
    settings = parse(pillar).nodes["extra"].settings
    assert (settings.entries[0].path, settings.entries[0].how) == ("/etc/salt", how)
    assert (settings.localdisk, settings.host_keys) == ("scratch-1", ("ecdsa", "rsa"))


def test_what_is_changed_in_place_has_no_overlay(howto):
    def overlays() -> list[str]:
        entries = parse(howto).nodes["node003"].settings.entries
        return [entry.path for entry in entries if entry.how == "overlay"]

    assert overlays() == ["/etc"]
    howto["images"]["rhel5compute"]["live"] = True
    assert overlays() == []
    found = problems(with_node(howto, files=[{"path": "/opt", "how": "overlay"}]))
    assert "make it something else" in found["diskless:nodes:extra:files"]


def test_two_names_that_differ_only_in_case_are_one_host_name(howto):
    assert "diskless:nodes:NODE003" in problems(with_node(howto, "NODE003"))


@pytest.mark.parametrize(
    ("section", "name", "change", "path", "says"),
    [
        (
            "networks",
            "compute",
            {"discovery_range": "10.8.226.70-10.8.226.80"},
            "discovery_range",
            "10.8.226.72",
        ),
        ("networks", "compute", {"discovery_range": "10.8.226.9"}, "discovery_range", "first-last"),
        ("networks", "compute", {"syslog": "logs.example.com"}, "syslog", "IPv4"),
        ("networks", "compute", {"subnet": "10.8.1.0/16"}, "subnet", "10.8.0.0/16"),
        ("networks", "compute", {"subnet": "10.7.0.0/16"}, "subnet", "no address in it"),
        ("networks", "compute", {"routers": ["10.9.0.1"]}, "routers:0", "inside 10.8.0.0/16"),
        ("networks", "compute", {"domain": 'x";'}, "domain", "host name"),
        ("networks", "compute", {"server": "bot2"}, "server", "did you mean boot2?"),
        ("networks", "compute", {"lease_time": {"default": 9999999}}, "lease_time:default", "max"),
        ("images", "rhel5compute", {"location": "/srv"}, "location", "directory of its own"),
        ("images", "rhel5compute", {"location": "relative"}, "location", "absolute path"),
        ("images", "rhel5compute", {"description": "a\x1bb"}, "description", "control"),
        ("images", "rhel5compute", {"exclude": ["$(x)"]}, "exclude:0", "rsync pattern"),
        ("images", "rhel5compute", {"scrub": ["etc/x"]}, "scrub:0", "absolute path"),
        ("images", "rhel5compute", {"scrub": ["/a", "/etc/../x"]}, "scrub:1", "absolute path"),
        ("images", "rhel5compute", {"scrub": ["/etc/**"]}, "scrub:0", "absolute path"),
        ("images", "rhel5compute", {"scrub": ["/"]}, "scrub:0", "absolute path"),
        ("images", "rhel5compute", {"kernel": 6.1}, "kernel", "in quotes, like 6.1.0-28-amd64"),
        ("profiles", "compute", {"kernel": "6 1"}, "kernel", "a kernel's release"),
        ("profiles", "compute", {"drivers": [None]}, "drivers:0", "a kernel module's name"),
        ("images", "rhel5compute", {"source": {}}, "source", "bootstrap and minion"),
        (
            *("images", "rhel5compute", {"source": {"directory": "/a/b", "archive": "/c"}}),
            *("source", "bootstrap and minion"),
        ),
        ("images", "rhel5compute", {"packages": ["a b"]}, "packages:0", "a package's name"),
        ("images", "rhel5compute", {"packages": ["-y"]}, "packages:0", "a package's name"),
        ("images", "rhel5compute", {"absent_packages": [7]}, "absent_packages:0", "package's name"),
        ("images", "rhel5compute", {"golden_states": ["a/b"]}, "golden_states:0", "as a top file"),
        ("images", "rhel5compute", {"packages": ["gcc"]}, "packages", "no golden machine"),
        ("images", "rhel5compute", {"golden_states": ["a"]}, "golden_states", "source:minion"),
        ("profiles", "compute", {"profile": "compute"}, "profile", "circle"),
        ("servers", "boot2", {"interface": None}, None, "only one of"),
    ],
)
def test_a_wrong_section_is_refused(howto, section, name, change, path, says):
    howto[section][name].update(change)
    where = f"diskless:{section}:{name}" + (f":{path}" if path else "")
    assert says in problems(howto)[where]


@pytest.mark.parametrize(
    ("source", "path", "says"),
    [
        ({"archive": "/a/b.tar", "tag": "-x"}, ":tag", "give a tag, like compute:1.2"),
        ({"directory": "/a/b", "tag": "x"}, ":tag", "it belongs to an archive"),
        ({"minion": "a", "bootstrap": {"suite": "b"}}, "", "give one of them"),
        ({"bootstrap": {}}, ":bootstrap", "not just one of suite and releasever"),
        ({"bootstrap": {"suit": "b"}}, ":bootstrap:suit", "did you mean suite?"),
        ({"bootstrap": {"suite": "b c"}}, ":bootstrap:suite", "give letters, digits"),
        ({"bootstrap": {"suite": "b", "releasever": 9}}, ":bootstrap", "suite for apt"),
        ({"bootstrap": {"suite": "b", "gpgkey": "/k"}}, ":bootstrap:gpgkey", "go with suite"),
        (
            {"bootstrap": {"suite": "b", "components": []}},
            ":bootstrap:components",
            "at least one item",
        ),
        ({"bootstrap": {"suite": "b", "components": ["a,b"]}}, ":bootstrap:components:0", "digits"),
        ({"bootstrap": {"suite": "b", "variant": "custom"}}, ":bootstrap:variant", "minbase"),
        ({"bootstrap": {"suite": "b", "keyring": "k.gpg"}}, ":bootstrap:keyring", "absolute path"),
        ({"bootstrap": {"releasever": 9.4}}, ":bootstrap:releasever", "in quotes"),
        ({"bootstrap": {"releasever": True}}, ":bootstrap:releasever", "in quotes"),
        ({"bootstrap": {"releasever": 9}}, ":bootstrap:repositories", "at least one"),
        (
            {"bootstrap": {"releasever": 9, "repositories": {"a b": "file:///a"}}},
            *(":bootstrap:repositories:a b", "give letters, digits"),
        ),
        (
            {"bootstrap": {"releasever": 9, "repositories": {"a": "copy:///a"}}},
            *(":bootstrap:repositories:a", "URL of http, https or file"),
        ),
        (
            {"bootstrap": {"releasever": 9, "repositories": {"a": "file:///a"}, "mirror": None}},
            *(":bootstrap:mirror", "does not go with releasever"),
        ),
    ],
)
def test_a_wrong_source_is_refused(howto, source, path, says):
    image = howto["images"]["rhel5compute"]
    image["source"] = source
    if "releasever" in source.get("bootstrap", {}):
        image["packages"] = ["kernel-core"]
    found = problems(howto)
    assert says in found[f"diskless:images:rhel5compute:source{path}"]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("http://mirror.example.com/debian", True),
        ("https://10.8.226.2:8443/debian-12.11~a/", True),
        ("https://mirror.example.com", True),
        ("file:///srv/mirror", True),
        ("copy:///srv/mirror/debian", True),
        ("file://srv/mirror", False),
        ("file:///", False),
        ("file:///srv/../etc", False),
        ("http://mirror.example.com/a b", False),
        ("http://user:secret@mirror.example.com/debian", False),
        ("http://mirror.example.com/debian\n", False),
        ("http://mirror.example.com/debian?a", False),
        ("http://-o/debian", False),
        ("http:///debian", False),
        ("ftp://mirror.example.com/debian", False),
        ("[trusted=yes] http://mirror.example.com/debian", False),
        ("deb http://mirror.example.com/debian bookworm main", False),
        ("http://mirror.example.com/$basearch", False),
        ("/srv/mirror", False),
        (["file:///srv/mirror"], False),
        (7, False),
    ],
)
def test_a_mirror_is_one_url(howto, url, is_one):
    howto["images"]["rhel5compute"]["source"] = {"bootstrap": {"suite": "b", "mirror": url}}
    if is_one:
        source = parse(howto).images["rhel5compute"].source
        assert source is not None and source.bootstrap is not None
        assert source.bootstrap.mirror == url
    else:
        assert "give one URL" in problems(howto)[_BOOTSTRAP + ":mirror"]


_BOOTSTRAP = "diskless:images:rhel5compute:source:bootstrap"


def test_a_repositorys_url_may_have_the_variables_of_dnf(howto):
    url = "https://mirror.example.com/rocky/$releasever/BaseOS/$basearch/os"
    bootstrap = {"releasever": 9, "repositories": {"baseos": url}}
    howto["images"]["rhel5compute"].update(source={"bootstrap": bootstrap}, packages=["kernel"])
    assert parse(howto).images["rhel5compute"].source.bootstrap.releasever == "9"
    bootstrap["repositories"]["baseos"] = url.replace("$basearch", "$uuid")
    assert "give one URL" in problems(howto)[_BOOTSTRAP + ":repositories:baseos"]


def test_what_is_bootstrapped_has_packages_and_nothing_else_of_a_golden_machine(howto):
    image = howto["images"]["rhel5compute"]
    image.update(source={"bootstrap": {"suite": "bookworm"}}, packages=["linux-image-amd64"])
    assert parse(howto).images["rhel5compute"].packages == ("linux-image-amd64",)
    image.update(absent_packages=["nano"], golden_states=["a"])
    found = problems(howto)
    assert [*found] == [
        f"diskless:images:rhel5compute:{k}" for k in ("absent_packages", "golden_states")
    ]
    image.update(absent_packages=[], golden_states=[], packages=[])
    image["source"] = {"bootstrap": {"releasever": "9", "repositories": {"a": "file:///a"}}}
    assert "what dnf is to install" in problems(howto)["diskless:images:rhel5compute:packages"]


def test_a_node_inside_a_discovery_range_is_refused(howto):
    howto["networks"]["compute"]["discovery_range"] = "10.8.136.1-10.8.136.9"
    assert "the discovery_range" in problems(howto)["diskless:nodes:node[001-002]:ip"]


def test_each_node_of_a_set_has_a_bmc_of_its_own(howto):
    howto["nodes"]["node[001-002]"]["bmc"] = "10.99.0.1+"
    nodes = parse(with_node(howto, bmc="10.99.0.3")).nodes
    found = [str(nodes[name].bmc) for name in ("node001", "node002", "extra", "node003")]
    assert found == ["10.99.0.1", "10.99.0.2", "10.99.0.3", "None"]
    assert nodes["extra"].settings is nodes["node003"].settings
    found = problems(with_node(howto, bmc="10.99.0.2"))
    assert "this is that of node002's BMC" in found["diskless:nodes:extra:bmc"]
    howto["networks"]["compute"]["discovery_range"] = "10.8.9.1-10.8.9.9"
    found = problems(with_node(howto, bmc="10.8.9.9"))
    assert "outside each discovery_range" in found["diskless:nodes:extra:bmc"]
    howto["profiles"]["compute"]["bmc"] = "10.99.0.4"
    assert [*problems(howto)] == ["diskless:profiles:compute:bmc"]


def test_the_address_of_another_boot_server_is_refused(howto):
    howto["servers"]["node900"] = {"address": "10.8.1.1", "interface": "eth0"}
    howto["networks"]["compute"]["server"] = "boot2"
    found = problems(with_node(howto, ip="10.8.1.1"))
    assert "it is the boot server node900" in found["diskless:nodes:extra:ip"]


def test_a_package_is_not_wanted_and_unwanted_on_one_golden_machine(howto):
    source = {"minion": "golden"}
    howto["images"]["rhel5compute"].update(source=source, packages=["gcc", "gdb"])
    howto["images"]["b"] = {"location": "/diskless/b", "source": source, "absent_packages": ["gdb"]}
    assert problems(howto) == {
        "diskless:images:b:absent_packages:0": "gdb; leave it out: "
        "diskless:images:rhel5compute:packages:1 has the same machine have it"
    }
    howto["images"]["b"]["source"] = {"minion": "other"}
    assert [image.name for image in parse(howto).golden("other")] == ["b"]


def test_images_may_not_lie_in_one_another(howto):
    for name, below in (("b", "/a"), ("c", "/a/b/c"), ("d", "/a/b/d")):
        howto["images"][name] = {"location": f"/diskless/i386/RHEL5-AS{below}"}
    assert {path for path in problems(howto) if path.endswith(":location")} == {
        f"diskless:images:{name}:location" for name in "bcd"
    }


def test_networks_may_not_overlap(howto):
    howto["networks"]["two"] = {"subnet": "10.8.226.0/24"}
    assert "overlaps" in problems(howto)["diskless:networks:two:subnet"]


@pytest.mark.parametrize("pillar", [None, {}, [], "text", {"nodes": []}, {"servers": 1}])
def test_rubbish_is_refused_in_words(pillar):
    assert problems(pillar)


def test_a_boot_server_gets_its_own_part_only(howto):
    howto["servers"]["node900"] = {"interfaces": {"eth1": "10.9.0.1"}}
    howto["networks"]["compute"]["server"] = "boot2"
    howto["networks"]["other"] = {"subnet": "10.9.0.0/16", "server": "node900"}
    pillar = with_node(howto, network="other", ip="10.9.0.7")
    cluster = parse(pillar)
    assert list(cluster.served_by("node900").nodes) == ["extra"]
    assert len(cluster.served_by("boot2").nodes) == 128
    assert str(cluster.nodes["extra"].network.server_address) == "10.9.0.1"


_SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")


@given(st.text(min_size=1, max_size=70))
def test_what_passes_for_a_host_name_has_only_its_characters(name):
    if schema.is_host_name(name):
        assert set(name) <= _SAFE
        assert not name.startswith(("-", ".")) and not name.endswith(("-", "."))


@given(st.dictionaries(st.text(max_size=12), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
), max_size=6))  # fmt: skip
def test_any_rubbish_ends_in_a_cluster_error(rubbish):
    names = ("servers", "networks", "images", "profiles", "nodes")
    sections = dict(zip(names, rubbish.values(), strict=False))
    with pytest.raises(ClusterError):
        parse({**rubbish, **sections})


@given(st.sets(st.integers(min_value=0, max_value=2000), min_size=1))
def test_a_folded_node_set_expands_to_the_same_names(numbers):
    names = {f"node{number:04d}" for number in numbers}
    assert set(expand(fold(names))) == names


@given(st.sets(st.integers(min_value=0x0A000000, max_value=0x0A0000FF), min_size=1))
def test_blocks_hold_just_the_addresses_that_they_were_made_of(numbers):
    from netaddr import IPNetwork

    found = set()
    for block in exports.blocks((number, number) for number in numbers):
        found |= {int(address) for address in IPNetwork(block)}
    assert found == numbers

"""A node resolves names by the pillar's name servers, whatever its /etc/resolv.conf is."""

from __future__ import annotations

import pathlib

import pytest

from tests.unit.test_node_scripts import LINE, Shell, shell

__all__ = ["shell"]

WORDS = " DISKLESS_DNS=10.8.226.2,10.8.226.3 DISKLESS_DOMAIN=example.com"
TEXT = ["search example.com", "nameserver 10.8.226.2", "nameserver 10.8.226.3"]


def resolve(shell: Shell, words: str = WORDS, before: str = "") -> None:
    """Run what a node does about name resolution."""
    (shell.place / "root/etc").mkdir(exist_ok=True)
    shell.cmdline(LINE + words)
    done = shell(f'dl_parse; {before} dl_resolve "$PLACE/root"')
    assert done.returncode == 0, done.stderr


def lines(path: pathlib.Path) -> list[str]:
    return path.read_text().splitlines()[1:]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("../run/systemd/resolve/stub-resolv.conf", "systemd/resolve/stub-resolv.conf"),
        ("/run/NetworkManager/resolv.conf", "NetworkManager/resolv.conf"),
        ("/var/run/netconfig/resolv.conf", "netconfig/resolv.conf"),
        ("/etc/resolvconf/run/resolv.conf", "resolvconf/resolv.conf"),
        ("resolvconf/run/resolv.conf", "resolvconf/resolv.conf"),
        ("../../.././run//systemd/resolve/resolv.conf", "systemd/resolve/resolv.conf"),
        ("../etc/../var/run/x/resolv.conf", "x/resolv.conf"),
    ],
)
def test_the_target_of_a_link_below_run_is_written(shell, link, target):
    (shell.place / "root/etc").mkdir()
    (shell.place / "root/etc/resolv.conf").symlink_to(link)
    resolve(shell)
    assert lines(shell.place / "run/top" / target) == TEXT
    assert (shell.place / "root/etc/resolv.conf").is_symlink()


def test_a_plain_file_in_a_read_only_root_is_bound_over(shell):
    (shell.place / "root/etc").mkdir()
    (shell.place / "root/etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    resolve(shell)
    place = shell.place
    calls = [f"mount -o bind {place}/run/resolv.conf {place}/root/etc/resolv.conf"]
    assert shell.said("calls") == calls
    assert lines(place / "run/resolv.conf") == TEXT


@pytest.mark.parametrize(
    ("links", "target"),
    [
        ({"resolv.conf": "resolv.conf.golden"}, "etc/resolv.conf.golden"),
        ({"resolv.conf": "/srv/resolv.conf"}, "srv/resolv.conf"),
        ({"resolv.conf": "a", "a": "../etc/b", "b": "/etc/./c"}, "etc/c"),
    ],
)
def test_a_link_to_a_plain_file_of_a_read_only_root_is_followed(shell, links, target):
    place = shell.place
    (place / "root/etc").mkdir()
    for name, link in links.items():
        (place / "root/etc" / name).symlink_to(link)
    (place / "root" / target).parent.mkdir(exist_ok=True)
    (place / "root" / target).write_text("nameserver 192.0.2.1\n")
    resolve(shell)
    assert shell.said("calls") == [f"mount -o bind {place}/run/resolv.conf {place}/root/{target}"]


def test_a_chain_of_links_that_ends_below_run_is_followed(shell):
    (shell.place / "root/etc").mkdir()
    (shell.place / "root/etc/resolv.conf").symlink_to("resolv.link")
    (shell.place / "root/etc/resolv.link").symlink_to("../run/systemd/resolve/resolv.conf")
    resolve(shell)
    assert lines(shell.place / "run/top/systemd/resolve/resolv.conf") == TEXT


@pytest.mark.parametrize("link", ["resolv.conf", "a b", "/etc/other/resolv.conf", "nothing"])
def test_a_link_that_leads_to_nothing_is_said_on_the_console(shell, link):
    (shell.place / "root/etc").mkdir()
    (shell.place / "root/etc/resolv.conf").symlink_to(link)
    (shell.place / "root/etc/other").symlink_to("/srv")
    resolve(shell)
    assert not any("bind" in call for call in shell.said("calls"))


@pytest.mark.parametrize(
    "link", [None, "resolv.conf.golden", "/srv/resolv.conf", "../run/../etc/x"]
)
def test_where_etc_can_be_written_the_file_is(shell, link):
    (shell.place / "root/etc").mkdir()
    if link:
        (shell.place / "root/etc/resolv.conf").symlink_to(link)
    resolve(shell, before="dl_root=squashfs;")
    assert lines(shell.place / "root/etc/resolv.conf") == TEXT
    assert not (shell.place / "root/etc/resolv.conf").is_symlink()


def test_services_that_write_it_are_told(shell):
    (shell.place / "root/etc/resolvconf").mkdir(parents=True)
    resolve(shell, before="dl_root=ram;")
    top = shell.place / "run/top"
    resolved = (top / "systemd/resolved.conf.d/zz-diskless.conf").read_text().splitlines()
    assert resolved[:3] == ["[Resolve]", "DNS=", "DNS=10.8.226.2 10.8.226.3"]
    assert resolved[3:] == ["Domains=", "Domains=example.com ~."]
    manager = (top / "NetworkManager/conf.d/diskless.conf").read_text()
    assert "searches=example.com" in manager and "servers=10.8.226.2,10.8.226.3" in manager
    assert lines(top / "resolvconf/interface/diskless") == TEXT


NETCONFIG = """## Path: Network/General
NETCONFIG_DNS_POLICY="auto"
NETCONFIG_DNS_STATIC_SEARCHLIST="golden.example"
NETCONFIG_DNS_STATIC_SERVERS="192.0.2.1 192.0.2.2"
NETCONFIG_NTP_POLICY="auto"
"""


@pytest.mark.parametrize("root", ["readonly", "squashfs"])
def test_netconfig_of_suse_is_told(shell, root):
    directory = shell.place / "root/etc/sysconfig/network"
    directory.mkdir(parents=True)
    (directory / "config").write_text(NETCONFIG)
    (shell.place / "root/etc/resolv.conf").symlink_to("/run/netconfig/resolv.conf")
    resolve(shell, before=f"dl_root={root};")
    written = (shell.place / "run/netconfig").read_text()
    expected = NETCONFIG.replace("golden.example", "example.com")
    assert written == expected.replace("192.0.2.1 192.0.2.2", "10.8.226.2 10.8.226.3")
    if root == "readonly":
        assert shell.said("calls") == [
            f"mount -o bind {shell.place}/run/netconfig {directory}/config"
        ]
        assert (directory / "config").read_text() == NETCONFIG
    else:
        assert (directory / "config").read_text() == written
    assert lines(shell.place / "run/top/netconfig/resolv.conf") == TEXT


@pytest.mark.parametrize("link", ["etc/sysconfig", "etc/sysconfig/network/config"])
def test_settings_of_netconfig_behind_a_link_are_left(shell, link):
    outside = shell.place / "outside"
    (outside / "network").mkdir(parents=True)
    (outside / "network/config").write_text(NETCONFIG)
    path = shell.place / "root" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(outside if link == "etc/sysconfig" else outside / "network/config")
    resolve(shell, before="dl_root=squashfs;")
    assert (outside / "network/config").read_text() == NETCONFIG


def test_a_root_of_netplan_follows_the_pillar(shell):
    """netplan writes settings of systemd-networkd, whose name servers are an interface's."""
    (shell.place / "root/etc/netplan").mkdir(parents=True)
    (shell.place / "root/etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    resolve(shell)
    top = shell.place / "run/top/systemd"
    assert lines(top / "resolve/stub-resolv.conf") == TEXT
    assert "Domains=example.com ~." in lines(top / "resolved.conf.d/zz-diskless.conf")


def test_a_domain_is_searched_without_name_servers(shell):
    (shell.place / "root/etc").mkdir()
    own = shell.place / "root/etc/resolv.conf"
    own.write_text("search golden.example\nnameserver 192.0.2.1\n")
    resolve(shell, " DISKLESS_DOMAIN=example.com", before="dl_root=squashfs;")
    assert lines(own) == ["search example.com", "nameserver 192.0.2.1"]
    resolved = shell.place / "run/top/systemd/resolved.conf.d/zz-diskless.conf"
    assert lines(resolved) == ["Domains=", "Domains=example.com"]


def test_all_name_servers_are_written(shell):
    """A resolver takes the first ones that it has room for: three, in glibc."""
    (shell.place / "root/etc").mkdir()
    servers = [f"10.8.226.{number}" for number in range(1, 7)]
    resolve(shell, f" DISKLESS_DNS={','.join(servers)}", before="dl_root=ram;")
    assert lines(shell.place / "root/etc/resolv.conf") == [f"nameserver {one}" for one in servers]


@pytest.mark.parametrize("why", ["no name servers", "an entry"])
def test_the_image_s_own_stays(shell, why):
    (shell.place / "root/etc").mkdir()
    (shell.place / "root/etc/resolv.conf").write_text("own\n")
    entry = "f persistent 644 0 0 /etc/resolv.conf\n" if why == "an entry" else ""
    (shell.place / "run/snapshot/.diskless/entries").write_text(entry)
    resolve(shell, WORDS if entry else "", before="dl_root=squashfs;")
    assert (shell.place / "root/etc/resolv.conf").read_text() == "own\n"
    assert not (shell.place / "run/top").exists()


@pytest.mark.parametrize("word", ["DISKLESS_DNS=$(reboot)", "DISKLESS_DOMAIN=a;b"])
def test_other_words_are_refused(shell, word):
    shell.cmdline(f"{LINE} {word}")
    assert shell("dl_parse").returncode == 1

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
    resolved = (top / "systemd/resolved.conf.d/diskless.conf").read_text()
    assert resolved == "[Resolve]\nDNS=10.8.226.2 10.8.226.3\nDomains=example.com\n"
    manager = (top / "NetworkManager/conf.d/diskless.conf").read_text()
    assert "searches=example.com" in manager and "servers=10.8.226.2,10.8.226.3" in manager
    assert lines(top / "resolvconf/interface/diskless") == TEXT


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

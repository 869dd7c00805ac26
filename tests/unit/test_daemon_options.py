"""Options with which a daemon does not serve nodes are named with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.preflight.daemon_options import dhcpd_reason, is_secure, tftpd_reason

OURS = ["10.77.0.1"]


@pytest.mark.parametrize(
    "options",
    [
        *("--secure", "-s", "-vs", "-svc", "--secure --create", "--sec", "-s -u tftp -U 022"),
        *("-s -a :69", "--secure --address 10.77.0.1:69", "-s -a10.77.0.1", "-s --address=0.0.0.0"),
        *(
            "-4 -s -m /etc/tftpd.remap",
            "-s -B 1468 -R 4096:32760",
            "--secure '-v'",
            "-s -r utimeout",
        ),
    ],
)
def test_options_that_serve_nodes_are_right(options):
    assert tftpd_reason(options, OURS) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        *[(options, "without --secure") for options in ("", "-v", "--create", "-c -u s", "-m -s")],
        *[("-s -6", "IPv4"), ("--ipv6 --secure", "IPv4")],
        *[("-s -a 127.0.0.1:69", "10.77.0.1"), ("-s --address=192.0.2.1", "10.77.0.1")],
        *[("-s -a :6969", "port 69"), ("-sa10.77.0.1:1069", "port 69")],
        *[("-s -r tsize", "tsize"), ("-s --refuse=blksize", "blksize")],
        *[("-s /srv/other", "/srv/other"), ("-s -- /srv/other", "/srv/other")],
    ],
)
def test_options_that_keep_nodes_out_have_a_reason(options, reason):
    assert reason in str(tftpd_reason(options, OURS))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        *[("", None), ("-q", None), ("dl0", None), ("-4 -q dl0 eth1", None), ("-pf /run/x", None)],
        *[("-cf /etc/dhcp/dhcpd.conf dl0", None), ("-user dhcpd -group dhcpd", None)],
        *[("-cf /etc/other.conf", "/etc/dhcp/dhcpd.conf"), ("eth1", "dl0"), ("-6", "-6")],
        *[("-p 6767", "port 67"), ("-q -t", "-t"), ("-lf /var/x eth1", "dl0")],
    ],
)
def test_arguments_of_dhcpd(arguments, reason):
    found = dhcpd_reason(arguments, "/etc/dhcp/dhcpd.conf", ["dl0"])
    assert found is None if reason is None else reason in str(found)


@given(st.text(alphabet="-sacrv6 '\"=:/.x", max_size=30))
def test_any_options_are_read(options):
    assert is_secure(options) in (True, False)
    assert isinstance(tftpd_reason(options, OURS), str | None)
    assert isinstance(dhcpd_reason(options, "/x", ["dl0"]), str | None)

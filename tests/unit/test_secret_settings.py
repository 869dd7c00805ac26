"""Settings that hold a password or a token, among settings that do not."""

from __future__ import annotations

import re

import pytest

from salt_diskless.image.secret_paths import _IN_ADDRESS, _PASSWORD

PASSWORDS = [
    *(b'  token = "abcdef"', b"DBPassword=hunter2", b"auth_pass 1111", b'shared-secret "x1y";'),
    *(b"rocommunity hidden 10.0.0.0/8", b"createUser admin SHA abcdefgh", b"secret = testing123"),
    *(b"rootpw {SSHA}abcdef", b"dns_cloudflare_api_token = abcdef", b'"encrypt": "abcd=="'),
    *(b"MONITOR ups@host 1 monuser pass primary", b"$Conf{SmbSharePasswd} = 'hunter2';"),
    *(b"encryption_passphrase: hunter2", b"admin_password = hunter2", b'secret="hunter2"'),
    *(b"node.session.auth.password = hunter2", b" password zebra", b"wpa_passphrase=hunter22"),
    *(b'api_key: "abc:def"', b'bind_password => "abc"', b'Password = "abcdef"  # it'),
]
NO_PASSWORDS = [
    *(b'# token = "abcdef"', b"; password = x12", b"TLSPSKFile=/etc/zabbix/a.psk", b'token = ""'),
    *(b"rocommunity  public default -V systemonly", b"password =", b"// nothing", b"tokens_left"),
    *(b"encrypt_verify = true", b"#node.session.auth.password = password", b"LogFile=/var/log/x"),
]
ADDRESSES = [
    *(b"deb https://me:secret@repo.example/debian bookworm main", b"password = hunter2"),
    *(b'Acquire::http::Proxy "http://u:p1@proxy:3128";', b"http_proxy=http://u:p1@proxy:3128/"),
    *(b"export GITHUB_TOKEN=abcdef", b"baseurl=https://u:p1@mirror/os", b"DB_PASSWORD='hunter2'"),
    b'Environment="HTTPS_PROXY=http://u:p1@proxy"',
]
NO_ADDRESSES = [
    *(b"deb https://deb.example/debian bookworm main", b"# http://u:p1@proxy/", b"PATH=/usr/bin"),
    *(b"http_proxy=http://proxy:3128/", b"baseurl=https://mirror/a:b@c", b"password=$password"),
    b"GPG_TTY=$(tty)",
]


@pytest.mark.parametrize("line", PASSWORDS)
def test_a_password_in_settings(line):
    assert re.search(_PASSWORD, b"[section]\n" + line + b"\n")


@pytest.mark.parametrize("line", NO_PASSWORDS)
def test_settings_without_a_password(line):
    assert not re.search(_PASSWORD, b"[section]\n" + line + b"\n")


@pytest.mark.parametrize("line", ADDRESSES)
def test_a_password_in_an_address(line):
    assert re.search(_IN_ADDRESS, b"# a comment\n" + line + b"\n")


@pytest.mark.parametrize("line", NO_ADDRESSES)
def test_an_address_without_a_password(line):
    assert not re.search(_IN_ADDRESS, b"# a comment\n" + line + b"\n")

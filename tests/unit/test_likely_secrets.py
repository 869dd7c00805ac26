"""Files that are probably secret are recognised by their names and by what they hold."""

from __future__ import annotations

import pathlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.files.beneath import Tree
from salt_diskless.image.likely_secrets import holds_password, likely

SETTINGS = {
    "ini": "[client]\npassword = hunter2\n",
    "yaml": "database:\n  db_password: hunter2\n",
    "json": '{"auth": {"bind_password": "hunter2"}}\n',
    "shell": "export AWS_SECRET_ACCESS_KEY=abcdef\n",
    "PHP's array": "'dbpassword' => 'hunter2',\n",
    "PHP's define": "define('DB_PASSWORD', 'hunter2');\n",
    "XML": "<Config><Password>hunter2</Password></Config>\n",
    "XML attribute": "<graphics type='vnc' passwd='hunter2'/>\n",
    "words": "bindpw hunter2\n",
    "quoted words": 'key omapi { algorithm hmac-md5; secret "abcdef=="; };\n',
    "redis": "requirepass hunter2\n",
    "kickstart": "rootpw --iscrypted $6$abcdef$abcdefghijkl\n",
    "unit": "[Service]\nEnvironment=DB_PASSWORD=hunter2\n",
    "address": "http_proxy=http://ann:hunter2@proxy:3128\n",
    "shadow": "root:$y$j9T$abc$defgh.ijk:19000:0:99999:7:::\n",
    "htpasswd": "ann:$apr1$abcdefgh$abcdefghijk\n",
    "LDAP": "rootpw {SSHA}abcdefghijklmnop\n",
    "GitHub": "x: ghp_abcdefghijklmnop1234\n",
    "JWT": "auth eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc\n",
    "after a comment": "# password = x\nsecret_key: hunter22\n",
    "CRLF": "password=hunter2\r\n",
}
HARMLESS = {
    "comments": "# password = hunter2\n; secret = hunter2\n// token: hunter2\n",
    "XML comment": "<!-- <password>hunter2</password> -->\n",
    "sshd": "PasswordAuthentication yes\nPermitRootLogin prohibit-password\n",
    "NSS": "passwd: files systemd\nshadow: files\n",
    "PAM": "password requisite pam_pwquality.so retry=3\n",
    "a path": "ssl_key_password: /etc/app/password\n",
    "a variable": "password = ${DB_PASSWORD}\nTOKEN=$TOKEN\nsecret: {{ vault_secret }}\n",
    "empty": "password =\npassword: ''\nsecret=\n",
    "a word": "password: none\npassword = false\ntoken: null\n",
    "a number": "password_timeout = 15\nmax_token=512\n",
    "other words": "bypass = always\ncompass: north\nkey = value\n",
    "a program": "#!/bin/sh\npassword=read_it\nread -r password\n",
    "no text": "\0\0password=hunter2\n",
}


@pytest.mark.parametrize("text", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_with_a_password_is_recognised(text):
    assert holds_password(text.encode())


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_other_settings_are_not(text):
    assert not holds_password(text.encode())


@given(st.text(alphabet="password=: \"'\n#;<>!-$tokenAB{}[].", max_size=300))
def test_any_text_is_read(text):
    assert holds_password(text.encode()) in (True, False)


@pytest.mark.parametrize(
    "piece", ["<!--", "password", "a a a a ", "a-", "://", "eyJ", "$5$", "password ", "w:", "'"]
)
def test_no_text_takes_long(piece):
    begin = time.process_time()
    holds_password((piece * (65536 // len(piece))).encode())
    assert time.process_time() - begin < 10


NAMED = [
    *("etc/app/app.key", "etc/zabbix/keys/agent.psk", "opt/munge/etc/munge/munge.key"),
    *("usr/local/etc/beegfs/connAuthFile", "etc/ipmi_pass", "var/lib/app/x.keytab"),
    *("etc/cups/passwd.md5", "etc/vault/approle/secret-id", "srv/app/.env", "etc/master.passwd"),
    *("var/lib/consul/serf/local.keyring", "home/ann/pw.kdbx", "etc/jupyterhub/cookie_secret"),
    *("etc/kubernetes/token.csv", "var/lib/kube-proxy/kubeconfig", "etc/borg/passphrase"),
]
PUBLIC = [
    *("etc/pam.d/passwd", "etc/trusted-key.key", "etc/alternatives/secret", "var/lib/dpkg/info/x"),
    "var/lib/pam/password",
    *("usr/local/lib/python3.11/secrets.py", "opt/app/token.js", "etc/ssl/certs/x.key"),
    *("var/lib/unbound/root.key", "etc/app/password.d/x", "srv/doc/password.html"),
]


def put(tree: pathlib.Path, path: str, text: str = "abcdefgh\npassword=hunter2\n") -> None:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)


def test_files_are_recognised_by_name(tmp_path):
    for path in (*NAMED, *PUBLIC[:-2]):
        put(tmp_path, path)
    put(tmp_path, "etc/app/public.key", "-----BEGIN PUBLIC KEY-----\nAAAA\n")
    put(tmp_path, "etc/app/empty.key", "")
    put(tmp_path, "etc/app/example.key", "# comment\n")
    with Tree(str(tmp_path)) as root:
        assert [path[1:] for path in likely(root)] == sorted(NAMED)


def test_what_is_meant_to_be_in_the_image_is_not_returned(tmp_path):
    for path in NAMED:
        put(tmp_path, path)
    with Tree(str(tmp_path)) as root:
        assert "/etc/app/app.key" not in likely(root, ["/etc/app/*.key"])


def test_links_are_not_followed(tmp_path):
    tree = tmp_path / "tree"
    put(tree, "etc/passwd", "x")
    put(tmp_path, "outside/munge.key")
    (tree / "etc/munge.key").symlink_to(tmp_path / "outside/munge.key")
    (tree / "opt").symlink_to(tmp_path / "outside")
    with Tree(str(tree)) as root:
        assert likely(root) == []

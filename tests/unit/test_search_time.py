"""What is searched for in files of a golden root, or in what somebody typed, is found or not in a
time that is linear in the text."""

from __future__ import annotations

import re
import time

import pytest

from salt_diskless.cluster.placeholders import is_placeholder
from salt_diskless.image import mounts, secrets
from salt_diskless.image.machine_identity import Kind, rows
from salt_diskless.services import dhcpd, surroundings, tftp

_SIZE = 64 * 1024
_SETTINGS = sorted({row.having for row in rows(Kind.SECRET) if row.having})
_TEXTS = [
    *(b"\n", b"\t\n", b" ", b"a", b"token ", b"password\n", b'"', b"MONITOR a ", b"a:", b"://a:"),
    *(b"bindpw ", b"api_key", b"PrivateKey ", b"What\n", b"rocommunity ", b"aaaaaaaaaa:", b"= "),
]
_BEFORE = [b"", b"token", b"bindpw", b"api_key", b"x:", b"MONITOR a", b"PrivateKey", b"What"]


@pytest.mark.parametrize(
    "pattern",
    [
        *map(re.compile, _SETTINGS),
        *(secrets._KEY, secrets._HASH, mounts._DISK),
        *(
            re.compile(one.pattern.encode(), re.MULTILINE)
            for one in (dhcpd._LEASE_FIELD, surroundings._SERVICES, tftp._KERNEL)
        ),
    ],
    ids=lambda one: repr(one.pattern[:30]),
)
def test_a_file_of_a_golden_root_is_searched_at_once(pattern: re.Pattern[bytes]):
    start = time.process_time()
    for before in _BEFORE:
        for text in _TEXTS:
            pattern.search(before + text * (_SIZE // len(text)))
    # 136 files; a search that takes quadratic time needs a minute for one.
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "text", ["serialnumber" * 1000 + "x1", "mbsn" * 4000 + "!", "sn" * 8000, "0" * 16000, "x" * 65]
)
def test_a_long_text_is_no_placeholder(text: str):
    start = time.process_time()
    assert not is_placeholder(text)
    assert time.process_time() - start < 10


def test_the_longest_serial_is_read_at_once():
    start = time.process_time()
    assert not is_placeholder(("serialnumber" * 6)[:61] + "xq1")
    assert not is_placeholder("mbsn" * 15 + "qz1")
    assert time.process_time() - start < 10

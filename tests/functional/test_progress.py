"""A sync says how far it is."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import pty
import re
import subprocess
import sys

import pytest

from salt_diskless.cluster import Image, Source
from salt_diskless.image import rsync
from salt_diskless.image.progress import Progress
from salt_diskless.image.sync import sync
from tests.conftest import CHECKOUT

LARGE = 30 << 20


@pytest.fixture
def large(golden: pathlib.Path) -> pathlib.Path:
    """A golden root with more than rsync copies in one breath."""
    for number in range(30):
        (golden / f"usr/large-{number}").write_bytes(os.urandom(LARGE // 30))
    return golden


def test_it_reports_bytes_and_files_and_how_much_is_left(large, location, monkeypatch):
    monkeypatch.setattr(rsync, "REPORTS", 0)
    reports: list[Progress] = []
    sync(Image("tiny", "", str(location), Source(directory=str(large))), report=reports.append)
    assert len(reports) > 10
    for before, after in itertools.pairwise(reports):
        assert before.bytes <= after.bytes and before.files <= after.files
    assert reports[-1].bytes > LARGE and reports[-1].files > 30
    assert reports[0].percent < 90 < reports[-1].percent <= 100


def test_what_was_sent_is_in_the_metadata_of_the_version(salt_call, pillar, large):
    modules = salt_call(pillar).modules
    modules["diskless_image.sync"]()
    first = modules["diskless_image.show"]("tiny")["bytes_sent"]
    assert LARGE < first < 1.2 * LARGE + (4 << 20)
    (large / "etc/motd").write_text("newer\n")
    modules["diskless_image.sync"]()
    assert 0 < modules["diskless_image.show"]("tiny")["bytes_sent"] < 100_000


def test_salt_call_shows_a_line_of_it_on_a_terminal_and_nothing_elsewhere(large, pillar, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/minion").write_text(
        json.dumps(
            {
                "id": "bootserver",
                "file_client": "local",
                "root_dir": str(tmp_path / "salt"),
                "pillar_roots": {"base": [str(tmp_path / "pillar")]},
                "module_dirs": [str(CHECKOUT / "salt_diskless/modules")],
                "grains": {"os_family": "Debian"},
            }
        )
    )
    (tmp_path / "pillar").mkdir()
    (tmp_path / "pillar/top.sls").write_text("base: {'*': [cluster]}\n")
    (tmp_path / "pillar/cluster.sls").write_text(json.dumps({"diskless": pillar}))
    python = pathlib.Path(sys.executable)
    command = [python, python.with_name("salt-call"), "-c", tmp_path / "conf", "--out=json"]
    command += ["--log-level=error", "diskless_image.sync"]
    master, slave = pty.openpty()
    answers = []
    for errors in (slave, subprocess.PIPE):
        (large / "etc/motd").write_text(f"{errors}\n")
        for number in range(30):
            (large / f"usr/large-{number}").write_bytes(os.urandom(LARGE // 30))
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
            stderr=errors,
            check=True,
        )
        answers.append(json.loads(done.stdout)["local"]["tiny"]["changed"])
    os.close(slave)
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    assert answers == [True, True]
    assert re.search(r"\rtiny  +[0-9]+ %  [0-9.]+ MB  [0-9]+ files  [0-9.]+ MB/s", shown), shown
    assert shown.endswith("\n")
    assert done.stderr == b""

"""What salt-run itself shows, and its exit code."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from tests.conftest import CHECKOUT
from tests.unit.registry import PILLAR


@pytest.fixture
def salt_run(tmp_path: pathlib.Path):
    """Return a function that calls salt-run on a master that does not run."""
    (tmp_path / "pillar").mkdir()
    (tmp_path / "root/cache/proc").mkdir(parents=True)
    (tmp_path / "pillar/top.sls").write_text("base: {'*': [cluster]}\n")
    (tmp_path / "pillar/cluster.sls").write_text(yaml.safe_dump({"diskless": PILLAR}))
    directories = {"cachedir": "cache", "pki_dir": "pki", "sock_dir": "run", "log_file": "log"}
    (tmp_path / "master").write_text(
        yaml.safe_dump(
            {
                **{key: str(tmp_path / "root" / name) for key, name in directories.items()},
                "root_dir": str(tmp_path / "root"),
                "user": "root",
                "pillar_roots": {"base": [str(tmp_path / "pillar")]},
                "runner_dirs": [str(CHECKOUT / "salt_diskless/runners")],
                "ext_pillar": [{"diskless_nodes": {}}],
            }
        )
    )

    def run(*arguments: str) -> tuple[int, str]:
        program = os.path.join(os.path.dirname(sys.executable), "salt-run")
        done = subprocess.run(
            [program, "-c", str(tmp_path), "--log-level=quiet", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["diskless.forget", "nosuch"], "'nosuch': found no such machine in the registry; give"),
    ],
)
def test_an_error_is_a_sentence_and_an_exit_code(salt_run, arguments, words):
    code, output = salt_run(*arguments)
    assert code == 1
    assert words in output and "Traceback" not in output and "Exception occurred" not in output


def test_unknown_names_are_an_exit_code(salt_run):
    code, output = salt_run("diskless.nodes", "node[003,009]", "ask=False", "--out=json")
    assert code == 1
    assert yaml.safe_load(output)["node009"] == {"state": "unknown"}

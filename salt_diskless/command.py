"""The one place that runs other programs."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from salt_diskless.cluster.errors import DisklessError

log = logging.getLogger(__name__)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(DisklessError):
    """A program could not be run or said no. ``result`` is what it said, or None."""

    def __init__(self, message: str, result: Result | None = None):
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True)
class Result:
    """What a program left: its exit code, and its two outputs as text."""

    code: int
    stdout: str
    stderr: str


def installed(program: str) -> bool:
    """Tell whether :func:`run` would find a program."""
    return shutil.which(program, path=_PATH) is not None


def run(
    argv: Sequence[str],
    *,
    ok: Sequence[int] = (0,),
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float | None = None,
    ends_with_us: bool = False,
    each: Callable[[str], None] | None = None,
    cwd: str = "/",
) -> Result:
    """Run ``argv`` (never a shell) in the C locale with a path of system directories.

    ok
        Exit codes that are no error.
    env
        Variables beside the few that every program gets.
    timeout
        Seconds after which it is killed; None waits for as long as it takes.
    ends_with_us
        Whether it is killed when this process is: for what writes where a next run will.
    each
        Called with each line that it writes to its standard output, while it runs; an exception of
        its own ends the program.
    cwd
        The directory that it runs in.

    Raises :class:`CommandFailed` with the program's own words.
    """
    line = shlex.join(argv)
    if ends_with_us:
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
    log.debug("running: %s", line)
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/root")}
    environment.update(env or {})
    try:
        if each is not None:
            done = _followed(list(argv), environment, each, cwd)
        else:
            done = subprocess.run(
                list(argv),
                env=environment,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                cwd=cwd,
            )
    except FileNotFoundError as err:
        raise CommandFailed(f"{argv[0]} is not installed (for: {line})") from err
    except subprocess.TimeoutExpired as err:
        raise CommandFailed(f"no end after {timeout} seconds: {line}") from err
    result = Result(done.returncode, done.stdout, done.stderr)
    if result.code not in ok:
        said = (result.stderr.strip() or result.stdout.strip() or "nothing").splitlines()
        raise CommandFailed(f"{line} ended with {result.code}: " + "\n".join(said[-12:]), result)
    return result


def _followed(
    argv: list[str], environment: Mapping[str, str], each: Callable[[str], None], cwd: str
) -> subprocess.CompletedProcess[str]:
    """Run a program, and hand on its lines while it runs (a carriage return ends one too)."""
    lines = []
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        with subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            errors="replace",
            cwd=cwd,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line)
                    each(line)
            except BaseException:
                process.kill()
                raise
        complaints.seek(0)
        said = complaints.read()
    return subprocess.CompletedProcess(argv, process.returncode, "".join(lines), said)

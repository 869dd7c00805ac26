"""What every Salt adapter uses: the pillar's one accessor, the cluster, and errors for Salt."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import salt.utils.files
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from salt.exceptions import (
    CommandExecutionError,
    NotImplemented,
    SaltClientError,
    SaltException,
)

import salt_diskless.adapter.loading  # noqa: F401
from salt_diskless import disk, preflight
from salt_diskless.adapter import arguments
from salt_diskless.cluster import Cluster, ClusterError, DisklessError, Site, parse
from salt_diskless.cluster.errors import Problem
from salt_diskless.garbage import uncollected
from salt_diskless.platform import Platform
from salt_diskless.platform import of as platform_of
from salt_diskless.services import told

#: Key of ``__context__``: in test mode, the images that would get a new version in this run.
PENDING = "diskless.pending_images"

#: The last pillar that was parsed: the object that it came as, its plain data, what the registry
#: told since, and what came of it: also where that is an error.
_parsed: tuple[Any, dict[str, Any], told.News, Cluster | ClusterError] | None = None
#: The last site, and the cluster and the minion that it is of.
_site: tuple[Cluster, str, Site] | None = None


def pillar(dunder_pillar: Any) -> dict[str, Any]:
    """Return the pillar below ``diskless`` as plain dicts, lists and scalars.

    dunder_pillar
        The caller's ``__pillar__``. Never ``pillar.get``: from a module it answers with
        ``**********`` in Salt 3008; and the containers of ``__pillar__`` are masked there when
        they are shown, so what is handed on is a copy made leaf by leaf.
    """
    raw = dunder_pillar.get("diskless") or {}
    try:
        plain = _plain(raw)
    except RecursionError:
        raise DisklessError(
            "diskless: found a value that contains itself; give plain data"
        ) from None
    # Something else than a mapping is an error of the parser.
    return plain


def _plain(value: Any) -> Any:
    if type(value) is str:  # Nearly all of it.
        return value
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def cluster(dunder_pillar: Any) -> Cluster:
    """Return the checked cluster of the caller's ``__pillar__``, and of what the master's registry
    told this boot server since that was compiled.

    It is parsed once for any number of states and SLS files: Salt hands on the same object, or an
    equal one. Raises :class:`ClusterError` with all that is wrong.
    """
    global _parsed  # noqa: PLW0603
    if "diskless" not in dunder_pillar:
        raise ClusterError([_missing(dunder_pillar)])
    raw = dunder_pillar.get("diskless")
    news = told.since(_number(raw))
    if _parsed is None or raw is not _parsed[0] or news != _parsed[2]:
        data = pillar(dunder_pillar)
        if _parsed is None or _parsed[1:3] != (data, news):
            _parsed = (raw, data, news, _outcome(data, news))
    outcome = _parsed[3]
    if isinstance(outcome, ClusterError):
        raise ClusterError(outcome.problems)
    return outcome


def _missing(dunder_pillar: Any) -> Problem:
    """Return why a minion's pillar has no ``diskless``: Salt found an error in a file and left it
    out, which it says below ``_errors``, or no file has it."""
    if errors := dunder_pillar.get("_errors"):
        text = ascii(" ".join(map(str, errors)))[:400]
        right = "correct the pillar's top.sls, or add that file"
        if "Rendering" in text:
            right = (
                "correct that file: Salt's log (the master's, where there is one) has the line. A "
                "tab and a wrong indentation are frequent causes"
            )
        return Problem("the pillar", text, right)
    return Problem(
        "diskless",
        "no such key in this minion's pillar",
        "write it as pillar.example shows, with 'diskless:' in the first column, and have the "
        "pillar's top.sls assign that file to this minion",
    )


def _outcome(data: dict[str, Any], news: told.News) -> Cluster | ClusterError:
    """Return the cluster of a pillar, or the error that names all that is wrong in it."""
    if news and isinstance(data, Mapping):
        data = {**data, "nodes": told.over(data.get("nodes"), news)}
    try:
        return parse(data)
    except ClusterError as err:
        # Without its traceback, which holds every value of the parse.
        return ClusterError(err.problems)


def _number(raw: Any) -> int:
    """Return how far the registry had counted when a pillar was compiled: 0 where it had not."""
    registry = raw.get("registry") if isinstance(raw, Mapping) else None
    number = registry.get("number") if isinstance(registry, Mapping) else None
    return number if isinstance(number, int) else 0


def cluster_of(dunder_pillar: Any, nodes: Mapping[str, Any]) -> Cluster:
    """Return the checked cluster of the caller's ``__pillar__`` with these nodes in place of its
    own, which are not even read.

    nodes
        As below ``diskless:nodes`` in the pillar.

    Raises :class:`ClusterError` with all that is wrong.
    """
    raw = dunder_pillar.get("diskless") or {}
    if not isinstance(raw, Mapping):
        return parse(pillar(dunder_pillar))
    others = {key: raw[key] for key in raw if key != "nodes"}
    return parse({**pillar({"diskless": others}), "nodes": nodes})


def site(dunder_pillar: Any, opts: Mapping[str, Any]) -> Site:
    """Return what this minion has to do as a boot server."""
    global _site  # noqa: PLW0603
    whole = cluster(dunder_pillar)
    if _site is None or _site[0] is not whole or _site[1] != opts["id"]:
        _site = (whole, opts["id"], whole.served_by(opts["id"]))
    return _site[2]


def require_fit(
    dunder_pillar: Any, opts: Mapping[str, Any], grains: Mapping[str, Any]
) -> tuple[Site, Platform]:
    """Return what this boot server has to do and its names, when it can do that.

    Raises :class:`ClusterError` with all that is wrong in the pillar; or, where that is right, with
    all that keeps this machine from being that boot server.
    """
    here, names = site(dunder_pillar, opts), platform(grains, dunder_pillar)
    preflight.require(here, names, cluster(dunder_pillar))
    return here, names


def platform(grains: Mapping[str, Any], dunder_pillar: Any) -> Platform:
    """Return what this distribution calls its packages, services and files."""
    return platform_of(grains["os_family"], cluster_of(dunder_pillar, {}).lookup)


def make_pair() -> tuple[bytes, bytes]:
    """Return a new private key of a Salt minion, and its public half, as Salt writes them: PEM.

    Salt 3006 has no function for that which writes no file.
    """
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


@contextlib.contextmanager
def salt_error() -> Iterator[None]:
    """The project's errors become Salt's."""
    try:
        yield
    except DisklessError as err:
        raise CommandExecutionError(str(err)) from err
    except OSError as err:
        where = f"{err.filename}: {err.strerror}" if err.filename else str(err)
        if err.errno in disk.REMEDIES:
            where += f"; {disk.REMEDIES[err.errno]} and run the command again"
        raise CommandExecutionError(where) from err


def execution(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an execution function: its arguments are checked, the project's errors become
    Salt's, and modes are what the project says, whatever the umask of the admin's shell is."""
    return _guarded(arguments.checked(function))


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an execution function that only reads: as :func:`execution`, and its errors do not
    talk of changes."""
    return _guarded(only_reads(arguments.checked(function)))


def only_reads(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that changes nothing, so that its errors do not say so."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ClusterError as err:
            raise DisklessError(err.described()) from err

    return wrapped


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with salt_error(), salt.utils.files.set_umask(0o022), uncollected():
            return function(*args, **kwargs)

    return wrapped


class RunnerError(CommandExecutionError, NotImplemented):
    """An error of a runner. salt-run shows the text of a ``NotImplemented``, which Salt has for
    that, and the traceback of every other exception (``salt/client/mixins.py``)."""


@contextlib.contextmanager
def _runner_error() -> Iterator[None]:
    """The project's errors and Salt's become one that salt-run shows without a traceback."""
    try:
        with salt_error():
            yield
    except SaltClientError as err:
        raise RunnerError(f"salt-master: found no answer ({err}); start it, and try again") from err
    except SaltException as err:
        raise RunnerError(str(err)) from err


def runner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of a runner: its arguments are checked, and the project's errors become
    Salt's, which salt-run shows without a traceback. Salt puts ``__user__`` into the globals of the
    function that it calls, so these are the runner's own, and not this module's."""
    errors, checked = _runner_error, arguments.checked(function)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with errors():
            return checked(*args, **kwargs)

    name, closure = function.__name__, wrapped.__closure__
    return functools.wraps(function)(
        types.FunctionType(wrapped.__code__, function.__globals__, name, None, closure)
    )


def state(
    name: str, test: bool, apply: Callable[..., dict[str, Any]], what: str, **arguments: Any
) -> dict[str, Any]:
    """Return a state's result after one call of an execution function.

    apply
        Takes ``test`` and ``arguments``, and returns the changes.
    what
        The thing's name for the comment, such as ``the TFTP root``.
    """
    try:
        changes = apply(test=test, **arguments)
    except CommandExecutionError as err:
        return failed(name, err)
    # Salt shows them beside the comment.
    warnings = {"warnings": found} if (found := changes.pop("warnings", None)) else {}
    if not changes:
        comment = f"{what[0].upper()}{what[1:]}: as the pillar says"
        return {"name": name, "result": True, "changes": {}, "comment": comment, **warnings}
    comment = f"{what[0].upper()}{what[1:]}: {'would be changed' if test else 'changed'}"
    return {
        "name": name,
        "result": None if test else True,
        "changes": changes,
        "comment": comment,
        **warnings,
    }


def failed(name: str, err: Exception) -> dict[str, Any]:
    """Return the result of a state that could not do its work and says why."""
    return {"name": name, "result": False, "changes": {}, "comment": str(err)}

"""Options of the admin with which a daemon does not serve the nodes: in.tftpd(8), dhcpd(8)."""

from __future__ import annotations

import getopt
import shlex
from collections.abc import Collection, Iterable

_TFTPD_SHORT = "46cspvVlLa:B:u:U:r:t:T:R:m:P:"
_TFTPD_LONG = (
    *("ipv4", "ipv6", "create", "secure", "permissive", "verbose", "verbosity=", "version"),
    *("listen", "foreground", "address=", "blocksize=", "umask=", "refuse=", "timeout="),
    *("retransmit=", "port-range=", "map-file=", "pidfile=", "user="),
)
#: Words of dhcpd that a value follows, and those with which it does not serve.
_DHCPD_VALUES = frozenset({"-cf", "-lf", "-pf", "-tf", "-p", "-s", "-user", "-group", "-chroot"})
_DHCPD_ENDS = frozenset({"-t", "-T", "-6", "-4o6", "--version", "-play"})
_ANY_HOST = frozenset({"", "0.0.0.0", "::"})


def is_secure(options: str) -> bool:
    """Return True if in.tftpd takes the relative names that nodes ask for."""
    return any(name in ("-s", "--secure") for name, _ in _parsed(options)[0])


def tftpd_reason(options: str, addresses: Collection[str]) -> str | None:
    """Return why nodes get nothing from an in.tftpd with these options, or None.

    addresses
        Those of the boot server that nodes ask.
    """
    given, words = _parsed(options)
    if words:
        return f"in.tftpd would serve {words[0]} too, which --secure does not allow"
    for name, value in given:
        if name in ("-6", "--ipv6"):
            return "nodes boot by IPv4"
        if name in ("-a", "--address") and (reason := address_reason(value, addresses)):
            return reason
        if name in ("-r", "--refuse") and value in ("tsize", "blksize"):
            return f"loaders ask for the option {value}"
    if not is_secure(options):
        return "without --secure the TFTP daemon refuses the relative names that nodes ask for"
    return None


def address_reason(value: str, addresses: Collection[str]) -> str | None:
    """Return why a TFTP daemon that is bound to ``host``, ``:port`` or ``host:port`` does not serve
    nodes, or None."""
    host, colon, port = value.rpartition(":")
    if not colon or value.endswith("]"):
        host, port = value, ""
    if port not in ("", "69", "tftp"):
        return "nodes ask for files at port 69"
    if host.strip("[]") not in (*_ANY_HOST, *addresses):
        return f"the TFTP daemon has to listen on {', '.join(sorted(addresses))}"
    return None


def dhcpd_reason(arguments: str, config: str, interfaces: Iterable[str]) -> str | None:
    """Return why dhcpd with these arguments does not serve nodes, or None.

    config
        The configuration that the project writes.
    interfaces
        Those of the nodes' networks.
    """
    words = iter(_words(arguments))
    names = set()
    for word in words:
        if word in _DHCPD_ENDS:
            return f"with {word}, dhcpd gives no addresses to nodes"
        value = next(words, "") if word in _DHCPD_VALUES else None
        if word == "-cf" and value != config:
            return f"dhcpd has to read {config}"
        if word == "-p" and value != "67":
            return "nodes ask for addresses at port 67"
        if value is None and not word.startswith("-"):
            names.add(word)
    missing = sorted({*interfaces})
    if names and not {*missing} <= names:
        return f"dhcpd has to listen on {', '.join(missing)}"
    return None


def _parsed(options: str) -> tuple[list[tuple[str, str]], list[str]]:
    try:
        return getopt.gnu_getopt(_words(options), _TFTPD_SHORT, [*_TFTPD_LONG])
    except getopt.GetoptError:
        # in.tftpd ends with an error of its own then, and its service does not run.
        return [("-s", "")], []


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()

"""dhcpd.conf(5) of ISC: its host declarations, wherever they stand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, schema
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import ADDRESS, Found, mac

_TOKEN = re.compile(r'#[^\n]*|"((?:[^"\\\n]|\\.)*)"|[{};,]|"|[^\s{};,"#]+|\n')
#: dhcpd.conf(5), "hardware": what else there is beside Ethernet.
_DELETED = "a declaration that dhcpd has deleted"
_NO_MAC = "no hardware ethernet; a node boots by its MAC"


@dataclasses.dataclass(slots=True)
class _Block:
    """What is between two braces.

    line
        That of its first brace.
    host
        What a host declaration says; None for any other block.
    boots
        False below ``deny booting`` or ``ignore booting``.
    """

    line: int
    host: Found | None
    boots: bool


def nodes(text: str) -> Iterator[Found]:
    """Yield a node for each host. Its name is the declaration's, unless that has an ``option
    host-name``; where the name is no host name, that of its ``fixed-address`` counts. Its addresses
    may be names, which another file has. What names machines otherwise (``include``, ``subclass``)
    is yielded with the reason that it is not read."""
    listing = list(_declarations(text))
    # dhcpd.leases is a journal: a host that is deleted was declared before that.
    deleted = {host.name: index for index, host in enumerate(listing) if host.skip == _DELETED}
    for index, host in enumerate(listing):
        if host.skip == _DELETED or index >= deleted.get(host.name, 0):
            yield host


def _declarations(text: str) -> Iterator[Found]:
    whole = _Block(1, None, True)
    stack: list[_Block] = []
    words: list[str] = []
    line = 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token.startswith("#"):
            continue
        elif token == '"':
            # To look for the end of the next one, and the next one, would be quadratic.
            raise DisklessError(f"line {line}: found a quote without its end on the same line")
        elif token == "{":
            yield from _other(words, line)
            boots = (stack[-1] if stack else whole).boots
            stack.append(_Block(line, _host(words, line), boots))
            words = []
        elif token == "}":
            if not stack:
                raise DisklessError(f"line {line}: found a }} too many; is it all of dhcpd.conf?")
            block = stack.pop()
            if block.host is not None:
                _require_end(words, line)
                yield _named(_without_boot(block))
            words = []
        elif token == ";":
            yield from _other(words, line)
            _state(stack[-1] if stack else whole, words, line)
            words = []
        else:
            words.append(token if match[1] is None else match[1])
    if stack:
        raise DisklessError(
            f"line {stack[-1].line}: found a {{ without its }}; give the whole dhcpd.conf"
        )


def _keyword(words: list[str]) -> str:
    """Return the first word of a statement; dhcpd does not mind capitals."""
    return words[0].lower() if words else ""


def _host(words: list[str], line: int) -> Found | None:
    """Return the host that is declared by the words before a brace, or None for another block.

    Raises :class:`DisklessError` for a host without a name, and for one in a statement that nothing
    ends: it would be lost.
    """
    is_host = _keyword(words) == "host"
    if is_host and len(words) == 2:
        return Found(words[1], line, certain=False, skip=_NO_MAC)
    if is_host or (len(words) > 2 and words[-2].lower() == "host"):
        _require_end(words[:-2], line)
        raise DisklessError(f"line {line}: found {shown(' '.join(words))}; give 'host NAME {{'")
    return None


def _require_end(words: list[str], line: int) -> None:
    if words:
        raise DisklessError(
            f"line {line}: found no ';' after {shown(' '.join(words)[:80])}; end each statement "
            "with one"
        )


def _other(words: list[str], line: int) -> Iterator[Found]:
    """Yield what names machines and is no host declaration."""
    if _keyword(words) == "include" and len(words) == 2:
        yield Found(
            words[1], line, certain=False, skip="a file that is included; name that file, too"
        )
    elif _keyword(words) == "subclass" and len(words) > 2:
        yield Found(words[2], line, certain=False, skip="a subclass, which has no address")


def _state(block: _Block, words: list[str], line: int) -> None:
    """Take a statement into its block."""
    if len(words) == 2 and words[1].lower() == "booting":
        block.boots = _keyword(words) == "allow"
    elif block.host is not None:
        block.host = _with(block.host, words, line)


def _without_boot(block: _Block) -> Found:
    """Return the host of a block, with the reason where dhcpd does not let it boot."""
    assert block.host is not None
    if block.boots or block.host.skip:
        return block.host
    return dataclasses.replace(block.host, skip="deny booting; dhcpd does not answer it")


def _with(host: Found, words: list[str], line: int) -> Found:
    """Return the host with what one of its statements says."""
    first, second = _keyword(words), _keyword(words[1:])
    if first == "hardware":
        return _with_hardware(host, words, line)
    if first == "fixed-address" and len(words) > 1:
        given = tuple(word for word in words[1:] if word != ",")
        if not all(ADDRESS.fullmatch(word) or _is_name(word) for word in given):
            raise DisklessError(
                f"line {line}: found fixed-address {shown(' '.join(given))} of {host.name}; give "
                "an address, or the name of one"
            )
        given = (*((host.ip,) if host.ip else ()), *host.others, *given)
        address = next((word for word in given if ADDRESS.fullmatch(word)), None)
        others = tuple(word for word in dict.fromkeys(given) if word != address)
        return dataclasses.replace(host, ip=address, others=others)
    name = ""
    if first == "option" and second == "host-name" and len(words) == 3:
        name = words[2]
    elif first == "ddns-hostname" and len(words) == 2:
        name = words[1]
    elif first == "supersede" and second == "host-name" and len(words) == 4 and words[2] == "=":
        name = words[3]
    if name:
        if first == "ddns-hostname" and schema.is_host_name(host.name):
            return host
        return dataclasses.replace(host, name=name, aliases=(host.name, *host.aliases))
    if words == ["deleted"]:
        return dataclasses.replace(host, mac=None, skip=_DELETED)
    return host


def _with_hardware(host: Found, words: list[str], line: int) -> Found:
    """Return the host with the address of its card; a node boots by that of an Ethernet card."""
    if len(words) != 3:
        raise DisklessError(
            f"line {line}: found {shown(' '.join(words)[:80])}; give 'hardware ethernet MAC;'"
        )
    kind = words[1].lower()
    if kind != "ethernet":
        why = f"hardware {kind}; a node boots by the MAC of an Ethernet"
        return host if host.mac else dataclasses.replace(host, skip=why)
    card = mac(words[2], line)
    if host.mac not in (None, card):
        raise DisklessError(
            f"line {line}: found a second hardware ethernet {card} in host {host.name}; give one"
        )
    return dataclasses.replace(host, mac=card, skip=host.skip if host.skip == _DELETED else "")


def _is_name(word: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?", word) is not None


def _named(host: Found) -> Found:
    """Return the host under a name that a node can have, where it has any."""
    if schema.is_host_name(host.name):
        return host
    names = [*host.aliases, *(name for name in host.others if not ADDRESS.fullmatch(name))]
    name = next(
        (name.split(".")[0] for name in names if schema.is_host_name(name.rstrip("."))), None
    )
    if name is None:
        why = "found no host name (letters, digits and '-'); give it option host-name"
        return dataclasses.replace(host, skip=host.skip or why)
    return dataclasses.replace(host, name=name, aliases=(*host.aliases, host.name))

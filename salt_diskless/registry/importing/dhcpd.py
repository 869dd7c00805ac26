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
_NO_MAC = "no hardware ethernet; a node boots by its MAC"


def nodes(text: str) -> Iterator[Found]:
    """Yield a node for each host. Its name is the declaration's, unless that has an ``option
    host-name``; where the name is no host name, that of its ``fixed-address`` counts. Its addresses
    may be names, which another file has. What names machines otherwise (``include``, ``subclass``)
    is yielded with the reason that it is not read."""
    stack: list[Found | None] = []
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
            raise DisklessError(f"line {line}: found a quote that nothing closes in its line")
        elif token == "{":
            yield from _other(words, line)
            host = _keyword(words) == "host" and len(words) == 2
            stack.append(Found(words[1], line, certain=False, skip=_NO_MAC) if host else None)
            words = []
        elif token == "}":
            if not stack:
                raise DisklessError(f"line {line}: found a }} too many; is it all of dhcpd.conf?")
            done = stack.pop()
            if done is not None:
                yield _named(done)
            words = []
        elif token == ";":
            yield from _other(words, line)
            if stack and stack[-1] is not None:
                stack[-1] = _with(stack[-1], words, line)
            words = []
        else:
            words.append(token if match[1] is None else match[1])
    if stack:
        raise DisklessError(
            f"line {line}: found a {{ that nothing closes; is it all of dhcpd.conf?"
        )


def _keyword(words: list[str]) -> str:
    """Return the first word of a statement; dhcpd does not mind capitals."""
    return words[0].lower() if words else ""


def _other(words: list[str], line: int) -> Iterator[Found]:
    """Yield what names machines and is no host declaration."""
    if _keyword(words) == "include" and len(words) == 2:
        yield Found(
            words[1], line, certain=False, skip="a file that is included; name that file, too"
        )
    elif _keyword(words) == "subclass" and len(words) > 2:
        yield Found(words[2], line, certain=False, skip="a subclass, which has no address")


def _with(host: Found, words: list[str], line: int) -> Found:
    """Return the host with what one of its statements says."""
    first, second = _keyword(words), _keyword(words[1:])
    if first == "hardware" and len(words) == 3:
        if second != "ethernet":
            return dataclasses.replace(
                host, mac=None, skip=f"hardware {second}; a node boots by the MAC of an Ethernet"
            )
        return dataclasses.replace(host, mac=mac(words[2], line), skip="")
    if first == "fixed-address" and len(words) > 1:
        there = tuple(word for word in words[1:] if word != ",")
        if not all(ADDRESS.fullmatch(one) or _is_name(one) for one in there):
            raise DisklessError(
                f"line {line}: found fixed-address {shown(' '.join(there))} of {host.name}; give "
                "an address, or the name of one"
            )
        address = next((one for one in there if ADDRESS.fullmatch(one)), None)
        others = tuple(one for one in there if one != address)
        return dataclasses.replace(host, ip=address, others=others)
    if first == "option" and second == "host-name" and len(words) == 3:
        return dataclasses.replace(host, name=words[2], aliases=(host.name,))
    if words == ["deleted"]:
        return dataclasses.replace(host, mac=None, skip="a declaration that dhcpd has deleted")
    return host


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

"""dhcpd.conf(5) of ISC: its host declarations, wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError
from salt_diskless.cluster.errors import shown
from salt_diskless.registry.importing.found import Found, mac

_TOKEN = re.compile(r'#[^\n]*|"((?:[^"\\\n]|\\.)*)"|[{};]|[^\s{};"#]+|\n')


def nodes(text: str) -> Iterator[Found]:
    """Yield a node for each host that has a MAC. Its name is the declaration's, unless that has an
    ``option host-name``; of several addresses the first counts. Files that are included are not
    read."""
    stack: list[Found | None] = []
    words: list[str] = []
    line = 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token.startswith("#"):
            continue
        elif token == "{":
            host = words[:1] == ["host"] and len(words) == 2
            stack.append(Found(words[1], line) if host else None)
            words = []
        elif token == "}":
            if not stack:
                raise DisklessError(f"line {line}: found a }} too many; is it all of dhcpd.conf?")
            done = stack.pop()
            if done is not None and done.mac:
                yield done
            words = []
        elif token == ";":
            if stack and stack[-1] is not None:
                stack[-1] = _said(stack[-1], words, line)
            words = []
        else:
            words.append(token if match[1] is None else match[1])
    if stack:
        raise DisklessError(
            f"line {line}: found a {{ that nothing closes; is it all of dhcpd.conf?"
        )


def _said(host: Found, words: list[str], line: int) -> Found:
    """Return the host with what one of its statements says."""
    if words[:2] == ["hardware", "ethernet"] and len(words) == 3:
        return Found(host.name, host.line, mac(words[2], line), host.ip)
    if words[:1] == ["fixed-address"] and len(words) > 1:
        first = words[1].rstrip(",").split(",")[0]
        if not re.fullmatch(r"[0-9]+(?:\.[0-9]+){3}", first):
            raise DisklessError(
                f"line {line}: found fixed-address {shown(first)} of {host.name}; give the address "
                "itself"
            )
        return Found(host.name, host.line, host.mac, first)
    if words[:2] == ["option", "host-name"] and len(words) == 3:
        return Found(words[2], host.line, host.mac, host.ip)
    return host

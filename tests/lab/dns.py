"""A name server that knows one name (RFC 1035, section 4).

Usage: dns.py ADDRESS NAME ITS-ADDRESS
"""

from __future__ import annotations

import socket
import struct
import sys


def answer(query: bytes, name: str, address: str) -> bytes:
    """Return the answer to one query: the address, no address of that type, or no such name."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    question, (kind,) = query[12 : at + 5], struct.unpack("!H", query[at + 1 : at + 3])
    is_known = ".".join(labels).lower() == name
    has_it = is_known and kind == 1
    flags = 0x8580 if is_known else 0x8583
    head = query[:2] + struct.pack("!5H", flags, 1, int(has_it), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
    return head + question + (record if has_it else b"")


def main(own: str, name: str, address: str) -> None:
    """Answer for ever."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((own, 53))
    while True:
        query, client = server.recvfrom(512)
        server.sendto(answer(query, name, address), client)


if __name__ == "__main__":
    main(*sys.argv[1:])

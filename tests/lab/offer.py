"""Asks a running dhcpd as network cards do (RFC 2131). As a program: asks on an interface for each
``MAC=address`` of its standard input, and prints the seconds that each took.

    tests/lab/offer.py node0 < pairs
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time


def wait_for_offer(interface: str, mac: str, ip: str, every: float = 1.0, times: int = 5) -> None:
    """Ask on an interface until dhcpd offers this address to this MAC: so many times, each so many
    seconds after the one before.

    Raises ``SystemExit`` when it does not.
    """
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    wire.bind((interface, 0))
    wire.settimeout(every)
    card, mine = bytes.fromhex(mac.replace(":", "")), os.urandom(4)
    bootp = struct.pack("!BBBB4sHH16x16s192x", 1, 1, 6, 0, mine, 0, 0x8000, card)
    bootp += b"\x63\x82\x53\x63\x35\x01\x01\xff"
    udp = struct.pack("!HHHH", 68, 67, 8 + len(bootp), 0) + bootp
    header = [0x4500, 20 + len(udp), 0, 0, 0x4011, 0, 0, 0, 0xFFFF, 0xFFFF]
    total = sum(header)
    header[5] = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    frame = b"\xff" * 6 + card + b"\x08\x00" + struct.pack("!10H", *header) + udp
    with wire:
        for _ in range(times):
            wire.send(frame)
            end = time.monotonic() + every
            while time.monotonic() < end:
                try:
                    said = wire.recv(2048)[42:]
                except TimeoutError:
                    break
                wanted = socket.inet_aton(ip)
                if said[:1] == b"\x02" and said[4:8] == mine and said[16:20] == wanted:
                    return
    raise SystemExit(f"dhcpd offers {mac} nothing")


def main() -> None:
    for line in sys.stdin:
        mac, _, ip = line.strip().partition("=")
        begun = time.monotonic()
        wait_for_offer(sys.argv[1], mac, ip)
        print(f"{time.monotonic() - begun:.4f}")


if __name__ == "__main__":
    main()

"""Answer router solicitations on an interface with an empty advertisement (lifetime 0, no prefix;
RFC 4861, 4.2): a PXE ROM of iPXE waits 13 seconds for one before it goes on with IPv4."""

import socket
import struct
import sys

index = socket.if_nametoindex(sys.argv[1])
link = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
routers = socket.inet_pton(socket.AF_INET6, "ff02::2") + struct.pack("@I", index)
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, routers)
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)
while True:
    packet, _ = link.recvfrom(2048)
    if packet[:1] == b"\x85":
        link.sendto(advertisement, ("ff02::1", 0, 0, index))

"""Fixtures for every kind of test."""

from __future__ import annotations

import logging
import pathlib

import pytest
import yaml

# pytest-salt-factories' daemons log to handlers that pytest has closed by then.
for handler in logging.root.handlers[:]:
    logging.root.removeHandler(handler)
    handler.close()

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

HOWTO = """
servers:
  node002: {address: 10.8.226.72, interface: eth0}
networks:
  compute:
    subnet: 10.8.0.0/16
    routers: [10.8.226.1]
    nameservers: [10.8.226.2]
    domain: example.com
    nis_domain: my_nis_domain
    time_offset: -18000
    lease_time: {default: 21600, max: 43200}
images:
  rhel5compute:
    description: rhel5compute
    location: /diskless/i386/RHEL5-AS
profiles:
  compute:
    image: rhel5compute
    network: compute
    interface: eth0
    serial_console: ttyS0,115200n8r
nodes:
  node[001-002]:
    profile: compute
    ip: 10.8.136.1+
    mac: ["00:21:5E:40:00:01", "00:21:5E:40:00:02"]
  node003: {profile: compute, ip: 10.8.226.73, mac: "00:21:5E:40:64:5C"}
"""


@pytest.fixture
def howto() -> dict:
    """The HOWTO's cluster: 128 nodes, of which node001 is 10.8.136.1 and node003 10.8.226.73."""
    pillar = yaml.safe_load(HOWTO)
    macs = [f"00:21:5E:41:00:{n:02X}" for n in range(4, 129)]
    pillar["nodes"]["node[004-128]"] = {"profile": "compute", "ip": "10.8.226.74+", "mac": macs}
    return pillar

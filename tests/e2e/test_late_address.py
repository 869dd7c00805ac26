"""A boot server whose interface gets its address after its daemons are started, as at boot."""

from __future__ import annotations

import time

from tests.lab import Lab
from tests.lab.patience import Patience

_DAEMONS = {"isc-dhcp-server": "dhcpd", "tftpd-hpa": "in.tftpd"}


def wait_for(lab: Lab, *command: str) -> None:
    patience = Patience(60)
    while lab.server.run(*command, check=False).returncode:
        assert not patience.is_over, " ".join(command)
        time.sleep(0.2)


def test_daemons_come_up_when_the_address_comes(lab: Lab):
    server = lab.server
    server.write_pillar(lab.pillar(1))
    server.salt_call("state.apply", "diskless")
    server.run("ip", "addr", "del", "10.141.0.1/16", "dev", "br0")
    try:
        # Both programs end at once: dhcpd without a subnet, and without an address any program.
        for service in _DAEMONS:
            server.run("systemctl", "stop", service)
        for service in _DAEMONS:
            server.run("systemctl", "start", "--no-block", service)
        state = ["journalctl", "-u", "isc-dhcp-server", "--grep", "Failed to start", "-q"]
        wait_for(lab, "sh", "-c", " ".join(state).replace("Failed to start", "'Failed to start'"))
    finally:
        server.run("ip", "addr", "add", "10.141.0.1/16", "dev", "br0")
    for program in _DAEMONS.values():
        wait_for(lab, "pidof", program)
    for service in _DAEMONS:
        wait_for(lab, "systemctl", "is-active", "--quiet", service)


def test_a_daemon_that_dies_is_started_again(lab: Lab):
    for program in _DAEMONS.values():
        before = lab.server.run("pidof", program).stdout
        lab.server.run("sh", "-c", "kill -KILL $(pidof " + program + ")")
        wait_for(lab, "sh", "-c", f'p=$(pidof {program}) && [ "$p" != "{before.strip()}" ]')

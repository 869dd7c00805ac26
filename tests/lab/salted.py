"""The golden node's root with a Salt minion in it, which is the boot server's, with the unit that
Salt's own packages have; and with the settings of an sshd, for which nodes have host keys."""

from __future__ import annotations

import pathlib
import subprocess

from tests.lab import cache, roots

#: pkg/common/salt-minion.service in Salt's sources.
_UNIT = """[Unit]
Description=The Salt Minion
After=network.target salt-master.service
[Service]
KillMode=process
Type=notify
NotifyAccess=all
LimitNOFILE=8192
ExecStart=/usr/bin/salt-minion
[Install]
WantedBy=multi-user.target
"""


def root() -> pathlib.Path:
    """Return that root. Its minion knows where the master is, and neither its id nor a key."""
    inputs = [str(roots.golden()), str(roots.server()), pathlib.Path(__file__).read_text()]
    return cache.made("salted", inputs, _make) / "root"


def _make(place: pathlib.Path) -> None:
    new = place / "root"
    for origin, target in ((roots.golden(), new), (roots.server() / "opt/salt", new / "opt/salt")):
        subprocess.run(["cp", "-a", origin, target], check=True)
    (new / "usr/bin/salt-minion").symlink_to("/opt/salt/bin/salt-minion")
    for directory in ("salt", "ssh"):
        (new / "etc" / directory).mkdir(exist_ok=True)
    (new / "etc/ssh/sshd_config").touch()
    # A minion looks its name up again and again, and there is nobody in the lab to answer.
    (new / "etc/resolv.conf").write_text("")
    (new / "etc/salt/minion").write_text("master: 10.141.0.1\n")
    units = new / "etc/systemd/system"
    (units / "salt-minion.service").write_text(_UNIT)
    (units / "multi-user.target.wants/salt-minion.service").symlink_to("../salt-minion.service")

"""A BMC: Redfish over HTTPS, by sushy-tools' own server. What it is told it prints, a line each,
and answers what it then reads: 0 where that is done, or whether the machine is on.

.. code-block:: bash

    python3 -uc "$(cat redfish.py)" ADDRESS CERTIFICATE STATE
"""

import sys

from sushy_tools import error
from sushy_tools.emulator import main
from sushy_tools.emulator.resources.systems import fakedriver
from werkzeug.serving import make_server

#: What of Redfish's ResetType it knows: as with many BMCs, PowerCycle is not among it.
_WORDS = {
    "On": "on",
    "ForceOff": "off",
    "GracefulShutdown": "shutdown",
    "ForceRestart": "reset",
    "GracefulRestart": "reset",
}


def _ask(word: str) -> int:
    print(word)
    return int(sys.stdin.readline())


class _Told(fakedriver.FakeDriver):
    def get_power_state(self, identity: str) -> str:
        return "On" if _ask("status") else "Off"

    def set_power_state(self, identity: str, state: str) -> None:
        if state not in _WORDS:
            raise error.NotSupportedError(f"{state} is not supported")
        if _ask(_WORDS[state]):
            raise error.Conflict(f"{state} is refused")

    def set_boot_device(self, identity: str, boot_source: str) -> None:
        _ask(f"boot {boot_source}")


fakedriver.FakeDriver = _Told
address, certificate, state = sys.argv[1:]
main.app.config.update(SUSHY_EMULATOR_FAKE_DRIVER=True, SUSHY_EMULATOR_STATE_DIR=state)
server = make_server(address, 443, main.app, ssl_context=(certificate, certificate))
_ask("ready")
server.serve_forever()

"""A BMC: IPMI over the network (RMCP+), by pyghmi's own server. What it is told it prints, a line
each, and answers what it then reads: IPMI's completion code, or whether the machine is on.

.. code-block:: bash

    python3 -uc "$(cat ipmi.py)" ADDRESS USER PASSWORD
"""

import sys

from pyghmi.ipmi.bmc import Bmc
from pyghmi.ipmi.private.serversession import ServerSession


def _ask(word: str) -> int:
    print(word)
    return int(sys.stdin.readline())


class _Told(Bmc):
    def get_power_state(self) -> int:
        return _ask("status")

    def power_on(self) -> int:
        return _ask("on")

    def power_off(self) -> int:
        return _ask("off")

    def power_shutdown(self) -> int:
        return _ask("shutdown")

    def power_cycle(self) -> int:
        return _ask("cycle")

    def power_reset(self) -> int:
        return _ask("reset")

    def set_boot_device(self, device: str) -> None:
        _ask(f"boot {device}")


def _open(session: ServerSession, request: bytes) -> bytes:
    # The server has SHA-1 only, and does not say no to what else pyghmi's own client asks for first
    # (IPMI 2.0, tables 13-9 and 13-15).
    if request[12] != 1:
        return bytearray([request[0], 0x04, 0, 0]) + request[4:8]
    return _ANSWER(session, request)


_ANSWER = ServerSession.create_open_session_response
ServerSession.create_open_session_response = _open
ServerSession.close_server_session = lambda session: _ask("log out")
address, user, password = sys.argv[1:]
_Told({user: password}, address=address)
_ask("ready")
Bmc.listen()

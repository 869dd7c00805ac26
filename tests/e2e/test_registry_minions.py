"""The same rack with an image that has a Salt minion: whom the registry accepts is let in."""

from __future__ import annotations

import pytest

from tests.e2e import test_registry
from tests.lab import Lab, salted

pytestmark = pytest.mark.nightly

#: Minions take memory.
GOLDEN, MEMORY = salted.root, 768
LAST = "minion"
lab, rack = test_registry.lab, test_registry.rack
test_pending = (
    test_registry.test_machines_that_nobody_listed_are_pending_in_seconds_as_what_they_are
)
test_heard = test_registry.test_a_yes_and_a_no_are_heard_on_their_consoles
test_boot = test_registry.test_the_accepted_boot_into_the_image_without_a_power_cycle


def test_their_minions_answer_without_a_step_by_hand(lab: Lab, rack: test_registry.Rack):
    for number, name in test_registry.NAMES.items():
        seconds = lab.server.wait_for_minion(rack.machines[number])
        print(f"{name}: its minion answers {seconds:.0f} s after it was powered on")
        made = rack.machines[number].run("cat /etc/salt/pki/minion/minion.pub")
        accepted = lab.server.path("/etc/salt-managed/pki/minions") / name
        assert accepted.read_text().strip() == made


test_no_restart = test_registry.test_nothing_was_restarted_and_the_next_apply_finds_nothing_to_do
test_listed = test_registry.test_a_node_that_was_listed_all_along_was_never_noticed

"""Who decided, as Salt has it: a user of the shell, of sudo and of the API, and a rule by way of
the reactor."""

from __future__ import annotations

import json
import os
import urllib.request

from tests.integration.test_registry import (
    fire,
    mac,
    machines,
    seen,
    site,
    stand_in,
    store,
    told,
    wait_for,
)

__all__ = ["fire", "machines", "seen", "site", "stand_in", "store", "told"]


def by(runner, name: str) -> tuple[str, str]:
    said = runner("diskless.nodes", name, "ask=False").data[name]
    assert said["decided"].startswith("20")
    return said["by"], said["from"]


def test_the_user_of_the_shell_and_of_sudo(runner, master, installed, told, store):
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    environ.pop("SUDO_USER", None)
    plain = master.salt_run_cli(timeout=300, environ=environ).run
    assert plain("diskless.accept", mac(1), "node011", "profile=compute").returncode == 0
    assert by(runner, "node011") == ("root", "salt-run")
    sudo = master.salt_run_cli(timeout=300, environ={**environ, "SUDO_USER": "alice"}).run
    assert sudo("diskless.accept", mac(2), "node012", "profile=compute").returncode == 0
    assert sudo("diskless.reject", mac(3)).returncode == 0
    assert by(runner, "node012") == ("sudo_alice", "salt-run")
    said = runner("diskless.nodes", "ask=False").data["decisions"]
    assert said["accepted"] == {
        "root (salt-run)": "node011",
        "sudo_alice (salt-run)": "node012",
    }
    assert said["rejected"][mac(3)].startswith("sudo_alice (salt-run), 20")


def test_the_user_who_logged_in_at_the_api(runner, master, told, store):
    place = f"http://127.0.0.1:{master.config['rest_cherrypy']['port']}"

    def post(path: str, data: object, **headers: str) -> dict:
        headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}
        request = urllib.request.Request(place + path, json.dumps(data).encode(), headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    with master.salt_api_daemon().started():
        login = {"username": "operator", "password": "tell nobody", "eauth": "sharedsecret"}
        (session,) = post("/login", login)["return"]
        low = {
            "client": "runner",
            "fun": "diskless.accept",
            "kwarg": {"machines": mac(4), "name": "node014", "profile": "compute"},
        }
        (said,) = post("/", [low], **{"X-Auth-Token": session["token"]})["return"]
        assert "node014" in said["accepted"]
    assert by(runner, "node014") == ("operator", "api")


ORCHESTRATION = """
node of an orchestration:
  salt.runner:
    - name: diskless.accept
    - machines: "{mac}"
    - m_name: {name}
    - profile: compute
"""


def test_an_orchestration_is_its_users(runner, master, installed, told, store):
    environ = {**os.environ, "PYTHONPATH": str(installed), "SUDO_USER": "alice"}
    sudo = master.salt_run_cli(timeout=300, environ=environ).run
    text = ORCHESTRATION.format(mac=mac(6), name="node016").replace("m_name", "kwarg")
    text = text.replace("kwarg: node016", "kwarg: {name: node016}")
    with master.state_tree.base.temp_file("decides.sls", text):
        done = sudo("state.orchestrate", "decides")
    assert done.returncode == 0, done.stdout
    assert by(runner, "node016") == ("sudo_alice", "salt-run")


def test_each_command_is_recorded(runner, master, installed, told, store, tmp_path):
    environ = {**os.environ, "PYTHONPATH": str(installed), "SUDO_USER": "alice"}
    sudo = master.salt_run_cli(timeout=300, environ=environ).run
    assert sudo("diskless.accept", mac(1), "node011", "profile=compute").returncode == 0
    assert sudo("diskless.replace", "node011", mac(2)).returncode == 0
    assert by(runner, "node011") == ("sudo_alice", "salt-run")
    csv = tmp_path / "nodes.csv"
    csv.write_text(f"name,mac,ip\nnode012,{mac(3)},10.77.0.52\nnode013,,10.77.0.53\n")
    assert sudo("diskless.import", str(csv), "profile=compute", "test=False").returncode == 0
    for name in ("node012", "node013"):
        assert by(runner, name) == ("sudo_alice", "salt-run")
    assert sudo("diskless.forget", "node012").returncode == 0
    assert sudo("diskless.register", mac(3)).returncode == 0
    (one,) = runner("diskless.pending", "full=True").data
    assert (one["before"]["decision"], one["before"]["by"]) == ("forgotten", "sudo_alice")


def test_a_rule_by_way_of_the_reactor(runner, seen, machines, told, site, store):
    site({"rules": {"rack7": {"prefixes": ["52:54:00"], "nodes": "node[021-029]"}}})
    seen(5, serial="S5")
    wait_for(lambda: any(one.state == "accepted" for one in machines().values()), "node")
    user, source = by(runner, "node021")
    assert user == "rule rack7" and source in ("reactor", "schedule")

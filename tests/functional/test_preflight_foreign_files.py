"""Files and settings of the admin are refused all at once, or adopted by a key of the pillar."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from salt.exceptions import CommandExecutionError

EXPORTS = "/etc/exports.d/diskless.exports"
FOREIGN = "a file that salt-diskless did not write"


def refused(call) -> str:
    """Return the one message of the first state, which a validation has too."""
    ret = call.state("diskless.valid")
    assert ret.result is False
    assert call.modules["diskless.problem"]() == ret.comment
    with pytest.raises(CommandExecutionError) as error:
        call.modules["diskless.validate"]()
    assert str(error.value) == ret.comment.replace(", nothing was changed", "")
    return ret.comment


@pytest.fixture
def admins(pillar, tmp_path) -> Iterator[dict[str, str]]:
    """Files that an admin wrote: path to what the message says of it."""
    lookup = pillar["lookup"]
    root = pathlib.Path(lookup["tftp_root"])
    files = {
        lookup["tftp_defaults"]: (
            'TFTP_DIRECTORY="/srv/othertftp"   # mine\n',
            "TFTP_DIRECTORY='/srv/othertftp'",
        ),
        lookup["dhcp_defaults"]: ("INTERFACESv4='eth1 eth2'\n", "INTERFACESv4='eth1 eth2'"),
        lookup["dhcp_config"]: ("authoritative;\n", FOREIGN),
        EXPORTS: ("/home *(rw)\n", FOREIGN),
        lookup["nfs_settings"]: ("[mountd]\nport=1\n", FOREIGN),
        lookup["dhcp_unit"]: ("[Service]\n", FOREIGN),
        lookup["tftp_unit"]: ("[Service]\n", FOREIGN),
        str(pathlib.Path(lookup["dhcp_config"]).parent / "diskless-omapi.key"): ("key\n", FOREIGN),
        str(tmp_path / "etc/nfs.conf"): ("[mountd]\nport = 32767 # x\n", "[mountd] port=32767"),
        str(root / "linux-install/pxelinux.0"): ("loader", FOREIGN),
        str(root / "linux-install/menu.c32"): ("menu", FOREIGN),
        str(root / "linux-install/pxelinux.cfg/default"): ("default local\n", FOREIGN),
        str(root / "linux-install/pxelinux.cfg/0A4D000B"): ("default local\n", FOREIGN),
    }
    for path, (text, _) in files.items():
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(path).write_text(text)
    yield {path: says for path, (_, says) in files.items()}
    pathlib.Path(EXPORTS).unlink(missing_ok=True)


def test_all_that_is_the_admins_is_named_at_once(salt_call, pillar, admins, listing, testmode):
    before = listing()
    comment = refused(salt_call(pillar, test=testmode))
    lines = comment.splitlines()
    assert lines[0].startswith(f"{len(admins)} problems on this boot server")
    for path, says in admins.items():
        (line,) = [line for line in lines if line.startswith(f"  {path}: ")]
        assert f"found {says};" in line
        assert f"add {path} to the list diskless:adopt in the pillar" in line
    assert listing() == before


def test_what_is_adopted_is_replaced(salt_call, pillar, admins):
    pillar["adopt"] = sorted(admins)
    call = salt_call(pillar)
    assert call.state("diskless.valid").result is True
    assert call.state("diskless_image.synced").result is True
    assert call.state("diskless_snapshot.managed").result is True
    for name in ("tftp.managed", "tftp.settings", "nfs.settings", "dhcpd.managed", "nfs.managed"):
        ret = call.state(f"diskless_{name}")
        assert ret.result is True, ret.comment
    defaults = pathlib.Path(pillar["lookup"]["tftp_defaults"]).read_text()
    root = pillar["lookup"]["tftp_root"]
    assert defaults.startswith(f'TFTP_DIRECTORY="{root}"   # mine\n')
    assert "dl0" in pathlib.Path(pillar["lookup"]["dhcp_defaults"]).read_text()
    # From now on they are the project's.
    del pillar["adopt"]
    pillar["adopt"] = [path for path in admins if path.endswith("etc/nfs.conf")]
    assert salt_call(pillar).state("diskless.valid").result is True


def test_one_that_is_not_adopted_is_named_alone(salt_call, pillar, admins):
    one, *others = sorted(admins)
    pillar["adopt"] = others
    comment = refused(salt_call(pillar))
    assert comment.startswith("1 problem on this boot server")
    assert one in comment


def test_what_packages_write_is_nobodys(salt_call, pillar, tmp_path):
    lookup = pillar["lookup"]
    texts = {
        "tftp_defaults": 'TFTP_DIRECTORY="/srv/tftp"\nTFTP_OPTIONS="--secure"\n',
        "dhcp_defaults": 'INTERFACESv4=""\nINTERFACESv6=""\n',
        "dhcp_config": "# Nothing but comments.\n",
    }
    for key, text in texts.items():
        pathlib.Path(lookup[key]).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(lookup[key]).write_text(text)
    (tmp_path / "etc/nfs.conf").write_text("x=1\n[mountd]\nmanage-gids=y\n# port=5\nport=0\n")
    loader = pathlib.Path(lookup["tftp_root"]) / "linux-install/pxelinux.0"
    loader.parent.mkdir(parents=True)
    loader.write_bytes(pathlib.Path("/usr/lib/PXELINUX/pxelinux.0").read_bytes())
    assert salt_call(pillar).state("diskless.valid").comment == "The pillar: as it should be"


def test_a_symbolic_link_is_refused(salt_call, pillar, tmp_path):
    path = pathlib.Path(pillar["lookup"]["dhcp_config"])
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    assert f"{path}: found a symbolic link to" in refused(salt_call(pillar))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("/etc/x", "diskless:adopt: found '/etc/x'; give a list"),
        ({"/etc/x": True}, "give a list"),
        (["etc/x"], "diskless:adopt:0: found 'etc/x'; give an absolute path"),
        (["/etc/../x", 7], "diskless:adopt:1: found 7; give an absolute path"),
    ],
)
def test_a_wrong_list_is_an_error_of_the_pillar(salt_call, pillar, value, says):
    pillar["adopt"] = value
    assert says in salt_call(pillar).state("diskless.valid").comment


@pytest.mark.parametrize(
    ("key", "line", "says"),
    [
        ("tftp_defaults", 'TFTP_OPTIONS="--create"', "refuses the relative names"),
        ("tftp_defaults", "TFTP_OPTIONS=-v", "refuses the relative names"),
        ("tftp_defaults", 'TFTP_OPTIONS="-s --refuse tsize"', "loaders ask for the option tsize"),
        ("tftp_defaults", 'TFTP_ADDRESS=":6969"', "at port 69"),
        ("tftp_defaults", 'TFTP_ADDRESS="192.0.2.9"', "has to listen on 10.77.0.1"),
        ("dhcp_defaults", 'OPTIONS="-cf /etc/mine.conf"', "dhcpd has to read"),
        ("dhcp_defaults", 'OPTIONS="-6"', "gives no addresses"),
    ],
)
def test_options_that_keep_nodes_out_are_named(salt_call, pillar, listing, key, line, says):
    path = pathlib.Path(pillar["lookup"][key])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{line}\n")
    before = listing()
    comment = refused(salt_call(pillar))
    assert f"{path}: found {line.partition('=')[0]}=" in comment and says in comment
    assert listing() == before


def test_empty_options_become_those_that_nodes_need(salt_call, pillar):
    path = pathlib.Path(pillar["lookup"]["tftp_defaults"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("TFTP_OPTIONS=\n")
    assert salt_call(pillar).state("diskless_tftp.settings").result is True
    assert "--secure --verbose" in path.read_text()
    assert salt_call(pillar).state("diskless.valid").result is True


def test_an_adopted_file_has_the_options_that_nodes_need(salt_call, pillar):
    path = pathlib.Path(pillar["lookup"]["tftp_defaults"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('TFTP_OPTIONS="--create"   # mine\n')
    pillar["adopt"] = [str(path)]
    ret = salt_call(pillar).state("diskless_tftp.settings")
    assert ret.result is True, ret.comment
    assert "TFTP_OPTIONS='--secure --create --verbose'   # mine" in path.read_text().replace(
        '"', "'"
    )

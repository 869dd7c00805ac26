"""Which directories and files the pillar may give to the project, as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless import platform
from salt_diskless.cluster import ClusterError, parse, paths

REFUSED = (
    *("/etc/salt", "/usr/bin", "/var/lib", "/etc/exports.d", "/srv/tftp/x", "/tmp/x", "/run/x"),
    *("/proc/x", "/dev/shm/x", "/sys/x", "/boot", "/boot/diskless", "/var/log/x", "/var/cache/x"),
    *("/var/spool/x", "/root", "/root/images", "/home", "/opt", "/srv", "/mnt", "/var", "/usr"),
    *("/usr/local/x", "/lib/x", "/lib64", "/sbin", "/bin/x", "/var/run/x", "/var/lock", "/media"),
    *("/var/tmp/x", "/var/lib/nfs/x", "/var/lib/dpkg", "/var/lib/salt-diskless/x", "/srv/salt/x"),
    *("/var/lib/tftpboot/x", "/tftpboot/x", "/srv/pillar", "/lost+found", "/var/lib/dhcp/x"),
    *("/var/lib/man-db/x", "/var/lib/tuned", "/var/lib/slurmctld/x", "/var/lib/corosync"),
    *("/var/lib/etcd", "/var/lib/kubelet/x", "/var/lib/ldap", "/var/lib/munge", "/var/named/x"),
    *("/srv/www/htdocs", "/srv/ftp/x", "/var/www/html/x", "/net/x", "/home/lost+found/x"),
)
ACCEPTED = (
    *("/srv/diskless", "/diskless", "/diskless/x86_64/compute", "/var/lib/diskless/x"),
    *("/export/images/a", "/data/diskless", "/home/diskless", "/opt/diskless", "/mnt/big/images"),
    *("/srv/tftp-images", "/etcetera/x", "/var/www/x", "/tmpfs/x", "/srv/salted", "/devel/x"),
)


#: Files of other services, which are read where they are.
OF_OTHERS = (
    *("/etc/passwd", "/etc/shadow", "/etc/fstab", "/etc/hosts", "/etc/ld.so.preload"),
    *("/etc/sudoers.d/diskless", "/etc/cron.d/diskless", "/etc/profile.d/diskless.sh"),
    *("/etc/ssh/sshd_config", "/etc/pam.d/x", "/etc/salt/minion", "/root/.ssh/authorized_keys"),
)


def problems(pillar: dict) -> dict[str, str]:
    with pytest.raises(ClusterError) as error:
        parse(pillar)
    return {problem.path: problem.right for problem in error.value.problems}


@pytest.mark.parametrize("path", REFUSED)
def test_a_location_of_the_system_is_refused(howto, path):
    howto["images"]["rhel5compute"]["location"] = path
    right = problems(howto)["diskless:images:rhel5compute:location"]
    assert right.startswith("give the image a directory of its own, like /diskless/")


@pytest.mark.parametrize("path", ACCEPTED)
def test_a_location_of_its_own_is_right(howto, path):
    howto["images"]["rhel5compute"]["location"] = path
    assert parse(howto).images["rhel5compute"].location == path


_STEPS = st.lists(st.from_regex(r"[A-Za-z0-9_+@:-]{1,8}", fullmatch=True), max_size=4)


@given(st.sampled_from(sorted(paths.SYSTEM)), _STEPS)
def test_nothing_in_a_directory_of_the_system_is_right(system, steps):
    path = "/".join([system, *steps])
    assert paths.location_reason(path) and paths.tftp_root_reason(path)


@given(st.sampled_from(sorted(paths.SYSTEM)))
def test_nothing_above_a_directory_of_the_system_is_right(system):
    for path in list(paths.above(system))[1:]:
        assert paths.location_reason(path) and paths.tftp_root_reason(path)


@given(_STEPS)
def test_a_name_that_only_begins_alike_is_right(steps):
    assert paths.location_reason("/".join(["/diskless-etc", *steps])) is None


@pytest.mark.parametrize("path", ["/srv/tftp", "/var/lib/tftpboot", "/tftpboot", "/data/tftp"])
def test_a_usual_tftp_root_is_right(howto, path):
    howto["lookup"] = {"tftp_root": path}
    assert parse(howto).lookup == {"tftp_root": path}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        *(("tftp_root", path) for path in ("/etc", "/", "/srv", "/usr/x", "/tmp/x", "/var/lib")),
        *(("tftp_root", path) for path in ("/diskless", "/diskless/i386/RHEL5-AS/tftp", "/home")),
        *(("dhcp_config", path) for path in ("/usr/bin/env", "/proc/x", "/dev/sda", "/tmp/d.conf")),
        *(("dhcp_key_file", path) for path in ("/run/key", "/etc", "/diskless/i386/RHEL5-AS/k")),
        *(("dhcp_defaults", path) for path in ("/etc/passwd", "/etc/environment", "/boot/x")),
        *(("tftp_defaults", path) for path in ("/etc/profile", "/lib/x", "/vmlinuz")),
        *(("exports_file", path) for path in ("/etc/exports.d/x", "/srv/x.exports", "/etc/fstab")),
        *(("tftp_unit", path) for path in ("/usr/lib/systemd/x.conf", "/sys/x")),
        *(("nfs_settings", path) for path in ("/var/tmp/x", "/sbin/x", "/var")),
        *(("exports_file", f"/etc/exports.d/{name}.exports") for name in ("", ".x", "a/b")),
        *((key, path) for key in ("dhcp_config", "dhcp_key_file") for path in OF_OTHERS),
        *((key, path) for key in ("dhcp_unit", "tftp_unit", "nfs_settings") for path in OF_OTHERS),
        *((f"{key}_unit", "/etc/systemd/system/ssh.service.d/x.conf") for key in ("dhcp", "tftp")),
        ("dhcp_unit", "/etc/systemd/system/isc-dhcp-server.service"),
        *((key, "/etc/default/grub") for key in ("dhcp_defaults", "tftp_defaults")),
        *(("dhcp_config", path) for path in ("/etc/dhcp", "/dhcpd.conf", "/var/lib/dpkg/status")),
        *(
            ("dhcp_config", path)
            for path in ("/home/x/.ssh/authorized_keys", "/srv/salt/dhcpd.conf")
        ),
        *(("pxelinux", path) for path in ("/etc/shadow", "/dev/zero", "/proc/kcore", "/root/x")),
        *(("pxelinux_modules", path) for path in ("/etc", "/root", "/home/x/.ssh")),
        ("rrsync", "/proc/self/exe"),
    ],
)
def test_a_path_of_lookup_that_harms_is_refused(howto, key, path):
    howto["lookup"] = {key: path}
    # Where the TFTP root holds an image, the message is about the image's location.
    wrong = "diskless:images:rhel5compute:location" if path == "/diskless" else ""
    assert (wrong or f"diskless:lookup:{key}") in problems(howto)


@pytest.mark.parametrize("family", ["Debian", "RedHat", "Suse"])
def test_the_paths_of_each_distribution_are_right(howto, family):
    names = platform.PLATFORMS[family].as_dict()
    keys = [key for key in (*paths.WRITTEN, *paths.READ, "tftp_root") if names[key] is not None]
    howto["lookup"] = {key: names[key] for key in keys}
    assert {*parse(howto).lookup} == {*keys}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("dhcp_config", "/etc/dhcp3/dhcpd.conf"),
        ("dhcp_config", "/usr/local/etc/dhcpd.conf"),
        ("dhcp_config", "/opt/dhcp/dhcpd.conf"),
        ("dhcp_key_file", "/etc/salt-diskless/omapi.key"),
        ("tftp_defaults", "/etc/default/atftpd"),
        ("pxelinux", "/opt/syslinux/pxelinux.0"),
        ("pxelinux_modules", "/srv/syslinux/bios"),
        ("rrsync", "/usr/share/rsync/scripts/rrsync"),
    ],
)
def test_other_paths_of_the_service_are_right(howto, key, path):
    howto["lookup"] = {key: path}
    assert parse(howto).lookup == {key: path}


@pytest.mark.parametrize("key", ["dhcp_interfaces_key", "tftp_root_key", "tftp_options_key"])
@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "1a", "a-b", "a.b", "BASH_ENV", ""])
def test_a_name_that_is_no_variable_of_a_service_is_refused(howto, key, name):
    howto["lookup"] = {key: name}
    assert "shell variable" in problems(howto)[f"diskless:lookup:{key}"]


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ({"dhcp_service": "x", "tftp_service": "x"}, "tftp_service"),
        ({"ssh_service": "ssh", "dhcp_service": "ssh.service"}, "ssh_service"),
        ({"tftp_root_key": "X", "tftp_options_key": "X"}, "tftp_options_key"),
    ],
)
def test_two_services_or_variables_of_one_name_are_refused(howto, names, key):
    howto["lookup"] = names
    assert "has the same" in problems(howto)[f"diskless:lookup:{key}"]


@pytest.mark.parametrize("path", ["/srv/" + "a" * 256, "/srv" + "/a" * 500])
def test_a_path_that_no_file_system_or_nfs_takes_is_refused(howto, path):
    howto["images"]["rhel5compute"]["location"] = path
    assert "give a path of at most" in problems(howto)["diskless:images:rhel5compute:location"]


_FILES = ("dhcp_config", "dhcp_key_file", "nfs_settings", "dhcp_defaults", "tftp_defaults")


@given(st.lists(st.sampled_from(_FILES), min_size=2, max_size=2, unique=True), st.booleans())
def test_two_files_at_one_path_are_refused(keys, below):
    path = "/etc/default/both"
    names = {keys[0]: path, keys[1]: path + ("/x" if below else "")}
    assert [*paths.conflicts(paths.uses({}, names))] != []


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({"directory": "/etc"}, "directory"),
        ({"directory": "/usr"}, "directory"),
        ({"directory": "/proc/1/root"}, "directory"),
        ({"directory": "/diskless/i386/RHEL5-AS/root"}, "directory"),
        ({"archive": "/diskless/i386/RHEL5-AS/golden.tar"}, "archive"),
        ({"minion": "m", "identity": "/diskless/i386/RHEL5-AS/id"}, "identity"),
        ({"minion": "m", "known_hosts": "/diskless/i386/RHEL5-AS/known"}, "known_hosts"),
        (
            {"bootstrap": {"suite": "bookworm", "keyring": "/diskless/i386/RHEL5-AS/k.asc"}},
            "bootstrap:keyring",
        ),
    ],
)
def test_a_source_that_the_image_would_hold_is_refused(howto, source, key):
    howto["images"]["rhel5compute"]["source"] = source
    assert f"diskless:images:rhel5compute:source:{key}" in problems(howto)


def test_a_location_inside_its_golden_root_is_refused(howto):
    howto["images"]["rhel5compute"]["source"] = {"directory": "/diskless/i386"}
    assert "copied into itself" in problems(howto)["diskless:images:rhel5compute:location"]


def test_a_key_that_tftp_would_serve_is_refused(howto):
    howto["lookup"] = {"tftp_root": "/data/tftp", "dhcp_key_file": "/data/tftp/omapi.key"}
    assert "anybody can read" in problems(howto)["diskless:lookup:dhcp_key_file"]


def test_an_image_may_be_made_from_another_one(howto):
    howto["images"]["b"] = {
        "location": "/diskless/b",
        "source": {"directory": "/diskless/i386/RHEL5-AS/root"},
    }
    assert {*parse(howto).images} == {"rhel5compute", "b"}

"""Repositories of packages on this machine's disk, signed, small enough for a test."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping

#: What apt runs inside a root: busybox's env would run busybox's own dpkg.
_OF_DPKG = ("dpkg", "dpkg-deb", "dpkg-split", "dpkg-query", "tar", "env")
_OF_BUSYBOX = ("sh", "cat", "rm", "mv", "ls", "sleep", "chmod", "mkdir", "diff", "true")
_RELEASE = """\
APT::FTPArchive::Release {
  Origin "test"; Suite "tiny"; Codename "tiny"; Architectures "amd64 all"; Components "main";
};
"""
_SPEC = """\
Name: {name}
Version: {version}
Release: 1
Summary: a test's
License: none
AutoReqProv: no
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%description
A test's.
%install
mkdir -p %{{buildroot}}
cp -a {tree}/. %{{buildroot}}
%post
{post}
%files
"""


class Keys:
    """A key of one's own that signs, and nobody else's agent."""

    def __init__(self, place: pathlib.Path, name: str):
        # The path of the agent's socket may have 107 characters, and pytest's directories are deep.
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="gnupg."))
        self.user = f"{name}@example.com"
        command = ["--passphrase", "", "--quick-generate-key", self.user, "rsa2048", "sign"]
        self.gpg(*command)
        self.public = place / f"{name}.asc"
        self.public.write_bytes(self.gpg("--armor", "--export", self.user))

    def gpg(self, *arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes", "--no-tty"]
        command += ["--pinentry-mode", "loopback", "--local-user", self.user, *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def close(self) -> None:
        """End the agent that gpg has started."""
        command = ["gpgconf", "--homedir", str(self.home), "--kill", "all"]
        subprocess.run(command, check=True)
        # The agent removes its sockets while it ends; "rm -f" accepts that a file is already gone.
        subprocess.run(["rm", "-rf", str(self.home)], check=True)


class Apt:
    """A repository of apt: suite ``tiny``, component main."""

    def __init__(self, place: pathlib.Path, keys: Keys):
        self.place, self.keys = place, keys
        self.url = f"file://{place}"
        (place / "pool").mkdir(parents=True)

    def package(
        self,
        name: str,
        tree: pathlib.Path,
        version: str = "1",
        fields: Mapping[str, str] | None = None,
        postinst: str = "",
    ) -> None:
        """Put a package of what is in ``tree`` into the pool."""
        control = tree / "DEBIAN"
        control.mkdir()
        described = {"Package": name, "Version": version, "Architecture": "all"}
        described |= {"Maintainer": "test <test@example.com>", "Description": "a test's"}
        described |= fields or {}
        lines = [f"{key}: {value}\n" for key, value in described.items()]
        (control / "control").write_text("".join(lines))
        if postinst:
            (control / "postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
            (control / "postinst").chmod(0o755)
        for old in (self.place / "pool").glob(f"{name}_*"):
            old.unlink()
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree]
        _run([*command, self.place / f"pool/{name}_{version}_all.deb"])
        shutil.rmtree(control)

    def publish(self) -> None:
        """Write the indexes, and sign them."""
        suite = self.place / "dists/tiny"
        index = suite / "main/binary-amd64"
        index.mkdir(parents=True, exist_ok=True)
        for old in (suite / "InRelease", suite / "Release"):
            old.unlink(missing_ok=True)
        (self.place / "release.conf").write_text(_RELEASE)
        packages = _run(["apt-ftparchive", "packages", "pool"], cwd=self.place)
        (index / "Packages").write_text(packages)
        release = _run(["apt-ftparchive", "-c", self.place / "release.conf", "release", suite])
        (suite / "Release").write_text(release)
        signed = ["--clearsign", "--output", str(suite / "InRelease"), str(suite / "Release")]
        self.keys.gpg(*signed)


class Dnf:
    """A repository of dnf."""

    def __init__(self, place: pathlib.Path, keys: Keys):
        self.place, self.keys = place, keys
        self.url = f"file://{place}"
        place.mkdir()

    def package(
        self, name: str, tree: pathlib.Path, version: str = "1", post: str = "", sign: bool = True
    ) -> None:
        """Put a package of what is in ``tree`` into the repository; directories that are a root's
        own belong to it too."""
        spec = self.place.with_name(f"{name}.spec")
        entries = [entry for entry in sorted(tree.rglob("*")) if not entry.is_dir()]
        entries += [entry for entry in sorted(tree.iterdir()) if not any(entry.iterdir())]
        listed = [
            f"{'%dir ' if entry.is_dir() else ''}/{entry.relative_to(tree)}\n" for entry in entries
        ]
        spec.write_text(
            _SPEC.format(name=name, version=version, tree=tree, post=post) + "".join(listed)
        )
        top = self.place.with_name("rpmbuild")
        defined = {"_topdir": top, "_rpmdir": self.place, "_build_name_fmt": f"{name}.rpm"}
        command = ["rpmbuild", "-bb", "--quiet", *_defines(defined), spec]
        _run(command)
        if sign:
            defined = {"_gpg_name": self.keys.user, "_gpg_path": self.keys.home}
            defined["__gpg"] = shutil.which("gpg")
            _run(["rpmsign", "--addsign", *_defines(defined), self.place / f"{name}.rpm"])

    def publish(self) -> None:
        """Write the indexes."""
        _run(["createrepo_c", "--quiet", self.place])


def _defines(macros: Mapping[str, object]) -> list[str]:
    return [word for key, value in macros.items() for word in ("--define", f"{key} {value}")]


def put_base(tree: pathlib.Path) -> None:
    """Put what a root needs to have packages installed in it: this machine's dpkg, and busybox."""
    for directory in ("bin", "sbin", "usr/bin", "usr/sbin", "etc", "var/lib/dpkg", "tmp", "lib64"):
        (tree / directory).mkdir(parents=True, exist_ok=True)
    programs = [shutil.which(name) for name in _OF_DPKG]
    libraries = set(re.findall(r"(/\S+) \(0x", _run(["ldd", *programs])))
    for path in (*programs, *libraries, "/sbin/start-stop-daemon"):
        target = tree / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(path, target)
    shutil.copy2("/bin/busybox", tree / "bin/busybox")
    for name in _OF_BUSYBOX:
        (tree / "bin" / name).unlink(missing_ok=True)
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "bin/env").unlink(missing_ok=True)
    (tree / "sbin/ldconfig").write_text("#!/bin/sh\n")
    (tree / "sbin/ldconfig").chmod(0o755)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\n")


def _run(command: list, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout

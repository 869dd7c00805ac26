"""Which kernel is taken where the pillar names none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.image.kernels import _age, default_release, flavour

ORDINARY = [
    "5.14.0-427.el9.x86_64",
    "5.14.0-427.13.1.el9_4.x86_64",
    "4.18.0-553.el8_10.aarch64",
    "6.11.4-301.fc41.x86_64",
    "6.1.0-28-amd64",
    "6.12.43+deb13-amd64",
    "6.5.0-0.deb12.4-arm64",
    "6.11.5+bpo-amd64",
    "6.8.0-45-generic",
    "6.4.0-150600.23.25-default",
    "6.12-rc6-amd64",
    "5.15.0-200.131.27.el9uek.x86_64",
    "5.10.0",
    "6.6.0-1-686",
    "6.1.0-28-powerpc64le",
    "6.12.0-0.rc1.20241001gite32cde8d2bd7.22.fc42.x86_64",
    "6.12.0-55.9.1.el10_0.x86_64",
    "6.1.112-122.189.amzn2023.x86_64",
]
FLAVOURS = {
    "5.14.0-427.el9.x86_64+debug": ("debug",),
    "5.14.0-427.el9.x86_64+rt": ("rt",),
    "5.14.0-427.el9.x86_64+rt-debug": ("rt", "debug"),
    "5.14.0-427.el9.aarch64+64k": ("64k",),
    "4.18.0-553.rt7.342.el8_10.x86_64": ("rt",),
    "6.1.0-28-rt-amd64": ("rt",),
    "6.1.0-28-cloud-amd64": ("cloud",),
    "6.12.43+deb13-cloud-amd64": ("cloud",),
    "6.8.0-45-lowlatency": ("lowlatency",),
    "6.8.0-1015-realtime": ("realtime",),
    "6.8.0-45-generic-64k": ("64k",),
    "6.4.0-150600.23.25-preempt": ("preempt",),
    "6.4.0-150600.23.25-kvmsmall": ("kvmsmall",),
    "6.4.0-150600.23.25-64kb": ("64kb",),
    "5.10.0-xen": ("xen",),
    "6.11.0-1.el9.elrepo.x86_64": ("elrepo",),
    "6.8.0-1015-azure": ("azure",),
    "5.14.21-150500.55.83-azure": ("azure",),
    "6.4.0-150600.23.25-default-debug": ("debug",),
    "6.4.0-150600.23-rt_debug": ("rt", "debug"),
    "5.14.0-427.el9.aarch64+64k-debug": ("64k", "debug"),
    "6.12.0-0.rc1.20.fc42.x86_64+debug": ("debug",),
    "4.18.0-553.el8_10.x86_64.debug": ("debug",),
    "6.6.59-1-lts": ("lts",),
    "5.10.0-kdump": ("kdump",),
    "5.10.0-0-rescue": ("rescue",),
}


@pytest.mark.parametrize("release", ORDINARY)
def test_an_ordinary_kernel_has_no_flavour(release):
    assert flavour(release) == ()


@pytest.mark.parametrize(("release", "words"), FLAVOURS.items())
def test_a_flavour_is_found(release, words):
    assert flavour(release) == words


@given(st.sampled_from(ORDINARY), st.sets(st.sampled_from([*FLAVOURS]), min_size=1))
def test_a_flavour_is_never_taken_beside_an_ordinary_kernel(release, others):
    newest_first = sorted({release, *others}, key=_age, reverse=True)
    taken, by_name = default_release(newest_first)
    assert taken == release
    assert {*by_name} == others


def test_the_newest_kernel_of_the_only_flavour_is_taken():
    releases = ["6.1.0-28-cloud-amd64", "6.1.0-9-cloud-amd64"]
    assert default_release(releases) == ("6.1.0-28-cloud-amd64", ())


def test_two_flavours_without_an_ordinary_kernel_have_no_default():
    releases = ("6.1.0-28-rt-amd64", "6.1.0-28-cloud-amd64")
    assert default_release(releases) == (None, releases)


def test_a_variant_of_a_kernel_with_a_name_of_its_own_is_not_taken():
    releases = ["6.1.0-9-ours+debug", "6.1.0-9-ours-rt", "6.1.0-9-ours"]
    assert default_release(releases) == ("6.1.0-9-ours", tuple(releases[:2]))


def test_no_kernel_is_no_default():
    assert default_release([]) == (None, ())


def test_releases_are_ordered_as_people_count():
    newest_first = ["6.10.0-1-amd64", "6.10.0", "6.10.0-rc2", "6.9.12-300", "6.9.12-9"]
    assert sorted(newest_first, key=_age, reverse=True) == newest_first

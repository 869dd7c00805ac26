"""What makers of machines write where a serial number, an asset tag or a UUID would be: the same
text in each machine. The rule ignores case, blanks, dots and all else that is no letter or digit.

The texts are those that firmware has by default (AMI, Phoenix, Insyde) and that boards of ASUS,
ASRock, Dell, Gigabyte, HP, Intel, Lenovo, MSI, Quanta, Supermicro and Tyan are sold with; the
fields are those of SMBIOS (DMTF DSP0134, types 1, 2 and 3).
"""

from __future__ import annotations

import itertools

from salt_diskless.regex import lazy_regex

_OTHERS = lazy_regex(r"[\W_]+")
#: Digits and letters in order, as far as a field goes.
_RUNS = (
    "0123456789" * 8,
    "1234567890abcdef" * 5,
    "0123456789abcdef" * 5,
    "abcdefghijklmnopqrstuvwxyz",
)
#: The least length of a run: of any, of one that begins or ends with the first digit or letter, and
#: after a word. A shorter one may be a number that somebody has given.
_LEAST, _LEAST_FROM_START, _LEAST_AFTER = 8, 5, 6
#: A text that repeats a shorter one, or each of its characters, has at least this length.
_LEAST_REPEATED = 8
#: A text that has only these words says nothing: words for nothing, fields of SMBIOS, what is done
#: with them, who does it, and what people type to fill them.
_WORDS = frozenset(
    "none null nothing no not non unknown unknow undefined undetermined unspecified unavailable "
    "unassigned unset unused uninitialized uninitialised unprogrammed unprovisioned unconfigured "
    "unregistered empty blank invalid illegal error dummy fake placeholder sample example "
    "template default defaults text value oem odm standard reserved evaluation demo prototype "
    "engineering test testing only changeme replaceme fillme setme please insert enter put change "
    "replace set program programmed fill filled in out me my by for is was has yet here the your "
    "this without to be added updated determined defined define assigned entered provided "
    "supplied announced specified specify available avail applicable present settable setable "
    "supported known found implemented initialized initialised configured recorded installed "
    "valid given populated written readable detected exist exists data serialized used barcode "
    "bios smbios dmi system sys chassis rack mount enclosure case base main mother board "
    "baseboard mainboard mb bb product computer machine server node blade unit host device module "
    "part sku config configuration customer user owner vendor manufacturer manufacture asset "
    "inventory service property tag serial ser version model family name information info number "
    "numbers num nbr nr sn id identifier uuid guid field string seriennummer na nan nil unk undef "
    "bad index range spec of todo tbd tba tbc tbf tbfboem void xxx eval asdf qwerty qwertyui "
    "1q2w3e4r 1qaz2wsx a1b2c3d4 foo bar foobar engsample proto missing qemu bochs virtual "
    "virtualbox pc other pending generic deadbeef cafebabe filed unkown uknown dimm "
    # Makers of machines, boards, firmware and hypervisors, whose name is no number of a machine.
    "acer advantech ahv amazon amd american ami aptio asrock asus asustek bhyve biostar cisco "
    "corporation corp crb dell ec2 elitegroup foundation foxconn fujitsu gigabyte gmbh google "
    "hewlett hpe hp huawei hyper hyperv ibm inc innotek inspur insyde intel international kvm "
    "lenovo ltd megatrends microsoft msi nutanix openstack oracle packard parallels phoenix "
    "platform proxmox quanta quantacomputer redhat rhev supermicro technologies technology tyan "
    "vmware wiwynn xen".split()
)
#: What a field of 31 or 32 bits has when nothing is in it.
_LARGEST_NUMBERS = frozenset({"2147483647", "4294967295"})
#: No serial number, asset tag or UUID that is taken is longer.
_LONGEST = 64
_LONGEST_WORD = max(map(len, _WORDS))
#: Texts that go on in many ways.
_NOT = lazy_regex(
    r"(?:to|2)be(?:determined|defined|assigned|entered|set|provided|supplied|programmed|announced|"
    r"added|updated).*|(?:to|2)?befill.*|(?:to)?fill(?:ed)?(?:in|out)?by.*|notspecified.*|"
    r"[a-z]*(?:sernum|serialnum|tagnum|partnum|partnumber|manufacturer|type[0-9]family)[0-9]{0,2}|"
    r"oem(?:define|string)?[0-9]|prototype[0-9]"
)
#: SMBIOS: what a text of AMI's boards begins with, as in "Type2 - Board Serial Number".
_TYPE = lazy_regex(r"type[0-9]{1,2}(?=[a-z])")
#: Short words before a run of digits: BSN12345678901234567, Asset-1234567890. None of them is made
#: of others, so that there is one way to read a text.
_BEFORE_RUN = lazy_regex(
    r"(?:system|sys|chassis|chs|base|board|mb|ss|bss|asset|tag|atn|serial|number|no|"
    r"sn|bsn|ssn|csn|psn|msn|pn|oem|default|dummy|test)+"
)
#: Words after which a short run, or any number, is none of one machine.
_BEFORE_SHORT_RUN = frozenset({"abc", "test", "dummy", "fake", "sample", "demo"})
#: A prefix, and where the number would be only zeros or crosses.
_NO_NUMBER = lazy_regex(r"(?:0x|[a-z]{1,6}?)(?:0{5,}|x{5,})|(?:0x|sn|no|nr|id)(?:0+|x+)")
_HEX = lazy_regex(r"[0-9a-f]{32}")
_HEX_WORDS = lazy_regex(r"(?:dead|beef|cafe|babe|feed|face|f00d|0000)+")
#: UUIDs of many machines that no rule below catches.
_UUIDS = frozenset(
    {
        "123456781234567890abcddeefaabbcc",
        "123e4567e89b12d3a456426614174000",
        "123e4567e89b12d3a456426655440000",
        "550e8400e29b41d4a716446655440000",
        "f81d4fae7dec11d0a76500a0c91e6bf6",
        "6ba7b8109dad11d180b400c04fd430c8",
        "a1a2a3a4b1b2c1c2d1d2d3d4d5d6d7d8",
        "4c4c454400002010802080c04f202020",
        "49434d53020000000000000000000000",
    }
)
#: A UUID in which fewer bytes are other than the most frequent one is that of a vendor at most.
_LEAST_BYTES = 4


def is_placeholder(text: str) -> bool:
    """Return True if a serial number or an asset tag stands in many machines, so that it says
    nothing about one of them."""
    key = _OTHERS.sub("", text.lower())
    if len(key) > _LONGEST:
        return False
    if key in _LARGEST_NUMBERS:
        return True
    if len({*key}) <= 1 or _is_run(key) or _repeats(key):
        return True
    if _NOT.fullmatch(key) or _NO_NUMBER.fullmatch(key) or _has_only_words(_TYPE.sub("", key)):
        return True
    digits = key.lstrip("abcdefghijklmnopqrstuvwxyz")
    before = key[: len(key) - len(digits)]
    if digits.isdecimal() and before and _is_placeholder_number(before, digits):
        return True
    return is_placeholder_uuid(key)


def _is_placeholder_number(before: str, digits: str) -> bool:
    """Return True if digits after a word are those that many machines have."""
    if len(before) == 1 and len(digits) >= _LEAST and _is_part(digits):
        return True
    if before in _BEFORE_SHORT_RUN:
        return any(run.startswith(digits) for run in _RUNS) or len({*digits}) == 1
    if _BEFORE_RUN.fullmatch(before) and len(digits) >= _LEAST_AFTER:
        return _is_run(digits) or len({*digits}) == 1
    is_field = "serialnumber" in before or "string" in before or "fake" in before
    return is_field and len(digits) <= 3 and _has_only_words(before)


def _has_only_words(key: str) -> bool:
    """Return True if a text is made of the words above and of nothing else."""
    ends = {0}
    for end in range(1, len(key) + 1):
        starts = range(max(0, end - _LONGEST_WORD), end)
        if any(start in ends and key[start:end] in _WORDS for start in starts):
            ends.add(end)
    return len(key) in ends


def _repeats(key: str) -> bool:
    """Return True if a text repeats a short one (12341234), or each character (11112222)."""
    if len(key) < _LEAST_REPEATED:
        return False
    if any(key == (key[:size] * len(key))[: len(key)] for size in (2, 3)):
        return True
    if key == key[:4] * (len(key) // 4) and _is_part(key[:4]):
        return True
    return all(len([*group]) >= 4 for _, group in itertools.groupby(key))


def _is_run(key: str) -> bool:
    if len(key) >= _LEAST:
        return _is_part(key)
    if len(key) < _LEAST_FROM_START:
        return False
    is_start = any(run.startswith(order) for run in _RUNS for order in (key, key[::-1]))
    return is_start or "9876543210".startswith(key)


def _is_part(key: str) -> bool:
    return any(key in run or key in run[::-1] for run in _RUNS)


# -- UUIDs --------------------------------------------------------------------------------------


def is_placeholder_uuid(text: str) -> bool:
    """Return True if a UUID stands in many machines, or is none of one. Its first three groups may
    be in either order of bytes (DSP0134, section 7.2.1)."""
    key = _OTHERS.sub("", text.lower())
    if not _HEX.fullmatch(key):
        return False
    octets = bytes.fromhex(key)
    swapped = octets[3::-1] + octets[5:3:-1] + octets[7:5:-1] + octets[8:]
    return any(map(_is_of_many, (octets, swapped)))


def _is_of_many(octets: bytes) -> bool:
    key = octets.hex()
    if any(key == (key[:size] * 32)[:32] for size in range(1, 9)):
        return True
    if key in _UUIDS or _HEX_WORDS.fullmatch(key) or _is_part(key) or key[:16] == key[16:]:
        return True
    if (
        max(octets) < 16
        or len({*octets}) <= 2
        or 16 - max(map(octets.count, octets)) < _LEAST_BYTES
    ):
        return True
    # Each byte is one more than the one before, or one less; or each digit is.
    steps = {(after - before) % 256 for before, after in itertools.pairwise(octets)}
    if steps in ({1}, {255}, {0x11}, {0xEF}):
        return True
    # Random UUIDs have their version and their variant in the first digits of these groups.
    groups = (key[:8], key[8:12], key[13:16], key[17:20], key[20:])
    if all(_is_part(group) or _is_one_byte(group) for group in groups):
        return True
    return all(_is_part(half) for half in (key[:16], key[16:]))


def _is_one_byte(group: str) -> bool:
    """Return True if a group repeats one digit, or one byte."""
    return len({*group}) == 1 or group == (group[:2] * len(group))[: len(group)]

"""What makers of machines write where a serial number, an asset tag or a UUID would be: the same
text in each machine. The rule ignores case, blanks, dots and all else that is no letter or digit.

The texts are those that firmware has by default (AMI, Phoenix, Insyde) and that boards of ASUS,
ASRock, Dell, Gigabyte, HP, Intel, Lenovo, MSI, Quanta, Supermicro and Tyan are sold with; the
fields are those of SMBIOS (DMTF DSP0134, types 1, 2 and 3).
"""

from __future__ import annotations

import itertools
import re

_OTHERS = re.compile(r"[\W_]+")
#: Counting up, as far as a field goes.
_RUNS = ("0123456789" * 8, "1234567890" * 8, "0123456789abcdef" * 5, "abcdefghijklmnopqrstuvwxyz")
#: A shorter run may be a number that somebody has given.
_LEAST, _LEAST_AFTER = 7, 8
#: Words for nothing.
_NOTHING = frozenset(
    "na nan nil none null nothing no unknown unknow unk undefined undef undetermined unspecified "
    "unavailable unassigned unset unused uninitialized uninitialised unprogrammed empty blank void "
    "invalid illegal bad badindex outofspec error dummy fake placeholder sample example template "
    "default defaults defaultvalue defaultstring defaultserial string text value todo tbd tba tbc "
    "oem oemdefault oemstring oemserial oemserialnumber standard generic reserved other pending "
    "eval evaluation prototype engineeringsample changeme replaceme fillme insertserialhere "
    "asdf qwerty foo bar foobar test testing deadbeef cafebabe nonespecified noneassigned "
    "noenclosure nobarcode noinformation noinfo novalue nodata xxx".split()
)
#: What a field is called, whatever it is of.
_FIELD = re.compile(
    r"(?:type[0-9]{1,2})?"
    r"(?:the|your|this|no|not|without|invalid|unknown|default|dummy|fake|sample|oem|smbios|dmi|bios|"
    r"system|sys|chassis|enclosure|case|base|main|mother|board|mb|product|computer|machine|server|"
    r"node|blade|unit|host|device|module|part|sku|config|configuration|customer|user|owner|vendor|"
    r"manufacturer|asset|inventory|service|property|tag|serial|ser|version|model|family|name|"
    r"information|info|number|numbers|num|no|nr|sn|id|identifier|uuid|guid|field|string|here)*"
    r"(?:serial|ser|serialno|serialnr|number|num|sn|no|nr|id|identifier|uuid|guid|tag|asset|"
    r"information|info|name|version|model|family|manufacturer|vendor|sku|field|string|here)"
    r"|[a-z]*(?:sernum|serialnum|tagnum|partnum|partnumber|manufacturer)[0-9]{1,2}"
)
_NOT = re.compile(
    r"(?:to|2)be(?:determined|defined|assigned|entered|set|provided|supplied|programmed|announced).*|"
    r"(?:to|2)?befill.*|(?:to)?fill(?:ed)?(?:in|out)?by.*|"
    r"(?:is|was|has|value)?not?(?:yet)?(?:specified|specify|available|avail|applicable|present|set|"
    r"settable|setable|provided|defined|programmed|used|filled|assigned|supported|known|found|"
    r"implemented|initialized|initialised|configured|entered|recorded|installed|valid|given|"
    r"populated|written|readable|detected|exist|exists|value|data|serialized)(?:yet|here|byoem)?"
)
#: Short words before a run of digits: BSN12345678901234567, Asset-1234567890.
_BEFORE_RUN = re.compile(
    r"(?:system|sys|chassis|base|board|mb|asset|tag|atn|serial|serialnumber|number|no|sn|bsn|ssn|"
    r"csn|psn|msn|pn|oem|default|dummy|test)+"
)
_HEX = re.compile(r"[0-9a-f]{32}")
#: UUIDs of many machines that no rule below catches. The first three groups may be in either order
#: of bytes (DSP0134, section 7.2.1).
_UUIDS = frozenset(
    {
        "03000200040005000006000700080009",
        "00020003000400050006000700080009",
        "03020100050407060809000102030405",
        "123456781234567890abcddeefaabbcc",
        "785634123412785690abcddeefaabbcc",
        "12345678123412341234123456789abc",
        "78563412341234121234123456789abc",
        "12345678123412341234123456789012",
        "12345678123456781234567812345678",
        "123e4567e89b12d3a456426614174000",
        "123e4567e89b12d3a456426655440000",
        "deadbeefdeadbeefdeadbeefdeadbeef",
        "4c4c454400002010802080c04f202020",
        "44454c4c00001020802080c04f202020",
        "49434d53020000000000000000000000",
        "00112233445566778899aabbccddeeff",
        "33221100554477668899aabbccddeeff",
    }
)


def is_placeholder(text: str) -> bool:
    """Return True if a serial number or an asset tag stands in many machines, so that it says
    nothing about one of them."""
    key = _OTHERS.sub("", text.lower())
    if len({*key}) <= 1 or key in _NOTHING:
        return True
    if _is_run(key) or _FIELD.fullmatch(key) or _NOT.fullmatch(key):
        return True
    digits = key.lstrip("abcdefghijklmnopqrstuvwxyz")
    before = key[: len(key) - len(digits)]
    if digits and _BEFORE_RUN.fullmatch(before):
        return len(digits) >= _LEAST_AFTER and (_is_run(digits) or len({*digits}) == 1)
    return is_placeholder_uuid(key)


def is_placeholder_uuid(text: str) -> bool:
    """Return True if a UUID stands in many machines, or is none of one."""
    key = _OTHERS.sub("", text.lower())
    if not _HEX.fullmatch(key):
        return False
    octets = bytes.fromhex(key)
    if len({*octets}) <= 2 or key in _UUIDS or _is_run(key):
        return True
    swapped = octets[3::-1] + octets[5:3:-1] + octets[7:5:-1] + octets[8:]
    return any(_counts(order) for order in (octets, swapped))


def _is_run(key: str) -> bool:
    if len(key) < _LEAST:
        return False
    return any(key in run or key in run[::-1] for run in _RUNS)


def _counts(octets: bytes) -> bool:
    """Return True if each byte is one more than the one before, or one less."""
    steps = {(after - before) % 256 for before, after in itertools.pairwise(octets)}
    return steps in ({1}, {255}, {0x11})

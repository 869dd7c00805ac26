"""What makers write into all of their machines is no serial number, asset tag or UUID."""

from __future__ import annotations

import string
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_diskless.cluster import ClusterError, parse, schema
from salt_diskless.cluster.placeholders import is_placeholder, is_placeholder_uuid
from salt_diskless.registry.announcement import of_event, read
from salt_diskless.watch import lines
from tests.unit.registry import PILLAR, mac

TEXTS = """
ASUS|ASUSTeK COMPUTER INC.|Supermicro|Gigabyte|Dell Inc.|HPE|Hewlett-Packard|LENOVO|VMware, Inc.
innotek GmbH|Microsoft Corporation|Red Hat|RHEV|Xen|KVM|OpenStack Foundation|Google|Amazon EC2
Unkown
A123456789|S12345678|AMI|American Megatrends|INSYDE|Phoenix
Aptio CRB|TO BE FILED BY OEM
Uknown|NO DIMM
VMware Virtual Platform|Parallels|bhyve|NutanixAHV|Hyper-V|Intel Corporation
4294967295|2147483647
To be filled by O.E.M.|To Be Filled By O.E.M|TO BE FILLED BY OEM
to be filled by O.E.M. by More String|Filled by O.E.M.|Fill By OEM|ToBeFilledByO.E.M.
2 Be Filled By O.E.M.|To Be Filled In By O.E.M.|Default string|DEFAULT STRING|Default_string
default|Default|Default-String|System Serial Number|System Serial No|System-Serial-Number
SystemSerialNumber|Chassis Serial Number|Chassis-Serial-Number|Base Board Serial Number
BaseBoard Serial Number|Board Serial Number|Motherboard Serial Number|MB Serial Number
MB Serial No|Type1 - System Serial Number|Type2 - Board Serial Number
Type3 - Chassis Serial Number|Product Serial Number|Serial Number|SerialNumber|Serial_Number
serial number|serial|Serial No.|S/N|SN|SerNum0|SerNum00|AssetTagNum0|AssetTagNum1|Asset Tag
Asset-Tag|asset tag number|Chassis Asset Tag|Base Board Asset Tag|BaseBoardAssetTag
No Asset Tag|No Asset Information|No Serial Number|NoSerial|Asset-1234567890|MB-1234567890
BSN12345678901234567|SSN12345678901234567|CSN12345678901234567|ATN12345678901234567
Not Specified|NotSpecified|not specified|Unspecified|NA|N/A|n/a|N.A.|NONE|None|none|Null|nil
INVALID|Invalid|Not Applicable|Not Available|Not Present|Not Set|Not Settable|Not Provided
Not Defined|Not Programmed|Not Used|No Value|undefined|Unknown|UNKNOWN|unknow|empty|EMPTY|Blank
void|OEM|O.E.M.|O.E.M|OEM Default string|OEM String|0|00|0000000000|00000000|000000000000000
0000-0000|00:00:00|0000000000 0000|1111111|11111111|xxxxxxxxxx|XXXXXXX|xxx|X|XXXXXXXXXXXXXXXXXX
.|..............|-|--------|....|___|*|????|==|0123456789|1234567890|123456789|12345678|1234567
01234567890123456789|12345678901234567890|0123456789ABCDEF|123456789abcdef
987654321|9876543210|0987654321|ABCDEFGHIJ|abcdefg|System Version|Chassis Version|Product Name
System Manufacturer|System Product Name|SKU Number|Type1Family|standard|Dummy|dummy serial
Fake Serial|Sample|example|placeholder|Test|To Be Determined By OEM|TBD|T.B.D.|void|Reserved
eval|bad index|00000000-0000-0000-0000-000000000000|FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF
03000200-0400-0500-0006-000700080009|00020003-0004-0005-0006-000700080009
12345678-1234-5678-90ab-cddeefaabbcc|Not Supported|Not filled|No Enclosure|System UUID
Unknown Serial Number|Your Serial Number Here|Invalid Serial Number|Manufacturer00
Base Board Version|12345|123456|012345|54321|987654|ABCDEF|1234567890ABCDEF|SN1234567|SN0000
SN-0000000000|S/N: XXXXXXXX|XX00000000|CZC0000000|0x00000000|ABC123|ABC1234567|TEST123|12341234
11112222|1111-2222-3333|123123123|ABABABAB|0101010101|BSS-0123456789|$(DEFAULT_STRING)
$(SERIAL_NUMBER)|(Not Specified)|<null>|[none]|None None|N/A N/A|none,none|Not Filled In
Not filled in by OEM|None Provided|Serial Number Not Set|Asset tag not set|No Asset Tag Available
Not Specified (0x00)|Rack Mount Chassis|System|Chassis|Board|Test Serial|Demo|Evaluation Unit
Eval Board|Generic Serial|Please Fill|Please change me|SET_ME|Insert Serial|Enter Serial Number
User Defined|Customer Defined|Set by OEM|Assigned by OEM|O.E.M. to fill in|OEM Define 0|TBF
To be updated|Unprovisioned|Missing|QEMU|Virtual Machine|Serial Number 1|System Serial Number 0
System Serial Number 123|Default string 0|Fake serial number 123|Prototype 1|BIOS Default
"""
PLACEHOLDERS = sorted({text for line in TEXTS.split("\n") for text in line.split("|") if text})
UUIDS = [
    "abcdefab-cdef-abcd-efab-cdefabcdefab",
    "31303043-4e30-3030-3030-303030303030",
    "ac1fac1f-ac1f-ac1f-ac1f-ac1fac1fac1f",
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-000000000001",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE",
    "11111111-1111-1111-1111-111111111111",
    "11111111-2222-1111-2222-111111111111",
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "12345678-1234-5678-90AB-CDDEEFAABBCC",
    "12345678-1234-5678-1234-567812345678",
    "12345678-1234-1234-1234-123456789abc",
    "01234567-89ab-cdef-0123-456789abcdef",
    "00010203-0405-0607-0809-0a0b0c0d0e0f",
    "03020100-0504-0706-0809-0a0b0c0d0e0f",
    "01020304-0506-0708-090a-0b0c0d0e0f10",
    "00112233-4455-6677-8899-aabbccddeeff",
    "deadbeef-dead-beef-dead-beefdeadbeef",
    "4c4c4544-0000-2010-8020-80c04f202020",
    "123e4567-e89b-12d3-a456-426614174000",
    "78563412-3412-7856-90ab-cddeefaabbcc",
    "00000000-0000-0000-0000-ac1f6b000000",
    "00000000-0000-4000-8000-000000000000",
    "11111111-1111-4111-8111-111111111111",
    "11111111-2222-3333-4444-555555555555",
    "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "12345678-90ab-cdef-1234-567890abcdef",
    "12345678-90ab-cdef-fedc-ba0987654321",
    "12345678-1234-4234-8234-123456789012",
    "67452301-ab89-efcd-0123-456789abcdef",
    "ffeeddcc-bbaa-9988-7766-554433221100",
    "01020304-0506-0708-0901-020304050607",
    "0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e",
    "a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8",
    "deadbeef-dead-beef-cafe-babedeadbeef",
    "550e8400-e29b-41d4-a716-446655440000",
]
#: Of boards that put their MAC into an otherwise fixed UUID, of Supermicro, Dell, HPE, VMware.
REAL_UUIDS = [
    "03aa02fc-0414-0549-1c06-b20700080009",
    "00000000-0000-0000-0000-ac1f6b1a2b3c",
    "d0a1b2c3-0000-0000-0000-000000000001",
    "00000000-0000-1000-8000-001122334455",
    "44454c4c-4b00-1053-8058-b9c04f305732",
    "37383638-3330-5a43-4a36-333530433756",
    "564d1234-5678-9abc-def0-123456789abc",
]
#: Of machines that somebody had: Dell, HPE, Lenovo, Supermicro, Fujitsu, Cisco, Quanta, VMware.
REAL = """
C123456 SN12345 SN0000001 PF1ABCDE CZC0460D0G Q10123456789X
06DXK41 06DXK42 H3ZLR52 CZJ6350C7V 2M2912021X J301ABCD S4BKF123 A199234X8302145 YLNS012345
FCH2049V0QK QTFCJ05160195 PC0ABC12 MXQ12345AB 5CG8123XYZ SGH537X45R USE321ABCD VMware-56-4d-1a
R90ABC12 ZM184S012345 0123X4567 20H1S00000 SN-1 SN-12 S0001 S1 A1 RACK-1 RACK-17 node17
asset-0042 1234 2001 4711 123457 10230450 E123456X8 SN1 B1 OLD NEW LAST FORGED 1ABCDE2 C0FFEE1
DEADBE1 2345678 3456789 8765432 BCDEFGH 1357924 CN0000001 CZ12345678 0001234567 GB00000001 0042
VMware-42 VMware-4234567890123456 VMware-422a0b1c2d3e4f50-6172839405a6b7c8 E16500000012345 10000000
00000001 SN00000017 SYS-0017 TEST01A DEFAULT7 OEM12345 NONE123 SERVER-7 CHASSIS-12 TAG-00123 121212
20190001 12344321 210235A0000000001
""".split()


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_makers_placeholder_is_recognized(text):
    assert is_placeholder(text)


@given(st.sampled_from(PLACEHOLDERS), st.randoms(use_true_random=False))
def test_case_blanks_and_dots_change_nothing(text, random):
    changed = "".join(
        random.choice(("", " ", ".", "-", "_", "/"))
        + random.choice((letter.upper(), letter.lower()))
        for letter in text
    )
    assert is_placeholder(f" {changed} ")


@pytest.mark.parametrize("text", UUIDS)
def test_a_uuid_of_many_machines_is_recognized(text):
    for form in (text, text.upper(), text.replace("-", ""), f"{{{text}}}"):
        assert is_placeholder_uuid(form) and is_placeholder(form)


@pytest.mark.parametrize("text", REAL)
def test_a_real_serial_number_is_believed(text):
    assert not is_placeholder(text)
    assert read({"mac": mac(1), "serial": text}).serial == text


@pytest.mark.parametrize("text", REAL_UUIDS)
def test_the_uuid_of_one_machine_is_believed(text):
    assert not is_placeholder_uuid(text) and read({"mac": mac(1), "uuid": text}).uuid == text


@given(st.uuids())
def test_both_orders_of_bytes_are_the_same(value: uuid.UUID):
    swapped = uuid.UUID(bytes_le=value.bytes)
    assert is_placeholder_uuid(str(value)) == is_placeholder_uuid(str(swapped))


@given(st.sampled_from(UUIDS))
def test_a_swapped_uuid_of_many_is_recognized(text):
    assert is_placeholder_uuid(str(uuid.UUID(bytes_le=uuid.UUID(text).bytes)))


@given(st.from_regex(r"[B-HJ-NP-TV-Z0-9]{6}[1-3]", fullmatch=True))
def test_service_tags_are_believed(text):
    """Dell's have no pattern; what repeats one character or counts up is none."""
    if len({*text}) > 2 and not text.lower().startswith(("0", "1", "9", "b0", "c0")):
        assert not is_placeholder(text) or "XXX" in text


@given(st.uuids(version=4))
def test_a_random_uuid_is_believed(value: uuid.UUID):
    assert not is_placeholder_uuid(str(value))


@given(st.characters(min_codepoint=33, max_codepoint=126), st.integers(1, 64))
def test_one_repeated_character_is_none(letter, count):
    assert is_placeholder(letter * count)


@given(st.text(max_size=64) | st.text(string.ascii_lowercase, max_size=64))
def test_the_rule_ends_at_once(text):
    begun = time.process_time()
    is_placeholder(text)
    is_placeholder("serialno" * 8 + text)
    assert time.process_time() - begun < 0.5


# -- where it counts ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", [text for text in PLACEHOLDERS if schema.is_claim(text)])
def test_no_machine_has_a_placeholder_in_the_registry(text):
    said = read({"mac": mac(1), "serial": text, "asset": text})
    assert (said.serial, said.asset) == (None, None)


@pytest.mark.parametrize("text", UUIDS)
def test_no_machine_has_the_uuid_of_many(text):
    assert read({"mac": mac(1), "uuid": text}).uuid is None


def test_an_event_keeps_what_is_no_placeholder():
    said = of_event(
        "salt-diskless/node/register",
        {"mac": mac(1), "serial": "Default string", "asset": "RACK-1", "server": "default"},
    )
    assert (said.serial, said.asset, said.server) == (None, "RACK-1", "default")


def test_no_boot_server_tells_of_a_placeholder():
    def told(serial: str, asset: str, uuid: str) -> tuple[str, str, str] | None:
        words = "/".join(text.encode().hex() for text in (serial, asset, uuid))
        path = f"linux-install/announced/01-52-54-00-00-00-01/{words}"
        seen = lines.read(f"RRQ from 10.77.0.5 filename {path}")
        assert seen is not None
        return seen.known

    zero = "00000000-0000-0000-0000-000000000000"
    assert told("Chassis Serial Number", "0000000000", zero) == ("", "", "")
    real = "4c4c4544-0031-3610-8052-b4c04f4e3132"
    assert told("06DXK41", "RACK-1", real.upper()) == ("06DXK41", "RACK-1", real)


@pytest.mark.parametrize("text", ["Default string", "To be filled by O.E.M.", "0000000000", "NA"])
def test_a_rule_with_a_placeholder_is_refused(text):
    rule = {"serials": ["06DXK41", text], "nodes": "node[050-051]", "profile": "compute"}
    with pytest.raises(ClusterError) as caught:
        parse({**PILLAR, "registry": {"rules": {"rack7": rule}}})
    (problem,) = caught.value.problems
    assert problem.path.startswith("diskless:registry:rules:rack7:serials")
    assert text in problem.found and "give a serial number of one machine" in problem.right

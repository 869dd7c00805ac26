"""The text of a file, in whichever encoding spreadsheets and editors have written it."""

from __future__ import annotations

import codecs
import re

from salt_diskless.cluster import DisklessError

#: 10,000 nodes of Warewulf's have two megabytes.
_LARGEST = 64 << 20
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: What no file of text has.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def read(path: str) -> str:
    """Return the text of a file, lines ended by ``\\n``: UTF-8, UTF-16 or UTF-32 (as the byte order
    mark says; UTF-16 also by its zeros), else Windows' cp1252 or latin-1.

    Raises :class:`DisklessError` for a file that is too large or no text.
    """
    with open(path, "rb") as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise DisklessError(f"{path}: found more than {_LARGEST >> 20} MB; give a list of nodes")
    try:
        text = _decoded(data)
    except UnicodeDecodeError as err:
        raise DisklessError(f"{path}: found no text ({err.reason})") from None
    if _CONTROL.search(text) or (data and not text):
        raise DisklessError(f"{path}: found no text; give a file of text, not of a program")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    sample = data[:4000]
    odd, even = sample[1::2].count(0), sample[::2].count(0)
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        # Letters, digits and marks of a list of nodes have a zero beside them.
        if zeros > 4 * others and zeros > len(sample) // 4:
            return data.decode(encoding)
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")

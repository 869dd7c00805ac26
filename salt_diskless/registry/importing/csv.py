"""A table with a header: RFC 4180, also with ``;`` or a tab between, as spreadsheets write it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from salt_diskless.cluster import DisklessError, schema
from salt_diskless.cluster.errors import shown
from salt_diskless.cluster.wording import nearest
from salt_diskless.registry.importing.found import Found, mac

#: Columns that are one text in the pillar, too.
_SETTINGS = frozenset(
    {"image", "version", "kernel", "network", "interface", "serial_console", "root", "overlay_size"}
    | {"nfs", "nis_domain", "kernel_append", "localdisk", "bmc"}
) & {*schema.NodeIn.model_fields}
_COLUMNS = {"name", "mac", "ip", "profile"} | _SETTINGS
#: The line by which a spreadsheet says what is between the columns.
_SEP = re.compile(r'"?sep=(.)"?[ ,;\t]*', re.IGNORECASE)


def nodes(text: str) -> Iterator[Found]:
    """Yield a node a line; its columns are called as the keys of a node in the pillar, and
    ``name``. Empty columns at the end of a line count for nothing."""
    first, _, rest = text.partition("\n")
    sep = _SEP.fullmatch(first.strip("\r"))
    skipped = 1 if sep else 0
    if sep:
        text, first = rest, rest.split("\n", 1)[0]
    between = sep[1] if sep else max(",;\t", key=first.count)
    if between in '"\r\n':
        raise DisklessError(f"line 1: found {shown(between)} between columns; give ',', ';' or tab")
    rows = csv.reader(io.StringIO(text), delimiter=between, strict=True)
    try:
        header = _header(_trimmed(next(rows, [])), skipped + 1)
        for row in map(_trimmed, rows):
            line = skipped + rows.line_num
            if not row:
                continue
            if len(row) > len(header):
                raise DisklessError(
                    f"line {line}: found {len(row)} columns; the header has {len(header)}"
                )
            cells = dict(zip(header, row, strict=False))
            yield Found(
                name=cells.get("name", ""),
                line=line,
                mac=mac(cells["mac"], line) if cells.get("mac") else None,
                ip=cells.get("ip") or None,
                profile=cells.get("profile") or None,
                settings={key: cells[key] for key in header if key in _SETTINGS and cells.get(key)},
            )
    except csv.Error as err:
        raise DisklessError(f"line {skipped + rows.line_num}: {err}") from None


def _trimmed(row: list[str]) -> list[str]:
    """Return the cells of a row up to the last one that is not empty."""
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _header(cells: list[str], line: int) -> list[str]:
    header = [cell.lower() for cell in cells]
    for column in header:
        if column not in _COLUMNS:
            raise DisklessError(
                f"line {line}: found the column {shown(column)}; "
                f"{nearest(column, sorted(_COLUMNS))}"
            )
    if "name" not in header or len({*header}) != len(header):
        raise DisklessError(f"line {line}: found no header; give name, mac, ip, profile, each once")
    return header

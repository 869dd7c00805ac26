"""A table with a header: RFC 4180, also with ``;`` or a tab between, as spreadsheets write it."""

from __future__ import annotations

import csv
import io
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


def nodes(text: str) -> Iterator[Found]:
    """Yield a node a line; its columns are called as the keys of a node in the pillar, and
    ``name``."""
    first = text.split("\n", 1)[0]
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        for column in header:
            if column not in _COLUMNS:
                raise DisklessError(
                    f"line 1: found the column {shown(column)}; {nearest(column, sorted(_COLUMNS))}"
                )
        if "name" not in header or len({*header}) != len(header):
            raise DisklessError("line 1: found no header; give name, mac, ip, profile, each once")
        for row in rows:
            if not any(row):
                continue
            if len(row) != len(header):
                raise DisklessError(
                    f"line {rows.line_num}: found {len(row)} columns; the header has {len(header)}"
                )
            cells = {key: cell.strip() for key, cell in zip(header, row, strict=True)}
            yield Found(
                name=cells["name"],
                line=rows.line_num,
                mac=mac(cells["mac"], rows.line_num) if cells.get("mac") else None,
                ip=cells.get("ip") or None,
                profile=cells.get("profile") or None,
                settings={key: cells[key] for key in header if key in _SETTINGS and cells[key]},
            )
    except csv.Error as err:
        raise DisklessError(f"line {rows.line_num}: {err}") from None

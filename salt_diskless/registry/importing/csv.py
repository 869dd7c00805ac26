"""A table with a header: RFC 4180, also with ``;`` or a tab between, as spreadsheets write it."""

from __future__ import annotations

import csv
import difflib
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
#: What tables of other programs call these columns; '-', '_' and blanks count alike.
_SYNONYMS = {
    **dict.fromkeys(("host", "hostname", "host name", "node", "nodename", "node name"), "name"),
    **dict.fromkeys(("mac address", "macaddress", "macaddr", "hwaddr", "ethernet"), "mac"),
    **dict.fromkeys(("hardware address", "ethernet address"), "mac"),
    **dict.fromkeys(("ip address", "ipaddress", "ipaddr", "ipv4", "address"), "ip"),
    **dict.fromkeys(("ipv4 address", "fixed address"), "ip"),
    **dict.fromkeys(("ipmi", "bmc ip", "ipmi ip", "bmc address", "ipmi address"), "bmc"),
}
#: How alike two names are of which one is the other with a typing error.
_TYPING_ERROR = 0.66
#: What may be between columns.
_BETWEEN = ",;\t|"
#: A spreadsheet's forms of a text that looks like a number: '0021 and ="0021".
_AS_TEXT = re.compile(r"'(.*)|=\"(.*)\"", re.DOTALL)
#: What spreadsheets make of a MAC that they take for a number.
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+|[0-9]{1,11}")
#: The line by which a spreadsheet says what is between the columns.
_SEP = re.compile(r'"?sep=(.)"?[ ,;|\t]*', re.IGNORECASE)


def nodes(text: str) -> Iterator[Found]:
    """Yield a node a line; its columns are called as the keys of a node in the pillar, and
    ``name``. Empty columns at the end of a line count for nothing; columns of other things are
    named in the notes."""
    lines = text.split("\n")
    skipped = next((n for n, line in enumerate(lines) if not _is_blank(line)), 0)
    sep = _SEP.fullmatch(lines[skipped].strip("\r"))
    skipped += 1 if sep else 0
    skipped += next((n for n, line in enumerate(lines[skipped:]) if not _is_blank(line)), 0)
    first = lines[skipped] if skipped < len(lines) else ""
    between = sep[1] if sep else max(_BETWEEN, key=first.count)
    if between in '"\r\n':
        raise DisklessError(f"line 1: found {shown(between)} between columns; give ',', ';' or tab")
    rows = csv.reader(io.StringIO("\n".join(lines[skipped:])), delimiter=between, strict=True)
    try:
        header = _header(_trimmed(next(rows, [])), skipped + 1)
        notes = {key: f"column {key}" for key in header if key not in _COLUMNS}
        for row in map(_trimmed, rows):
            line = skipped + rows.line_num
            if not row or row[0].startswith("#"):
                continue
            if len(row) > len(header):
                raise DisklessError(
                    f"line {line}: found {len(row)} columns; the header has {len(header)}"
                )
            cells = dict(zip(header, row, strict=False))
            yield Found(
                name=cells.get("name", ""),
                line=line,
                mac=_mac(cells["mac"], line) if cells.get("mac") else None,
                ip=cells.get("ip") or None,
                profile=cells.get("profile") or None,
                settings={key: cells[key] for key in header if key in _SETTINGS and cells.get(key)},
                notes=tuple(note for key, note in notes.items() if cells.get(key)),
            )
    except csv.Error as err:
        raise DisklessError(f"line {skipped + rows.line_num}: {err}") from None


def _is_blank(line: str) -> bool:
    """Return whether a line has no cell with a text, or is a comment."""
    return line.lstrip().startswith("#") or not line.strip(f'{_BETWEEN} \r"')


def _mac(text: str, line: int) -> str:
    try:
        return mac(text, line)
    except DisklessError as err:
        if not _NUMBER.fullmatch(text):
            raise
        raise DisklessError(
            f"{err}; a spreadsheet changed it to a number: format its column as text"
        ) from None


def _trimmed(row: list[str]) -> list[str]:
    """Return the cells of a row up to the last one that is not empty."""
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    texts = [_AS_TEXT.fullmatch(cell) for cell in cells]
    return [
        (text[1] or text[2] or "") if text else cell
        for cell, text in zip(cells, texts, strict=True)
    ]


def _header(cells: list[str], line: int) -> list[str]:
    """Return the names of the columns: the project's for those that it takes.

    Raises :class:`DisklessError` for what is no header, a column twice, and a name that is nearly
    that of a column.
    """
    header = [_column(cell) for cell in cells]
    for column, cell in zip(header, cells, strict=True):
        close = difflib.get_close_matches(column, _COLUMNS, 1, _TYPING_ERROR)
        if column not in _COLUMNS and ("name" not in header or len(header) < 2 or close):
            raise DisklessError(
                f"line {line}: found the column {shown(cell)}; {nearest(column, sorted(_COLUMNS))}"
            )
        if column and header.count(column) > 1:
            raise DisklessError(
                f"line {line}: found {header.count(column)} columns for {column}; give name, mac, "
                "ip, profile, each once"
            )
    if "name" not in header:
        raise DisklessError(f"line {line}: found no header; give name, mac, ip, profile, each once")
    return header


def _column(cell: str) -> str:
    """Return what the project calls a column, or the cell in lower case."""
    text = " ".join(re.split(r"[\s_-]+", cell.strip().lower())).strip()
    plain = text.replace(" ", "_")
    return plain if plain in _COLUMNS else _SYNONYMS.get(text, cell.lower())

"""What benches do with the rows that they have measured."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence


def show(rows: Sequence[Mapping[str, object]], file: pathlib.Path | None) -> None:
    """Print rows of the same columns as a table, and write them to a file as JSON where one is
    given. What is in ``bench``, the same in each, is left out of the table."""
    columns = [name for name in rows[0] if name != "bench"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(row[name]) for name in columns)} |")
    if file:
        file.write_text(json.dumps(rows, indent=1) + "\n")

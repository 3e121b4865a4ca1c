"""What a session holds, as a table."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

from jupyter_remote.amounts import size

COLUMNS = ("name", "type", "shape", "dtype", "device", "bytes")


class Variables(Sequence[dict[str, Any]]):
    """Rows with ``name``, ``type``, ``shape``, ``dtype``, ``device``, ``bytes``."""

    def __init__(self, session: str, rows: list[dict[str, Any]]) -> None:
        self._session = session
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return next(row for row in self._rows if row["name"] == index)
        return self._rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)

    def _cells(self) -> list[tuple[str, ...]]:
        return [tuple(_cell(name, row[name]) for name in COLUMNS) for row in self._rows]

    def __repr__(self) -> str:
        if not self._rows:
            return f"session {self._session!r} holds no variables"
        cells = [COLUMNS, *self._cells()]
        widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )

    def _repr_html_(self) -> str:
        if not self._rows:
            return f"<p>session <b>{html.escape(self._session)}</b> holds no variables</p>"
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in COLUMNS)
        rows = "".join(
            "<tr>"
            + "".join(f'<td style="text-align:left">{html.escape(c)}</td>' for c in row)
            + "</tr>"
            for row in self._cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "bytes":
        return size(value)
    return " × ".join(map(str, value)) if name == "shape" else str(value)

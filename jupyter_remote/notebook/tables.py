"""Tables for people: HTML in a front end, text elsewhere. An empty one says so."""

from __future__ import annotations

from collections.abc import Sequence

from jupyter_remote.cards.render import plain, shown


class Table:
    """Rows of texts under headings; the last expression of a cell shows it.

    Parameters
    ----------
    empty: what to say when there are no rows.
    note: a line below the table.
    numbers: indexes of columns to be set to the right.
    whole: indexes of columns whose texts stay on one line, however narrow the page is.
    """

    def __init__(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        empty: str,
        note: str = "",
        numbers: Sequence[int] = (),
        whole: Sequence[int] = (),
    ) -> None:
        self.headings = list(headings)
        self.rows = [[plain(cell) for cell in row] for row in rows]
        self.empty = empty
        self.note = note
        self.numbers = set(numbers)
        self.whole = {*numbers, *whole}

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        lines = [self.headings, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.headings))]
        text = [self._line(line, widths) for line in lines]
        text.insert(1, "  ".join("─" * width for width in widths))
        return "\n".join([*text, *([self.note] if self.note else [])])

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = (
            cell.rjust(width) if i in self.numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{shown(self.empty)}</p>"
        head = "".join(
            f'<th scope="col"{self._side(i)}>{shown(text)}</th>'
            for i, text in enumerate(self.headings)
        )
        body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        note = f"<p>{shown(self.note)}</p>" if self.note else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}</div>{note}'

    def _cells(self, row: Sequence[str]) -> str:
        return "".join(f"<td{self._side(i)}>{shown(c)}</td>" for i, c in enumerate(row))

    def _side(self, column: int) -> str:
        side = "right" if column in self.numbers else "left"
        whole = ";white-space:nowrap" if column in self.whole else ""
        return f' style="text-align:{side}{whole}"'

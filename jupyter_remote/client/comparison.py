"""One piece of code on several machines: a job on each, a table of what it took, and whether the
results agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors
from jupyter_remote.amounts import duration, size
from jupyter_remote.client import describe
from jupyter_remote.client.agreement import Agreement, agreement
from jupyter_remote.model import Status
from jupyter_remote.money.meter import UCREDITS_PER_USD
from jupyter_remote.money.meter import text_of as money
from jupyter_remote.outputs import text_of
from jupyter_remote.wire import Bar, JobView

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.job import Job

HEADINGS = ("machine", "job", "status", "time", "cost", "$/h", "peak memory", "result")
NUMBERS = (3, 4, 5, 6)  # columns that stand to the right
TEXT = 120  # characters of one text


class Run:
    """One machine: its job, or why there is none."""

    def __init__(
        self, machine: str, job: Job | None, refused: errors.JupyterRemoteError | None = None
    ) -> None:
        self.machine = machine
        self.job = job
        self.refused = refused

    @property
    def done(self) -> bool:
        return self.job is None or self.job.done()

    @property
    def completed(self) -> bool:
        return self.job is not None and self.job.done() and self.job.status == Status.COMPLETED

    @property
    def error(self) -> BaseException | None:
        """Why it gives no value."""
        return self.refused if self.job is None else self.job.exception() if self.done else None


class Comparison:
    """Jobs that do the same on several machines; displays as a table, live or at the end.

    ``result()`` is the value of the cheapest that completed (``best``). The others' are compared
    with it by content.

    Parameters
    ----------
    runs: in the order in which the machines were named.
    share_ucredits: what each priced one may cost, if that is limited.
    """

    def __init__(self, runs: Sequence[Run], share_ucredits: int | None = None) -> None:
        self.runs = list(runs)
        self.share_ucredits = share_ucredits
        self.note = ""  # what whoever shows it has to say
        self._agreements: dict[int, Agreement] | None = None

    @property
    def jobs(self) -> list[Job]:
        """The handles of those that were submitted."""
        return [run.job for run in self.runs if run.job is not None]

    def done(self) -> bool:
        """Have all of them ended?"""
        return all(run.done for run in self.runs)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all ended, ``timeout`` seconds at most. Returns whether they have."""
        until = None if timeout is None else time.monotonic() + timeout
        for job in self.jobs:
            if not job.wait(None if until is None else max(0.0, until - time.monotonic())):
                return False
        return True

    def cancel(self, force: bool = False, *, force_after: str | float | None = None) -> None:
        """Stop all that go on. Arguments as for :meth:`Job.cancel`."""
        for job in self.jobs:
            if not job.done():
                job.cancel(force, force_after=force_after)

    @property
    def best(self) -> Run | None:
        """The cheapest of those that completed; of equally cheap ones the quickest."""
        completed = [run for run in self.runs if run.completed]
        return min(completed, key=_price_and_time, default=None)

    @property
    def error(self) -> BaseException | None:
        """The first one's, if none completed."""
        if self.best is not None:
            return None
        return next((error for run in self.runs if (error := run.error) is not None), None)

    def result(self, timeout: float | None = None) -> Any:
        """The value of the cheapest that completed. Raises the first's error if none did, and
        TimeoutError if they have not ended after ``timeout`` seconds."""
        if not self.wait(timeout):
            raise errors.StillRunning("they still run", hint="ask again, or cancel()")
        best, error = self.best, self.error
        if best is None or best.job is None:
            raise error or errors.UsageError("there was nothing to compare")
        return best.job.result()

    # -- do they agree?
    def agreements(self) -> list[Agreement | None]:
        """Of each one's value with that of ``best``; None of itself and of what has none."""
        if self._agreements is None and self.done():
            self._agreements = self._compared()
        found = self._agreements or {}
        return [found.get(i) for i in range(len(self.runs))]

    def _compared(self) -> dict[int, Agreement]:
        best = self.best
        others = [i for i, run in enumerate(self.runs) if run.completed and run is not best]
        if best is None or best.job is None or not others:
            return {}
        opened: list[Any] = []  # the value of the best, once it is needed
        return {i: _agreement(best.job, self.runs[i].job, opened) for i in others}

    def outputs_agree(self) -> bool:
        """Did all that completed print the same?"""
        texts = {_printed(run.job) for run in self.runs if run.completed and run.job is not None}
        return len(texts) <= 1

    # -- how it looks
    def rows(self, now: float | None = None) -> list[list[str]]:
        """A row for each machine, under ``HEADINGS``."""
        best, now = self.best if self.done() else None, time.time() if now is None else now
        told = self.agreements()
        return [
            _row(run, now, _result(run, best, found))
            for run, found in zip(self.runs, told, strict=True)
        ]

    def notes(self) -> list[str]:
        """What there is to say below the table."""
        found = [self.note] if self.note else []
        if self.share_ucredits is not None and len(self.runs) > 1:
            found.append(
                f"each that is not free may cost {money(self.share_ucredits)}, an equal share "
                "of the limit; what one leaves of it is not passed on"
            )
        if not self.done():
            return found
        best, completed = self.best, [run for run in self.runs if run.completed]
        if best is None:
            return [*found, "none completed: there is no value"]
        if len(completed) > 1:
            where = "all" if len(completed) == len(self.runs) else "those that completed"
            same = f"the same output on {where}" if self.outputs_agree() else "their outputs differ"
            found.append(f"values and output are those of {best.machine}, the cheapest; {same}")
        elif len(self.runs) > 1:
            found.append(f"values and output are those of {best.machine}: no other completed")
        return found

    def __repr__(self) -> str:
        lines = [list(HEADINGS), *self.rows()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
        text = [_line(line, widths) for line in lines]
        text.insert(1, "  ".join("─" * width for width in widths))
        return "\n".join([*text, *self.notes()])

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col"{_side(i)}>{_shown(h)}</th>' for i, h in enumerate(HEADINGS)
        )
        body = "".join(
            "<tr>" + "".join(f"<td{_side(i)}>{_shown(c)}</td>" for i, c in enumerate(row)) + "</tr>"
            for row in self.rows()
        )
        notes = "".join(f"<div>{_shown(note)}</div>" for note in self.notes())
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}{notes}</div>'


def clients_of(client: Client, machines: Sequence[str]) -> tuple[dict[str, Client], int | None]:
    """A client of each machine, and what each that has a price may spend: an equal share of what
    ``client`` may. Raises UnknownMachine."""
    from jupyter_remote.money.catalog import choose
    from jupyter_remote.wire import Need

    there = client.machines()
    usd_per_h = {name: choose(Need(machine=name), there).usd_per_h for name in machines}
    priced = [name for name, rate in usd_per_h.items() if rate > 0]
    most = client.options.max_cost_ucredits
    share = most // len(priced) if most is not None and priced else None
    usd = None if share is None else share / UCREDITS_PER_USD
    found = {
        name: client.with_options(
            machine=name, gpu=None, cpus=None, max_cost=usd if name in priced else None
        )
        for name in usd_per_h
    }
    return found, share


def submit_each(
    client: Client, machines: Sequence[str], send: Callable[[Client], Job]
) -> Comparison:
    """``send`` submits with a client of each machine. A refusal is a row, unless all are refused.

    What ``client`` may spend is split into equal shares for the machines that have a price.
    Raises UnknownMachine before anything is sent.
    """
    clients, share = clients_of(client, machines)
    runs: list[Run] = []
    try:
        for name, one in clients.items():
            runs.append(_submitted(one, name, send))
    except BaseException:
        Comparison(runs).cancel()
        raise
    if not any(run.job is not None for run in runs) and (error := runs[0].refused) is not None:
        if share is not None and len(runs) > 1:
            error.hint = f"{error.hint} Each machine gets an equal share of the limit.".strip()
        raise error
    return Comparison(runs, share)


def _submitted(client: Client, machine: str, send: Callable[[Client], Job]) -> Run:
    try:
        return Run(machine, send(client))
    except (errors.InsufficientFunds, errors.BudgetExceeded, errors.UsageError) as error:
        return Run(machine, None, error)


def values_agree(first: Job, other: Job) -> Agreement:
    """Of two jobs that completed."""
    return _agreement(first, other, [])


def _agreement(best: Job, other: Job | None, opened: list[Any]) -> Agreement:
    """Values whose bytes are the same are not opened."""
    assert other is not None
    if _bytes_of(best) == _bytes_of(other):
        return Agreement("identical", "identical" if _bytes_of(best) else "no values")
    try:
        opened[:] = opened or [best.result()]
        return agreement(opened[0], other.result())
    except Exception as error:  # a value that cannot be opened here
        return Agreement("unknown", f"cannot be compared: {type(error).__name__}: {error}")


def _bytes_of(job: Job) -> list[str]:
    """What names the bytes of its value; empty without one."""
    result = job.ended.result if job.ended is not None else None
    return [s.digest for s in result.value.segments] if result is not None and result.value else []


def _printed(job: Job) -> str:
    return text_of(job.events, "stdout") + "\0" + text_of(job.events, "stderr")


def _price_and_time(run: Run) -> tuple[float, float]:
    assert run.job is not None
    return run.job.cost, _ran_s(run.job.view, 0.0)


def _ran_s(view: JobView, now: float) -> float:
    if view.started_at is None:
        return 0.0
    return max(0.0, (view.ended_at or now) - view.started_at)


def _row(run: Run, now: float, result: str) -> list[str]:
    if run.job is None:
        return [
            run.machine,
            "",
            _one_line(f"refused: {run.refused.message if run.refused else ''}"),
            "",
            "",
            "",
            "",
            "",
        ]
    view = run.job.view
    metrics = view.metrics
    cost = describe.cost_usd(view, now)
    rate = view.money.rate_ucredits_per_h / UCREDITS_PER_USD
    return [
        run.machine + (" (simulated)" if view.money.simulated else ""),
        view.id[:8],
        _one_line(_status(run.job, view)),
        duration(_ran_s(view, now)) if view.started_at is not None else "",
        money(round(cost * UCREDITS_PER_USD)),
        f"{rate:.4g}" if rate else "free",
        size(metrics.peak_memory_bytes) if metrics and metrics.peak_memory_bytes else "",
        _one_line(result),
    ]


def _status(job: Job, view: JobView) -> str:
    """``running: executing, 40 %``, ``failed: ValueError: no``."""
    error = job.ended.error if job.ended is not None else None
    if error is not None and view.status == Status.FAILED:
        return f"{view.status}: {error.ename}: {error.evalue}"
    if view.status in (Status.COMPLETED, Status.CANCELLED):
        return view.status
    parts = [view.detail or view.stage or view.reason.replace("_", " ")]
    if view.status == Status.RUNNING:
        parts.append(_progress(view.progress))
    told = ", ".join(part for part in parts if part)
    return f"{view.status}: {told}" if told else view.status


def _progress(bars: Sequence[Bar]) -> str:
    outer = next((bar for bar in bars if not bar.parent and bar.total), None)
    if outer is None or not outer.total:
        return ""
    return f"{min(100.0, 100 * outer.n / outer.total):.0f} %"


def _result(run: Run, best: Run | None, found: Agreement | None) -> str:
    if found is not None:
        return found.text
    return "kept" if run is best else ""


def _one_line(text: str) -> str:
    """Of a user's text one line without control characters, cut to a length."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= TEXT else line[: TEXT - 1] + "…"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if i in NUMBERS else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _side(column: int) -> str:
    whole = ";white-space:nowrap" if column in (0, *NUMBERS) else ""
    return f' style="text-align:{"right" if column in NUMBERS else "left"}{whole}"'


def _shown(text: str) -> str:
    """Text for HTML. A front end would set ``$0.10 at $0.44`` as a formula: the signs are apart."""
    return escape(text).replace("$", "<span>$</span>")

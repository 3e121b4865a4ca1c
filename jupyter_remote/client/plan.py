"""What a job would ship, where it would run and what it would cost; made before anything runs.

A plan is of one capture: it holds nothing that could be run. What runs is captured anew, so that a
change of the code between plan and run is in the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from typing import NamedTuple

from jupyter_remote.amounts import duration, size
from jupyter_remote.client.environment import compared, packages_among, version_of
from jupyter_remote.client.options import Options
from jupyter_remote.client.origin import Origin
from jupyter_remote.client.places import NOTHING, Provided
from jupyter_remote.client.plan_words import (
    aligned,
    comparison,
    counted,
    money,
    named_of,
    shown,
    soon,
    table_html,
    times,
)
from jupyter_remote.client.submitting import segments_of
from jupyter_remote.money import meter
from jupyter_remote.money.budgets import notices_of_cut
from jupyter_remote.money.catalog import age_days, is_old
from jupyter_remote.money.estimate import in_usd
from jupyter_remote.money.offers import too_little
from jupyter_remote.wire import (
    INSTALL_S,
    EnvironmentSpec,
    EstimateRequest,
    FileRef,
    Interval,
    JobSpec,
    NameInfo,
    PlanReply,
    Segment,
)

SHOWN = 40  # names, files and the like of one list


class Shipped(NamedTuple):
    """Something that the job takes along."""

    name: str
    type: str
    size_bytes: int
    there: bool | None = None  # already; None: it is in the request, or one cannot say of it alone


class Plan:
    """A plan; displays as a table. Nothing was sent and nothing runs."""

    def __init__(
        self,
        reply: PlanReply,
        names: Iterable[NameInfo] = (),
        files: Iterable[FileRef] = (),
        segments: Iterable[Segment] = (),
        notices: Iterable[str] = (),
        *,
        used: Iterable[str] = (),
        guessed: Iterable[str] = (),
        max_cost_ucredits: int | None = None,
        environment: Provided = NOTHING,
    ) -> None:
        self.reply = reply
        self.machine = reply.machine
        self.estimate = reply.estimate
        self.offers = list(reply.offers)
        sizes = {s.digest: s for s in segments}
        lacking = {m.digest: m.chunks for m in reply.missing if m.digest in sizes}
        self.inputs_bytes = sum(s.size_bytes for s in sizes.values())
        self.missing_bytes = sum(_missing_bytes(sizes[d], c) for d, c in lacking.items())
        files = list(files)
        there = _There(sizes.values(), lacking, [f.content for f in files])
        self.shipped = [
            Shipped(n.name, n.type, n.size_bytes, there.of_size(n.size_bytes))
            for n in names
            if n.type != "module"  # the other side has its own
        ]
        self.shipped += [
            Shipped(f.path, f"file, read over there from {f.source}", f.source_bytes)
            if f.source
            else Shipped(f.path, "module" if f.module else "file", f.content.size_bytes,
                         there.of_segment(f.content))
            for f in files
        ]  # fmt: skip
        local = {f.path.partition("/")[0].removesuffix(".py") for f in files if f.module}
        self.packages = packages_among(used, local)
        self.environment = environment.spec
        self._fetched_bytes = environment.size_bytes
        named = [] if self.environment is not None else self.packages  # what is installed is equal
        self.differences = compared(named, reply.there) if reply.there is not None else []
        self._max_cost_ucredits = max_cost_ucredits
        told = too_little(max_cost_ucredits, reply.rate_ucredits_per_h, reply.estimate)
        self.notices = [*notices, *([told] if told else [])]
        self.notices += notices_of_cut(reply.fuse, reply.hold_ucredits)
        self.notices += [reply.refused] if reply.refused else []
        if sampled := sum(sizes[d].size_bytes for d in set(guessed) if d in sizes):
            self.notices.append(
                f"of {size(sampled)} that was sent before a sample was compared; the run compares "
                "every byte."
            )

    @property
    def price(self) -> float:
        """USD: the most that it can cost."""
        return meter.usd_of(self.reply.hold_ucredits)

    @property
    def credits(self) -> float:
        """The same in credits; 1 credit is $0.01."""
        return meter.credits_of(self.reply.hold_ucredits)

    @property
    def expected(self) -> Interval | None:
        """USD: what it is expected to cost, with the ends of a 90 % interval; None: not known."""
        return None if self.estimate.ucredits is None else in_usd(self.estimate.ucredits)

    @property
    def likely_usd(self) -> float:
        """USD that it will hardly exceed: by earlier runs, without any by what is held for it."""
        return self.expected.high if self.expected is not None else self.price

    @property
    def usd_per_h(self) -> float:
        """USD an hour while it runs."""
        return meter.usd_of(self.reply.rate_ucredits_per_h)

    @property
    def affordable(self) -> bool:
        """Do the balance and the budgets cover it?"""
        if self.reply.refused:
            return False
        return self.reply.available_ucredits >= self.reply.hold_ucredits

    @property
    def is_cached(self) -> bool:
        """Would it be given a result that is kept, for nothing?"""
        return bool(self.reply.cached_from)

    def short(self) -> str:
        """In a line or two, as it is shown before a job that may be expensive."""
        parts = [f"{self.machine.id}: {self._expected_price()}{self._price()}"]
        if (run_s := self.estimate.run_s) is not None:
            parts.append(f"takes {times(run_s)}")
        parts += [f"starts {self._start()}", f"ships {self._ships()}"]
        lines = ["; ".join(parts)]
        if run_s is not None:
            lines.append(f"by {self.estimate.basis}")
        return "\n".join([*lines, *self.notices])

    def rows(self) -> list[tuple[str, str]]:
        """What there is to say, as label and text; other machines are a table of their own."""
        reply = self.reply
        rows = [("machine", self._machine())]
        if self.is_cached:
            rows.insert(0, ("in the cache", f"free: the result of job {reply.cached_from[:8]}"))
        if self.estimate.run_s is not None:
            rows.append(("takes", f"{times(self.estimate.run_s)}, by {self.estimate.basis}"))
        else:
            rows.append(("takes", f"not known: {self.estimate.basis}" * bool(self.estimate.basis)))
        rows.append(("price", self._expected_price() + self._price()))
        if reply.rate_ucredits_per_h:
            rows.append(("longest run", duration(reply.max_run_s)))
        rows.append(("priced", self._priced(date.today())))
        rows.append(("held", self._held()))
        rows.append(("starts", self._start()))
        rows += self._environment()
        rows.append(("ships", self._ships()))
        rows += [("", _shipped_text(s)) for s in self.shipped[:SHOWN]]
        if (more := len(self.shipped) - SHOWN) > 0:
            rows.append(("", f"and {more} more"))
        rows = [row for row in rows if row[1]]
        return rows + [("note", notice) for notice in self.notices]

    def comparison(self) -> list[list[str]]:
        """Machine types with what the job would take and cost there; empty where there is one."""
        return comparison(self.offers)

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        lines = [f"{label:>{width}}  {text}" for label, text in rows]
        if table := self.comparison():
            lines += ["", *aligned(table)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left;vertical-align:top">{escape(label)}</th>'
            f'<td style="text-align:left">{shown(text)}</td></tr>'
            for label, text in self.rows()
        )
        caption = "Plan: nothing runs yet"
        plan = f"<table><caption>{caption}</caption>{cells}</table>"
        return plan + table_html(self.comparison())

    def _machine(self) -> str:
        machine = self.machine
        parts = [machine.id, f"{machine.cpus:g} CPUs", size(machine.memory_bytes)]
        if machine.gpu:
            count = f"{self.reply.gpus} of {machine.gpu_count}" if self.reply.gpus else ""
            gpus = f"{count or machine.gpu_count} × {machine.gpu} {size(machine.gpu_memory_bytes)}"
            parts.append(gpus + ", for that part of its price" * bool(count))
        if machine.simulated:
            parts.append("simulated: runs on this computer, priced as there")
        return ", ".join(part for part in parts if part != "0 B")

    def _expected_price(self) -> str:
        prices = self.estimate.ucredits
        if prices is None or not self.reply.rate_ucredits_per_h:
            return ""
        return f"≈ {money(prices)}, "

    def _most(self) -> str:
        return meter.amount_text(self.reply.hold_ucredits)

    def _price(self) -> str:
        if not self.reply.rate_ucredits_per_h:
            return "free"
        text = f"{meter.rate_text(self.reply.rate_ucredits_per_h)}, at most {self._most()}"
        lacking = self.reply.hold_ucredits - self.reply.available_ucredits
        if lacking > 0:
            text += f"; {meter.credits_text(lacking)} are missing"
        return text

    def _priced(self, today: date) -> str:
        """Since when the price is known, and from whom; it stays that of the job."""
        machine = self.machine
        if not machine.priced_on:
            return ""
        days = f", {age_days(machine, today)} days ago" if is_old(machine, today) else ""
        return f"as of {machine.priced_on}{days} ({machine.source})"

    def _held(self) -> str:
        """What the hold is, and what stops the job there."""
        if not self.reply.rate_ucredits_per_h:
            return ""
        limit = "--max-cost" if self._max_cost_ucredits is not None else "the longest run"
        if self.reply.fuse:
            limit = f"the {self.reply.fuse.replace(' ', ' of the ')}"
        return f"{self._most()} by {limit}; what is not spent is given back"

    def _start(self) -> str:
        reply = self.reply
        if reply.warm and not reply.slots_free:
            before = f", {reply.jobs_waiting} waiting before it" * bool(reply.jobs_waiting)
            return f"when a slot is free: all are busy{before}"
        warm = "a machine is ready" if reply.warm else "a machine must be started"
        return f"{soon(reply.start_s)} ({warm})"

    def _environment(self) -> list[tuple[str, str]]:
        named = ", ".join(f"{p} {version_of(p)}" for p in self.packages)
        rows = [("packages", named)] if named else []
        if self.environment is not None:
            rows.append(("installs", self._installs(self.environment)))
        if self.reply.same_python:
            rows.append(("Python", "the same one as here, with its packages"))
        elif self.differences:
            rows.append(("differs", "; ".join(d.text for d in self.differences)))
            if any(d.fatal for d in self.differences):
                rows.append(("", "values cannot be opened there: the job would end with that"))
        elif self.reply.there is not None:
            rows.append(("Python", f"{self.reply.there.python} there, and the same versions"))
        return rows

    def _installs(self, made: EnvironmentSpec) -> str:
        """What, and what of it is new to a worker that built none like it yet."""
        fetched = f", {size(self._fetched_bytes)} to fetch" if self._fetched_bytes else ""
        carried = f", {len(made.wheels)} of them sent from here" if made.wheels else ""
        count = counted(len(made.packages), "package")
        return (
            f"{named_of(made)}: {count} for Python {made.python} by {made.source}{fetched}{carried}"
            f"; once on each machine, within {duration(INSTALL_S)}"
        )

    def _ships(self) -> str:
        if not self.inputs_bytes:
            return "next to nothing: it fits into the request"
        there = self.inputs_bytes - self.missing_bytes
        return (
            f"{size(self.missing_bytes)} ({size(there)} of {size(self.inputs_bytes)} there already)"
        )


def plan_request(spec: JobSpec, options: Options, origin: Origin) -> EstimateRequest:
    """What the backend is asked about a job that was captured."""
    return EstimateRequest(
        need=options.need,
        segments=segments_of(spec),
        timeout_s=options.timeout_s,
        max_cost_ucredits=options.max_cost_ucredits,
        code_key=origin.code_key,
        notebook=origin.notebook,
        kind=spec.kind,
        executable=spec.executable,
        cache_key=origin.cache.key if origin.cache is not None else "",
    )


class _There:
    """What of the inputs the backend has. A name is known by the one segment of its size: arrays
    are a segment each."""

    def __init__(
        self, segments: Iterable[Segment], lacking: dict[str, list[str]], files: Sequence[Segment]
    ) -> None:
        self._lacking = lacking
        of_files = {content.digest for content in files}
        self._segments = [s for s in segments if s.digest not in of_files]
        self._sizes = Counter(s.size_bytes for s in self._segments)

    def of_segment(self, segment: Segment) -> bool | None:
        return None if segment.data is not None else segment.digest not in self._lacking

    def of_size(self, size_bytes: int) -> bool | None:
        absent = [s for s in self._segments if s.digest in self._lacking]
        if not self._segments:
            return None
        if not absent or len(absent) == len(self._segments):
            return not absent
        if self._sizes[size_bytes] != 1:
            return None
        return all(s.size_bytes != size_bytes for s in absent)


def _shipped_text(shipped: Shipped) -> str:
    there = {True: ", there already", False: ", to be sent", None: ""}[shipped.there]
    return f"{shipped.name}: {shipped.type}, {size(shipped.size_bytes)}{there}"


def _missing_bytes(segment: Segment, chunks: list[str]) -> int:
    lacking = set(chunks)
    if not segment.chunks:
        return segment.size_bytes
    return sum(length for digest, length in segment.chunks if digest in lacking)

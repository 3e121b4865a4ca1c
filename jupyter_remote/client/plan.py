"""What a job would ship, where it would run and what it would cost; made before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

from jupyter_remote.amounts import duration, size
from jupyter_remote.money import meter
from jupyter_remote.wire import NameInfo, PlanReply, Segment


class Shipped(NamedTuple):
    """Something that the job takes along."""

    name: str
    type: str
    size_bytes: int


class Plan:
    """A plan; displays as a table. Nothing was sent and nothing runs."""

    def __init__(
        self,
        reply: PlanReply,
        names: Iterable[NameInfo] = (),
        files: Iterable[tuple[str, int]] = (),
        segments: Iterable[Segment] = (),
        notices: Iterable[str] = (),
    ) -> None:
        self.reply = reply
        self.machine = reply.machine
        self.shipped = [Shipped(n.name, n.type, n.size_bytes) for n in names]
        self.shipped += [Shipped(path, "file", size) for path, size in files]
        self.notices = list(notices)
        sizes = {s.digest: s for s in segments}
        self.inputs_bytes = sum(s.size_bytes for s in sizes.values())
        self.missing_bytes = sum(
            _missing_bytes(sizes[m.digest], m.chunks) for m in reply.missing if m.digest in sizes
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
    def usd_per_h(self) -> float:
        """USD an hour while it runs."""
        return meter.usd_of(self.reply.rate_ucredits_per_h)

    @property
    def affordable(self) -> bool:
        """Does the balance cover it?"""
        return self.reply.available_ucredits >= self.reply.hold_ucredits

    @property
    def is_cached(self) -> bool:
        """Would it be given a result that is kept, for nothing?"""
        return bool(self.reply.cached_from)

    def rows(self) -> list[tuple[str, str]]:
        """What there is to say, as label and text."""
        reply = self.reply
        rows = [("machine", self._machine()), ("price", self._price())]
        if self.is_cached:
            rows.insert(0, ("in the cache", f"free: the result of job {reply.cached_from[:8]}"))
        if reply.rate_ucredits_per_h:
            rows.append(("longest run", duration(reply.max_run_s)))
        if reply.typical_run_s is not None:
            low, high = reply.typical_run_s
            rows.append(("earlier runs", f"{duration(low)} to {duration(high)}"))
        rows.append(("starts", self._start()))
        rows.append(("ships", self._ships()))
        rows += [("", f"{s.name}: {s.type}, {size(s.size_bytes)}") for s in self.shipped]
        if reply.alternatives:
            offers = (f"{m.id} ${m.usd_per_h:.4g}/h" for m in reply.alternatives)
            rows.append(("or", ", ".join(offers)))
        return rows + [("note", notice) for notice in self.notices]

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:>{width}}  {text}" for label, text in rows)

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(label)}</th>'
            f'<td style="text-align:left">{_shown(text)}</td></tr>'
            for label, text in self.rows()
        )
        return f"<table><caption>Plan: nothing runs yet</caption>{cells}</table>"

    def _machine(self) -> str:
        machine = self.machine
        parts = [machine.id, f"{machine.cpus:g} CPUs", size(machine.memory_bytes)]
        if machine.gpu:
            parts.append(f"{machine.gpu_count} × {machine.gpu} {size(machine.gpu_memory_bytes)}")
        if machine.simulated:
            parts.append("simulated: runs on this computer, priced as there")
        return ", ".join(part for part in parts if part != "0 B")

    def _price(self) -> str:
        if not self.reply.rate_ucredits_per_h:
            return "free"
        text = f"${self.usd_per_h:.4g}/h, at most {self.credits:,.2f} credits (${self.price:,.2f})"
        if not self.affordable:
            lacking = self.reply.hold_ucredits - self.reply.available_ucredits
            text += f"; {meter.credits_of(lacking):,.2f} credits are missing"
        return text

    def _start(self) -> str:
        warm = "a machine is ready" if self.reply.warm else "a machine must be started"
        when = f"in {duration(self.reply.start_s)}" if self.reply.start_s >= 0.1 else "at once"
        return f"{when} ({warm})"

    def _ships(self) -> str:
        if not self.inputs_bytes:
            return "next to nothing: it fits into the request"
        there = self.inputs_bytes - self.missing_bytes
        return (
            f"{size(self.missing_bytes)} ({size(there)} of {size(self.inputs_bytes)} there already)"
        )


def _shown(text: str) -> str:
    """Text for HTML. A front end would set ``$0.10 at $0.44`` as a formula: the signs are apart."""
    return escape(text).replace("$", "<span>$</span>")


def _missing_bytes(segment: Segment, chunks: list[str]) -> int:
    lacking = set(chunks)
    if not segment.chunks:
        return segment.size_bytes
    return sum(length for digest, length in segment.chunks if digest in lacking)

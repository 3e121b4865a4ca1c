"""What a job's card knows: events in, a new state out. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_remote.cards.graphs import kept
from jupyter_remote.money.budgets import FUSE
from jupyter_remote.money.estimate import Completion, of_bars, within
from jupyter_remote.money.meter import cost_ucredits
from jupyter_remote.wire import Bar, Done, Estimate, Event, JobView, Metrics, Receipt

FINAL = ("completed", "failed", "cancelled")
REFUSED = "refused"  # reason of a job that never reached its backend; known here only
HERE = "here"  # machine of what ran in the notebook's own kernel; no backend knows it
MAX_BARS = 12  # shown; closed ones go first


class CardState(msgspec.Struct, frozen=True, kw_only=True):
    """One job as its card shows it. Times are seconds since 1970."""

    id: str
    kind: str = "cell"
    status: str = "queued"
    stage: str = ""
    reason: str = ""
    detail: str = ""
    description: str = ""
    machine: str = "local"
    session: str = ""  # of a cell that runs in one its id, of a session its name
    cell: str = ""  # of the notebook that sent it, by its id
    cell_code: str = ""  # check sum of its text
    simulated: bool = False
    is_priced: bool = True  # False: the backend has not said yet
    rate_ucredits_per_h: int = 0
    hold_ucredits: int = 0
    cost_ucredits: int = 0
    charged_ucredits: int = 0  # for the attempts before this one
    max_cost_ucredits: int | None = None
    timeout_s: float | None = None
    estimate: Estimate | None = None  # made before it ran
    errors: tuple[tuple[float, float], ...] = ()  # of earlier extrapolations, see `halfway`
    attempt: int = 0
    submitted_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    bars: tuple[Bar, ...] = ()
    metrics: Metrics | None = None
    samples: tuple[Metrics, ...] = ()  # the latest, as they were heard of
    folded: dict[str, int] = {}  # bytes of each stream that are in its log only
    dropped: int = 0  # displays that are gone
    progress_at: float = 0.0  # when the newest bar was heard of
    fuse: str = ""  # what bounds its cost: "max_cost", or a budget
    warned_at: float | None = None  # most of what its fuse allows was spent
    kill_at: float | None = None  # while it is cancelling; None: never
    checkpoint_at: float | None = None
    checkpoint_bytes: int = 0
    relaying: bool = False  # it ended, and the last of its output is not below its card yet
    stopping: str = ""  # what a person asked for: "", "interrupting", "killing"
    receipt: Receipt | None = None  # once it ended

    @property
    def folded_bytes(self) -> int:
        return sum(self.folded.values())

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def runs(self) -> bool:
        """Do its clock and its meter run?"""
        return self.started_at is not None and self.status in ("running", "cancelling")


def state_of(view: JobView) -> CardState:
    """The state of a job as the API shows it."""
    return _with_view(CardState(id=view.id), view)


def render(state: CardState, event: Event) -> CardState:
    """The state after an event; outputs and unknown events leave it as it is."""
    match event.type:
        case "status":
            fields = msgspec.json.decode(event.data)
            if "submitted_at" in fields and "money" in fields:  # whole: what is left out is unset
                return _with_view(state, msgspec.convert({"id": state.id} | fields, JobView))
            return _with_fields(state, fields)
        case "progress":
            bar = msgspec.json.decode(event.data, type=Bar)
            bars = merge_bar(state.bars, bar)
            return msgspec.structs.replace(state, bars=bars, progress_at=event.at)
        case "metrics":
            metrics = msgspec.json.decode(event.data, type=Metrics)
            samples = kept(state.samples, metrics)
            return msgspec.structs.replace(state, metrics=metrics, samples=samples)
        case "folded":
            count = msgspec.json.decode(event.data)  # from the beginning, not since the last
            if count["name"] == "display_data":
                return msgspec.structs.replace(state, dropped=int(count["displays"]))
            folded = state.folded | {count["name"]: int(count["bytes"])}
            return msgspec.structs.replace(state, folded=folded)
        case "done":
            done = msgspec.json.decode(event.data, type=Done)
            state = msgspec.structs.replace(state, receipt=done.receipt)
            return _ended(_with_view(state, done.job))
        case _:
            return state


def _with_view(state: CardState, view: JobView) -> CardState:
    fields = {name: getattr(view, name) for name in view.__struct_fields__}
    state = msgspec.structs.replace(state, is_priced=True)
    return _with_fields(state, {**fields, "money": msgspec.structs.asdict(view.money)})


def _with_fields(state: CardState, fields: dict[str, Any]) -> CardState:
    """``fields`` are some of a JobView's."""
    if "status" in fields:  # what is at its default is left out of JSON
        fields = {"stage": "", "reason": "", "detail": ""} | fields
    known = {k: fields[k] for k in _PLAIN if k in fields}
    money = fields.get("money") or {}
    known |= {k: money[k] for k in _MONEY if k in money}
    if metrics := fields.get("metrics"):
        known["metrics"] = told = msgspec.convert(metrics, Metrics)
        known["samples"] = kept(state.samples, told)
    if estimate := fields.get("estimate"):
        known["estimate"] = msgspec.convert(estimate, Estimate)
    if known.get("attempt", 0) > max(state.attempt, 1):
        known |= {"bars": (), "folded": {}, "dropped": 0}  # a new attempt draws its own
    if known.get("status") == "queued" and "cost_ucredits" in known:  # between two attempts
        known["charged_ucredits"] = known["cost_ucredits"]
    state = msgspec.structs.replace(state, **known)
    for bar in msgspec.convert(fields.get("progress") or [], list[Bar]):
        state = msgspec.structs.replace(state, bars=merge_bar(state.bars, bar))
    return state


_PLAIN = [
    "kind",
    "status",
    "stage",
    "reason",
    "detail",
    "description",
    "machine",
    "session",
    "cell",
    "cell_code",
    "max_cost_ucredits",
    "timeout_s",
    "attempt",
    "submitted_at",
    "started_at",
    "ended_at",
    "fuse",
    "warned_at",
    "kill_at",
    "checkpoint_at",
    "checkpoint_bytes",
]
_MONEY = ("rate_ucredits_per_h", "hold_ucredits", "cost_ucredits", "simulated")


def _ended(state: CardState) -> CardState:
    return msgspec.structs.replace(state, stage="", stopping="")


def merge_bar(bars: tuple[Bar, ...], bar: Bar) -> tuple[Bar, ...]:
    """Bars with one of them as it stands now: below its parent, gone if it is not to be left."""
    if bar.state == "close" and not bar.leave:
        return tuple(b for b in bars if b.id != bar.id)
    if any(b.id == bar.id for b in bars):
        return tuple(bar if b.id == bar.id else b for b in bars)
    return _bounded((*bars[: (at := _place(bars, bar))], bar, *bars[at:]))


def _place(bars: tuple[Bar, ...], bar: Bar) -> int:
    """After the last bar of its parent's family; at the end without one."""
    family = {bar.parent} if bar.parent else set()
    at = len(bars)
    for i, other in enumerate(bars):
        if other.id in family or other.parent in family:
            family.add(other.id)
            at = i + 1
    return at


def _bounded(bars: tuple[Bar, ...]) -> tuple[Bar, ...]:
    """At most ``MAX_BARS``: the oldest closed ones go first, then the oldest."""
    surplus = len(bars) - MAX_BARS
    if surplus <= 0:
        return bars
    order = sorted(range(len(bars)), key=lambda i: (bars[i].state != "close", i))
    gone = set(order[:surplus])
    return tuple(bar for i, bar in enumerate(bars) if i not in gone)


def depth(bars: tuple[Bar, ...], bar: Bar) -> int:
    """How many bars enclose this one."""
    by_id = {b.id: b for b in bars}
    seen = {bar.id}
    while (parent := by_id.get(bar.parent)) is not None and parent.id not in seen:
        seen.add(parent.id)
        bar = parent
    return len(seen) - 1


def elapsed_s(state: CardState, now: float) -> float:
    """Seconds that its code has run, in the latest attempt; 0 while it waits for one."""
    if state.started_at is None or not (state.runs or state.final):
        return 0.0
    return max(0.0, (state.ended_at or now) - state.started_at)


def cost_now(state: CardState, now: float) -> int:
    """Micro-credits so far; what was charged once it ended."""
    if not state.runs:
        return state.cost_ucredits
    latest = cost_ucredits(state.rate_ucredits_per_h, elapsed_s(state, now))
    so_far = state.charged_ucredits + latest
    return max(state.cost_ucredits, min(so_far, state.hold_ucredits or so_far))


def fraction(bar: Bar) -> float | None:
    """0 to 1; None without a total."""
    if not bar.total or bar.total <= 0:
        return None
    return min(1.0, max(0.0, bar.n / bar.total))


def left_s(bar: Bar) -> float | None:
    """Seconds until the bar is full at its present rate."""
    if bar.state == "close" or not bar.total or not bar.rate or bar.rate <= 0:
        return None
    return max(0.0, (bar.total - bar.n) / bar.rate)


def at_completion(state: CardState, now: float) -> Completion | None:
    """What the job will have taken and cost, by its outermost bar and by earlier runs."""
    if not state.runs or state.started_at is None:
        return None
    made = of_bars(
        state.bars,
        elapsed_s(state, max(now, state.started_at)),
        state.rate_ucredits_per_h,
        state.estimate.run_s if state.estimate is not None else None,
        state.errors,
    )
    return None if made is None else within(made, state.charged_ucredits, state.hold_ucredits)


def share_of_fuse(state: CardState, now: float) -> float | None:
    """What is spent of what it may cost, 0 to 1; None without a limit, or on a free machine."""
    allowed = allowed_by_fuse(state)
    if not allowed or not state.rate_ucredits_per_h:
        return None
    return min(1.0, cost_now(state, now) / allowed)


def allowed_by_fuse(state: CardState) -> int:
    """By ``--max-cost``, or by a budget that leaves less; 0: by neither."""
    by_budget = state.fuse.startswith(FUSE)
    return state.hold_ucredits if by_budget else state.max_cost_ucredits or 0

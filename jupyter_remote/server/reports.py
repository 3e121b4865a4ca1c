"""What workers report of their attempts, checked before it reaches the store. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jupyter_remote import errors, wire
from jupyter_remote.model import MachineType, Stage
from jupyter_remote.scheduler.board import Active
from jupyter_remote.server.submitting import check_segments
from jupyter_remote.store.base_parts import AttemptUpdate, Outcome

KEPT_BARS = 200  # of one attempt; those that closed first go first
STORED = frozenset({
    "stream", "display_data", "execute_result", "update_display_data", "clear_output", "error",
    "comm", "folded", "notice", "ask",
})  # fmt: skip
TRANSIENT = frozenset({"progress", "metrics"})

_bar = msgspec.json.Decoder(wire.Bar)
_bars = msgspec.json.Decoder(list[wire.Bar])
_any_json = msgspec.json.Decoder(msgspec.Raw)


def check_events(events: Sequence[wire.WorkerEvent]) -> list[wire.WorkerEvent]:
    """The events. Raises InvalidRequest for one that no worker makes, and for what is no JSON: it
    would end the streams of whoever reads it."""
    for event in events:
        if event.type not in (STORED if event.seq else TRANSIENT):
            raise errors.InvalidRequest(f"A worker tells of no {event.type[:50]!r}.")
        try:
            _any_json.decode(event.data)
            bytes(event.data).decode()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.InvalidRequest(f"The data of an event is no JSON: {error}.") from error
    return list(events)


class Latest:
    """Progress and metrics of one attempt, and whether they are written."""

    __slots__ = ("bars", "changed", "metrics", "written_at")

    def __init__(self, stored: bytes | None = None) -> None:
        """``stored``: what an earlier connection, or backend, wrote of this attempt."""
        self.bars = {bar.id: bar for bar in (_bars.decode(stored) if stored else [])}
        self.metrics: bytes | None = None
        self.written_at = float("-inf")
        self.changed = False

    def add(self, events: Sequence[wire.WorkerEvent]) -> None:
        """Take over what transient events say. Raises ValidationError for a malformed bar."""
        for event in events:
            if event.type == "progress":
                bar = _bar.decode(event.data)
                self.bars[bar.id] = bar
                self.changed = True
            elif event.type == "metrics":
                self.metrics = event.data
        while len(self.bars) > KEPT_BARS:
            closed = (id for id, bar in self.bars.items() if bar.state == "close")
            del self.bars[next(closed, next(iter(self.bars)))]

    def update(
        self, active: Active, events: list[wire.WorkerEvent], stage: Stage | None
    ) -> AttemptUpdate:
        """Everything, to be written; say :meth:`written` when it is."""
        return AttemptUpdate(
            job=active.job,
            epoch=active.epoch,
            events=events,
            stage=stage,
            progress=msgspec.json.encode(list(self.bars.values())) if self.changed else None,
            metrics=self.metrics,
        )

    def written(self, now: float) -> None:
        """It was, as it was at that time."""
        self.written_at, self.changed, self.metrics = now, False, None


def outcome_of(message: wire.Complete, machines: Sequence[MachineType] = ()) -> Outcome:
    """What the store is told; ``machines`` is what can be had.

    Raises InvalidRequest for malformed segments.
    """
    value = message.result.value if message.result else None
    segments = [s for s in value.segments if s.data is None] if value else []
    check_segments([*segments, *([message.log] if message.log else [])])
    encode = msgspec.json.encode
    return Outcome(
        kind=message.outcome,
        reason=message.reason,
        detail=message.detail,
        signal=message.signal,
        result=encode(message.result) if message.result else None,
        error=encode(message.error) if message.error else None,
        segments=segments,
        log=message.log,
        events=[e for e in message.events if e.seq],
        metrics=encode(message.metrics) if message.metrics else None,
        ran_s=message.ran_s,
        machines=machines,
    )

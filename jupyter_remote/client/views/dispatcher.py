"""Who gets which call: whichever worker is free, in chunks whose sizes are chosen as they run."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_remote import calls, errors, remotely
from jupyter_remote.client.views.engine import Engine
from jupyter_remote.client.views.exchange import Request
from jupyter_remote.client.views.functions import Shipped
from jupyter_remote.client.views.parts import Part
from jupyter_remote.client.views.results import AsyncMapResult
from jupyter_remote.wire import Parcel

if TYPE_CHECKING:
    from jupyter_remote.client.views.group import Group

AHEAD_S = 0.005  # of work that a worker has beside what it does, so that it never waits
DEEPEST = 64  # calls that one worker has at a time
CHUNK_S = 0.03  # how long a chunk of a map is to take
LONG_S = 0.05  # of work that takes longer none is handed out ahead
SMOOTHING = 0.3  # weight of the latest duration
FIRST_CHUNK = 1
CHUNKS = 32  # for each worker, of a map that is cut before anything is known of it

_Packed = tuple[bytes, Parcel | None]


class Pace:
    """How long a call, or an item of a map, takes; None: not known yet."""

    def __init__(self) -> None:
        self.mean_s: float | None = None

    def saw(self, seconds: float) -> None:
        before = self.mean_s
        self.mean_s = seconds if before is None else before + SMOOTHING * (seconds - before)


class Work(Protocol):
    """Something to be done by any worker."""

    pace: Pace

    def left(self) -> int:
        """Calls that are not handed out; of a map its items."""
        ...

    def take(self, engine: Engine, workers: int) -> Request | None:
        """The next call, which :meth:`message` gives the bytes of."""
        ...

    def message(self, request: Request, engine: Engine) -> bytes: ...

    def fail(self, error: Exception) -> None:
        """There is no worker left."""
        ...


class Single:
    """One call."""

    def __init__(
        self,
        part: Part,
        shipped: Shipped,
        plain: bytes,
        inputs: Parcel | None,
        pace: Pace,
        engines: frozenset[int] | None,
    ) -> None:
        self.part = part
        self.pace = pace
        self.engines = engines  # which may take it
        self._tried: frozenset[int] = frozenset()
        self._shipped = shipped
        self._plain = plain
        self._inputs = inputs
        self._left = 1

    def left(self) -> int:
        return self._left

    def take(self, engine: Engine, workers: int) -> Request | None:
        if self.engines is not None and engine.id not in self.engines:
            return None
        self._left = 0
        self.part.engine = engine
        return self.part.request

    def again(self) -> None:
        """It is to be handed out once more."""
        request = self.part.request
        request.reply, request.error, request.done = None, None, False
        request.outputs.clear()
        self._left = 1

    def withdraw(self) -> None:
        """It is not to be handed out."""
        self._left = 0

    def elsewhere(self, ids: Iterable[int]) -> bool:
        """Is there one of these workers that has not refused it yet?"""
        if self.part.engine is not None:
            self._tried |= {self.part.engine.id}
        allowed = frozenset(ids) if self.engines is None else self.engines.intersection(ids)
        left = allowed - self._tried
        if left:
            self.engines = left
        return bool(left)

    def message(self, request: Request, engine: Engine) -> bytes:
        return engine.message(request, self._shipped, self._plain, self._inputs)

    def fail(self, error: Exception) -> None:
        self._left = 0
        self.part.request.finish(None, error)


class MapWork:
    """The items of one map. Chunks are cut when a worker is free for them."""

    def __init__(
        self,
        group: Group,
        function: Callable[..., Any],
        items: Sequence[tuple[Any, ...]],
        result: AsyncMapResult,
        chunk: int | None,
        dispatcher: Dispatcher,
        engines: frozenset[int] | None = None,
    ) -> None:
        self.pace = Pace()
        self.engines = engines  # which may take it
        self._group = group
        self._shipped = group.space.functions.shipped(
            functools.partial(remotely.run_chunk, function)
        )
        self._name = getattr(function, "__name__", "map")
        self._items = items
        self._count = len(items)
        self._at = 0
        self._chunk = chunk
        self._result = result
        self._cut: deque[tuple[int, _Packed | Exception]] = deque()  # before a worker is free
        self._messages: dict[int, _Packed] = {}
        self._dispatcher = dispatcher

    def pack(self) -> None:
        """All of it now: whoever called is free to change the items."""
        size = self._chunk or max(1, self._count // (CHUNKS * len(self._group.engines)))
        self._cut.extend(self._packed(at, size) for at in range(0, self._count, size))
        self._items = ()

    def left(self) -> int:
        return self._count - self._at

    def take(self, engine: Engine, workers: int) -> Request | None:
        if self._cut:
            size, packed = self._cut.popleft()
        else:
            size, packed = self._packed(self._at, self._chunk or self._size(workers))
        self._at += size
        request = Request(self._done, tag=self)
        failed = isinstance(packed, Exception)
        self._result.add(Part(request, None if failed else engine, size, name=self._name))
        if not self.left():
            self._result.no_more()
        if isinstance(packed, Exception):
            request.finish(None, packed)
            return None
        self._messages[request.id] = packed
        return request

    def _packed(self, at: int, size: int) -> tuple[int, _Packed | Exception]:
        """How many items there are of as many, and their bytes, or why there are none."""
        chunk = list(self._items[at : at + size])
        try:
            return len(chunk), self._group.space.packed_arguments((chunk,), {})
        except Exception as error:
            return len(chunk), error

    def _size(self, workers: int) -> int:
        mean_s = self.pace.mean_s
        if mean_s is None:
            return FIRST_CHUNK
        fair = max(1, self.left() // (2 * workers))
        return max(1, min(fair, int(CHUNK_S / max(mean_s, 1e-7))))

    def message(self, request: Request, engine: Engine) -> bytes:
        plain, inputs = self._messages.pop(request.id)
        return engine.message(request, self._shipped, plain, inputs)

    def _done(self, request: Request) -> None:
        part = next(p for p in self._result.parts_from_end() if p.request is request)
        self._dispatcher.done(request, part.engine, self.pace, part.size)
        self._result.heard(request)

    def fail(self, error: Exception) -> None:
        self._end_rest(lambda request: request.finish(None, error))

    def withdraw(self) -> None:
        """What is left is not to be handed out."""
        self._end_rest(lambda request: request.finish(calls.Reply(request.id, dropped=True)))

    def _end_rest(self, end: Callable[[Request], None]) -> None:
        if not self.left():
            return
        rest, self._at = self.left(), self._count
        self._cut.clear()
        request = Request(self._result.heard)
        self._result.add(Part(request, None, rest, name=self._name))
        self._result.no_more()
        end(request)


class Dispatcher:
    """Hands out calls to the workers of a group. Nobody waits for one that starts: those that are
    there have the calls meanwhile.

    ``prepare`` is called with each worker before it gets its first call.
    """

    def __init__(self, group: Group, prepare: Callable[[Engine], None] | None = None) -> None:
        self._group = group
        self._prepare = prepare
        self._queue: deque[Single | MapWork] = deque()
        self._held: dict[int, int] = {}  # calls that each worker has
        self._connecting: set[int] = set()
        self._prepared: set[int] = set()
        self._troubles: dict[int, Exception] = {}  # of workers that could not be reached just now
        self._lock = threading.RLock()
        self._due = False

    def add(self, work: Single | MapWork) -> None:
        """Have it done."""
        with self._lock:
            self._troubles.clear()
            self._queue.append(work)
            if len(self._queue) == 1 or self._has_idle():
                self._hand_out()

    def done(self, request: Request, engine: Engine | None, pace: Pace, size: int) -> None:
        """One call is; called in the exchange's thread."""
        reply = request.reply
        if reply is not None and not reply.dropped:
            pace.saw((reply.ended_at - reply.began_at) / max(1, size))
        with self._lock:
            if engine is not None:
                engine.completed += 1
                self._held[engine.id] = max(0, self._held.get(engine.id, 0) - 1)
            if self._due or not self._queue:
                return
            self._due = True
        self._group.space.exchange.later(self._later)

    def held(self) -> dict[int, int]:
        """Calls that each worker has."""
        with self._lock:
            return dict(self._held)

    def unassigned(self) -> int:
        """Calls that no worker has yet."""
        with self._lock:
            return sum(work.left() for work in self._queue)

    def withdraw(self, work: Single | MapWork) -> bool:
        """It will not be handed out; False if it was."""
        with self._lock:
            waits = work.left() > 0
            work.withdraw()
        return waits

    def drop(self, requests: Iterable[Request]) -> set[int]:
        """Calls that were not handed out will not be; which ones."""
        wanted = {request.id for request in requests}
        with self._lock:
            gone = [w for w in self._queue if isinstance(w, Single) and w.part.request.id in wanted]
            for work in gone:
                self._queue.remove(work)
        for work in gone:
            work.part.request.finish(calls.Reply(work.part.request.id, dropped=True))
        return {work.part.request.id for work in gone}

    def _later(self) -> None:
        with self._lock:
            self._due = False
            self._hand_out()

    def _has_idle(self) -> bool:
        return any(not self._held.get(e.id) for e in self._group.engines if e.alive)

    def _hand_out(self) -> None:
        """With the lock held: as much as there is room for."""
        batches: dict[int, tuple[Engine, list[Request], list[bytes]]] = {}
        failed: list[tuple[Request, Exception]] = []
        while self._queue:
            work = self._queue[0]
            if not work.left():
                self._queue.popleft()
                continue
            alive = [e for e in self._group.engines if e.alive]
            fitting = [e for e in alive if work.engines is None or e.id in work.engines]
            reached = [e for e in fitting if e.id not in self._troubles]
            if not reached:
                self._queue.popleft()
                work.fail(self._troubles[fitting[0].id] if fitting else _nobody(self._group))
                continue
            ready = [e for e in reached if self._is_ready(e)]
            engine = min(ready, key=lambda e: self._held.get(e.id, 0), default=None)
            if engine is None or self._held.get(engine.id, 0) >= self._depth(work, len(reached)):
                break
            request = work.take(engine, len(reached))
            if request is None:
                continue
            self._held[engine.id] = self._held.get(engine.id, 0) + 1
            _, requests, messages = batches.setdefault(engine.id, (engine, [], []))
            try:
                connection = engine.connection
                with connection.sending:  # nobody's call overtakes the one that brings a function
                    news = connection.given.news
                    messages.append(work.message(request, engine))
                    requests.append(request)
                    if len(requests) >= DEEPEST or connection.given.news > news:
                        batches.pop(engine.id)
                        failed += _sent(engine, requests, messages)
            except errors.JupyterRemoteError as error:  # among them that it died just now
                failed.append((request, error))
        for engine, requests, messages in batches.values():
            failed += _sent(engine, requests, messages)
        for request, why in failed:
            request.finish(None, why)

    def _is_ready(self, engine: Engine) -> bool:
        """Can it take calls now? If not, it is being connected."""
        if engine.connected and (self._prepare is None or engine.id in self._prepared):
            return True
        if engine.id not in self._connecting:
            self._connecting.add(engine.id)
            name = "jupyter-remote-connect"
            threading.Thread(target=self._connect, args=(engine,), name=name, daemon=True).start()
        return False

    def _connect(self, engine: Engine) -> None:
        trouble: Exception | None = None
        try:
            _ = engine.connection
            if self._prepare is not None and engine.id not in self._prepared:
                self._prepare(engine)
        except Exception as error:  # whoever calls it hears of it
            trouble = error
        with self._lock:
            self._connecting.discard(engine.id)
            if trouble is None:
                self._prepared.add(engine.id)
            else:
                self._troubles[engine.id] = trouble
            self._hand_out()

    def _depth(self, work: Single | MapWork, workers: int) -> int:
        """How many calls a worker may have now."""
        mean_s = work.pace.mean_s
        if mean_s is None:
            return 1
        if isinstance(work, MapWork):
            return 2 if work.left() > workers and mean_s < LONG_S else 1
        if mean_s >= LONG_S or len(self._queue) <= workers:
            return 1
        return min(DEEPEST, 2 + int(AHEAD_S / max(mean_s, 1e-6)))


def _sent(
    engine: Engine, requests: list[Request], messages: list[bytes]
) -> list[tuple[Request, Exception]]:
    """Which could not be sent, and why."""
    try:
        if requests:
            engine.send(requests, messages)
    except errors.JupyterRemoteError as error:
        return [(request, error) for request in requests]
    return []


def _nobody(group: Group) -> errors.EngineError:
    return errors.EngineError(
        f"none of the {len(group.engines)} workers is left",
        hint="client.view() starts new ones; what was in their namespaces is lost",
    )

"""What to do next, decided purely: ``plan(now, board, limits) -> actions``. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import msgspec

from jupyter_remote.model import JobId, OwnerId, WorkerId
from jupyter_remote.scheduler import actions, pools
from jupyter_remote.scheduler.board import LOCAL, NO_SLOT, Agent, Board, Waiting
from jupyter_remote.scheduler.machines import Pool

LOOK_AHEAD = 50  # jobs that may overtake one that waits for a machine that is coming


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the scheduler. Durations in seconds."""

    shared: bool = False  # jobs of several owners on one machine (embedded: there is one owner)
    local: bool = False  # keep a worker on this computer
    check_every_s: float = 2.0  # leases and time limits, while something runs
    look_every_s: float = 1.0  # at a local worker that was launched and is not connected
    suspect_s: float = 15.0  # a worker that is silent for so long is shown as that
    tidy_every_s: float = 600.0  # retention, unused blobs
    refill_every_s: float = 60.0  # the store is read, whatever was heard
    fleet: pools.Limits = pools.Limits()
    providers: tuple[str, ...] = ()  # of machines elsewhere
    launch_backoff_s: tuple[float, ...] = (0.0, 0.5, 2.0, 10.0, 30.0)


class Assign(msgspec.Struct, frozen=True):
    """Claim this job for this worker and send it."""

    waiting: Waiting
    worker: WorkerId


class Orphan(msgspec.Struct, frozen=True):
    """The session that this cell was to run in is over."""

    waiting: Waiting


class Launch(msgspec.Struct, frozen=True):
    """Start a worker on this computer."""


class Look(msgspec.Struct, frozen=True):
    """Ask the provider what became of these instances."""

    instances: tuple[str, ...]


class ExpireLeases(msgspec.Struct, frozen=True):
    """Attempts without a heartbeat are lost; runs past their limit are over."""


class Wake(msgspec.Struct, frozen=True):
    """Jobs whose wait before the next attempt is over."""


class Refill(msgspec.Struct, frozen=True):
    """Read more of the queue from the store."""


class Tidy(msgspec.Struct, frozen=True):
    """Forget old jobs and blobs that nobody needs."""


class Suspect(msgspec.Struct, frozen=True):
    """Tell who watches the jobs of this worker that it is silent, or that it is back."""

    worker: WorkerId
    silent: bool


Action = (
    Assign | Orphan | Launch | Look | ExpireLeases | Wake | Refill | Tidy | Suspect | actions.Action
)


def plan(now: float, board: Board, limits: Limits) -> list[Action]:
    """All that is to be done now. The caller acts, notes what came of it, and asks again."""
    if board.closing:
        return []
    actions: list[Action] = []
    if _due(now, board, "leases", limits.check_every_s) and board.active:
        actions.append(ExpireLeases())
    if any(at <= now for at in board.retry_at.values()):
        actions.append(Wake())
    if now >= board.paused_until:
        stale = now >= board.done_at.get("refill", now) + limits.refill_every_s
        if stale or (board.partial and not board.queues):
            actions.append(Refill())
        actions += _assignments(board, limits)
    actions += _orphans(board)
    if limits.local:
        actions += _local_worker(now, board, limits)
    actions += pools.plan(now, board, limits.fleet, limits.providers)
    actions += _suspects(now, board, limits)
    if _due(now, board, "tidy", limits.tidy_every_s):
        actions.append(Tidy())
    return actions


def _due(now: float, board: Board, name: str, every_s: float) -> bool:
    return now >= board.done_at.get(name, float("-inf")) + every_s


def _assignments(board: Board, limits: Limits) -> Iterator[Assign]:
    """The owner with the fewest jobs running goes first; of an owner, single jobs before calls of
    batches, so that a cell does not wait for ten thousand calls; else first in, first out."""
    free = {a.id: a.free for a in board.agents.values() if a.free > 0}
    running = Counter(a.owner for a in board.active.values())
    owners = _owners(board)
    given: set[JobId] = set()
    while (choice := _choice(board, free, running, owners, given, limits)) is not None:
        waiting, worker = choice.waiting, choice.worker
        given.add(waiting.job)
        running[waiting.owner] += 1
        owners[worker].add(waiting.owner)
        if not waiting.aside:
            free[worker] -= board.agents[worker].slots_for(waiting)
            if not free[worker]:
                del free[worker]
        yield choice


def _choice(
    board: Board,
    free: dict[WorkerId, int],
    running: Counter[OwnerId],
    owners: dict[WorkerId, set[OwnerId]],
    given: set[JobId],
    limits: Limits,
) -> Assign | None:
    """Whoever needs more slots than are free is overtaken only while a machine is coming, which
    has room for it: otherwise small jobs would keep it waiting for ever."""
    held = set[Pool]()
    for key in sorted(board.queues, key=lambda k: (running[k[0]], k[2])):
        owner, type, _, what = key
        if not what and (owner, type) in held:
            continue
        coming = not what and board.is_coming((owner, type))
        turn = (w for w in board.queues[key].values() if w.job not in given)
        for waiting in islice(turn, LOOK_AHEAD if coming else 1):
            worker = _worker_for(waiting, board, free, owners, limits)
            if worker is not None:
                return Assign(waiting, worker)
            if not (what or coming):
                held.add((owner, type))
    return None


def at_once(now: float, board: Board, waiting: Waiting, limits: Limits) -> WorkerId | None:
    """Which worker can take a job that is just being submitted, so that nobody is overtaken."""
    overtaken = any(pool == waiting.pool for _, pool, _, _ in board.queues)
    if board.closing or overtaken or board.partial or now < board.paused_until:
        return None
    free = {a.id: a.free for a in board.agents.values() if a.free > 0}
    return _worker_for(waiting, board, free, _owners(board), limits)


def _owners(board: Board) -> dict[WorkerId, set[OwnerId]]:
    return {
        a.id: {board.active[j].owner for j in (*a.jobs, *a.asides)} for a in board.agents.values()
    }


def _worker_for(
    waiting: Waiting,
    board: Board,
    free: dict[WorkerId, int],
    owners: dict[WorkerId, set[OwnerId]],
    limits: Limits,
) -> WorkerId | None:
    """The fitting worker with the most free slots; for a cell of a session, the session's."""
    if waiting.session:
        session = board.active.get(waiting.session)
        if session is None or session.owner != waiting.owner or not session.started:
            return None
        agent = board.agents.get(session.worker)
        return None if agent is None or agent.leaving else agent.id
    fitting = [
        a.id
        for a in board.agents.values()
        if a.pool == waiting.pool
        and _has_room(a, waiting, free.get(a.id, 0))
        and _may_take(a, waiting, owners[a.id], limits)
    ]
    return max(fitting, key=lambda w: (_preference(board.agents[w], free), w), default=None)


def _has_room(agent: Agent, waiting: Waiting, free: int) -> bool:
    return not agent.draining if waiting.aside else free >= agent.slots_for(waiting)


def _may_take(agent: Agent, waiting: Waiting, owners: set[OwnerId], limits: Limits) -> bool:
    if agent.owner:
        return agent.owner == waiting.owner
    return limits.shared or owners <= {waiting.owner}


def _preference(agent: Agent, free: dict[WorkerId, int]) -> int:
    """Jobs are spread on workers; those of parts of machines elsewhere fill one after the other."""
    left = free.get(agent.id, 0)
    return -left if agent.owner else left


def _orphans(board: Board) -> Iterator[Orphan]:
    """Cells whose session ended before it was their turn."""
    for (_, _, _, session), queue in board.queues.items():
        if session in ("", NO_SLOT) or board.partial:
            continue
        if JobId(session) not in board.active and not board.waits_for_slot(JobId(session)):
            yield from (Orphan(waiting) for waiting in queue.values())


def _local_worker(now: float, board: Board, limits: Limits) -> Iterator[Action]:
    """Keep one worker: launch when there is none, look after one that does not connect."""
    if any(a.pool == LOCAL for a in board.agents.values()):
        return
    if not board.instances:
        if now >= board.launch_at:
            yield Launch()
        return
    overdue = [i.id for i in board.instances.values() if now >= i.looked_at + limits.look_every_s]
    if overdue:
        yield Look(tuple(overdue))


def _busy(board: Board) -> set[WorkerId]:
    return {a.worker for a in board.active.values() if a.epoch}


def _suspects(now: float, board: Board, limits: Limits) -> Iterator[Suspect]:
    for worker in sorted(_busy(board)):
        silent = now >= board.heard_at.get(worker, now) + limits.suspect_s
        if silent is not (worker in board.suspects):
            yield Suspect(worker, silent)


def next_at(now: float, board: Board, limits: Limits) -> float:
    """When to plan again if nothing happens before."""
    times = [
        board.done_at.get("tidy", now) + limits.tidy_every_s,
        board.done_at.get("refill", now) + limits.refill_every_s,
    ]
    if board.active:
        times.append(board.done_at.get("leases", now) + limits.check_every_s)
        trusted = _busy(board) - board.suspects
        times += [board.heard_at[w] + limits.suspect_s for w in trusted & board.heard_at.keys()]
    times += board.retry_at.values()
    if board.queues and board.paused_until > now:
        times.append(board.paused_until)
    if limits.local and not any(a.pool == LOCAL for a in board.agents.values()):
        times += [i.looked_at + limits.look_every_s for i in board.instances.values()]
        if not board.instances:
            times.append(board.launch_at)
    times += pools.next_at(now, board, limits.fleet, limits.providers)
    return max(now, min(times))


def backoff_s(failures: int, limits: Limits) -> float:
    """How long to wait before the next launch after so many failures in a row."""
    steps = limits.launch_backoff_s
    return steps[min(failures, len(steps) - 1)]

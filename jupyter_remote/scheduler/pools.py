"""Machines elsewhere, decided purely: when one is rented, given up, drained, ended. No I/O.

A pool is an owner and a machine type. A machine is rented for each job of a pool that neither fits
a slot that is free nor one that is coming, one by one in the order of the queue, up to ``most``.
Calls of a batch get the first one at once, and a further one when the machines that are there or
coming would be busy with those that wait for longer than a boot takes: ten calls of a second each
run on one machine. While a pool has trouble to find machines it asks for one at a time.

A machine that nobody needs is kept for ``idle_s``, then it is ended: told so again and again until
its provider describes it as terminated. What is absent from a description may only not be seen yet;
it is told again when it is to be seen. It is taken for gone after ``absent_s`` and ``ABSENT_LOOKS``
looks, and if it is listed later, it is ended then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from jupyter_remote.amounts import roughly
from jupyter_remote.model import InstanceState, JobId
from jupyter_remote.scheduler.actions import (
    Action,
    Ask,
    Crowd,
    Describe,
    Drain,
    End,
    Forget,
    Leave,
    Refuse,
    Rent,
    Rest,
    Settle,
    Strand,
    Survey,
    Tell,
)
from jupyter_remote.scheduler.board import Board, Waiting
from jupyter_remote.scheduler.machines import ENDING, Machine, Pool, Search

ABSENT_LOOKS = 5
BOOTS = 2  # that may fail, one after the other, before the jobs of a pool are told so
DRAIN_AFTER = 0.9  # of its longest life
LEAVE, LEAVE_S = 0.1, 180.0  # of its longest life, at most: for what it has to go on elsewhere
TOLD_AT_ONCE = 50  # jobs
FURTHER_S = 300.0  # until one more is asked for where some work and no other was to be had
SOON_S = 30.0  # after a start, until it is told that a type is had nowhere
AGAIN_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # until a call of the provider is made again


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the machines elsewhere. Durations in seconds."""

    most: int = 10  # at a time
    by_hand: bool = False  # workers of any type may come without having been rented
    idle_s: float = 300.0
    longest_s: float = 86_400.0
    boot_s: float = 600.0  # until one is found, and until one that is there says hello
    away_s: float = 60.0  # a worker that is not connected for so long, and has nothing, is ended
    absent_s: float = 600.0
    look_every_s: float = 5.0  # at machines that are coming, and at those that are away
    survey_every_s: float = 60.0  # all machines of a provider, known or not


def plan(now: float, board: Board, limits: Limits, providers: tuple[str, ...]) -> list[Action]:
    """All that is to be done now about machines elsewhere."""
    stranded = [] if limits.by_hand else board.stranded
    actions: list[Action] = list(_stranded(now, board, limits, stranded))
    if not providers:
        return actions
    holders = {board.homes.get(a.worker) for a in board.active.values()} if board.machines else ()
    for machine in board.machines.values():
        if not machine.busy and machine.provider in providers:
            actions += _of_machine(now, board, machine, limits, holds=machine.id in holders)
    actions += _described(now, board, providers)
    for name in providers:
        if now >= _surveyed_at(board, name) + limits.survey_every_s:
            actions.append(Survey(name))
    actions += _rented(now, board, limits)
    return actions


def next_at(now: float, board: Board, limits: Limits, providers: tuple[str, ...]) -> list[float]:
    """When something is due if nothing happens before."""
    times = [_surveyed_at(board, name) + limits.survey_every_s for name in providers]
    for machine in board.machines.values():
        if machine.busy:
            continue
        times.append(machine.look_at)
        if machine.state in ENDING or machine.state is InstanceState.INTENT:
            times.append(machine.act_at)
        if machine.idle_since is not None:
            times.append(machine.idle_since + limits.idle_s)
        times += _ages(machine, limits)
    times += [s.not_before for s in board.searches.values()]
    begun = [s.since for s in board.searches.values() if s.since is not None]
    times += [since + wait_s for since in begun for wait_s in (SOON_S, limits.boot_s)]
    return [at for at in times if at > now]


def _ages(machine: Machine, limits: Limits) -> tuple[float, ...]:
    """When it will have been booting, been away, lived for too long."""
    return (
        machine.created_at + limits.boot_s,
        machine.away_since + limits.away_s,
        machine.created_at + DRAIN_AFTER * limits.longest_s,
        machine.created_at + limits.longest_s - _leave_s(limits),
        machine.created_at + limits.longest_s,
    )


def _surveyed_at(board: Board, provider: str) -> float:
    return board.done_at.get(survey_of(provider), float("-inf"))


def survey_of(provider: str) -> str:
    """The name of this action in ``Board.done_at``."""
    return f"survey {provider}"


# --- one machine -----------------------------------------------------------------------------
def _of_machine(
    now: float, board: Board, machine: Machine, limits: Limits, *, holds: bool
) -> Iterator[Action]:
    """``holds``: it has jobs, or had them when it was last heard of."""
    if machine.state in ENDING or machine.ends:
        unseen = machine.state in ENDING and machine.absent_since is not None
        if now >= machine.act_at and not unseen:
            yield End(machine.id, machine.ends)
    elif machine.coming:
        yield from _of_coming(now, board, machine, limits)
    else:
        yield from _of_present(now, board, machine, limits, holds)


def _of_coming(now: float, board: Board, machine: Machine, limits: Limits) -> Iterator[Action]:
    wanted = board.is_waited_for(machine.pool)
    asking = machine.state is InstanceState.INTENT
    if now >= machine.created_at + limits.boot_s:
        yield End(machine.id, late(machine, limits))
    elif machine.leaves or (asking and not wanted):
        yield End(machine.id, machine.leaves or "nobody waits for it any more")
    elif asking:
        if now >= machine.act_at:
            yield Ask(machine.id)
    else:
        yield from _rests(now, machine, limits, idle=not wanted)


def late(machine: Machine, limits: Limits) -> str:
    """Why a machine that is coming is not waited for any longer."""
    within = roughly(limits.boot_s)
    if machine.state is InstanceState.INTENT:
        return f"its provider did not answer within {within}"
    far = f": its bootstrap came as far as {machine.step!r}" if machine.step else ""
    return f"it did not connect within {within}{far}"


def _leave_s(limits: Limits) -> float:
    return min(LEAVE_S, LEAVE * limits.longest_s)


def _of_present(
    now: float, board: Board, machine: Machine, limits: Limits, holds: bool
) -> Iterator[Action]:
    age_s = now - machine.created_at
    agent = board.agent_on(machine.id)
    if age_s >= limits.longest_s:
        yield End(machine.id, f"it was there for {roughly(limits.longest_s)}")
    elif agent is None:
        if machine.leaves and not holds:
            yield End(machine.id, machine.leaves)
        elif now >= machine.away_since + limits.away_s and not holds:
            yield End(machine.id, f"nothing was heard of it for {roughly(limits.away_s)}")
    elif holds and not machine.left and age_s >= limits.longest_s - _leave_s(limits):
        left_s = limits.longest_s - age_s
        yield Leave(machine.id, f"it is there for {roughly(age_s)}", left_s)
    elif machine.state is InstanceState.DRAINING:
        if not holds:
            yield End(machine.id, machine.leaves or "it was drained")
    elif machine.leaves:
        yield Drain(machine.id, machine.leaves)
    elif age_s >= DRAIN_AFTER * limits.longest_s:
        yield Drain(machine.id, f"it is there for {roughly(age_s)}")
    else:
        yield from _rests(now, machine, limits, idle=not (agent.jobs or agent.asides))


def _rests(now: float, machine: Machine, limits: Limits, *, idle: bool) -> Iterator[Action]:
    if idle is (machine.idle_since is None):
        yield Rest(machine.id, idle)
    elif machine.idle_since is not None and now >= machine.idle_since + limits.idle_s:
        yield End(machine.id, f"it had nothing to do for {roughly(limits.idle_s)}")


def _described(now: float, board: Board, providers: tuple[str, ...]) -> Iterator[Describe]:
    """Those that are not heard of otherwise."""
    for name in providers:
        due = [
            m.id
            for m in board.machines.values()
            if m.provider == name and not m.busy and now >= m.look_at
            if m.state in ENDING or not (m.connected or m.state is InstanceState.INTENT)
        ]
        if due:
            yield Describe(name, tuple(due))


# --- how many --------------------------------------------------------------------------------
def _rented(now: float, board: Board, limits: Limits) -> Iterator[Action]:
    room = limits.most - sum(m.state not in ENDING for m in board.machines.values())
    for pool in board.pools:
        yield from _told(board, pool)
        search = board.searches.get(pool) or Search()
        serves = any(_serves(now, m, limits) for m in board.machines.values() if m.pool == pool)
        if search.refusing or (now < search.not_before and (serves or not search.settled)):
            continue
        coming = board.is_coming(pool)
        if _is_hopeless(now, search, limits):
            if not coming:
                yield Settle(*pool) if serves else Refuse(*pool)
            continue
        wanted = lacking(now, board, pool, limits)
        if search.problem:  # one at a time, until it is known that there are some
            wanted = islice(wanted, 0 if coming else 1)
        for job in wanted:
            if room <= 0:
                yield from _making_room(board, pool)
                yield from _crowded(board, pool)
                break
            room -= 1
            yield Rent(*pool, job)
    for owner, type in board.searches.keys() - {*board.pools, *board.stranded}:
        if not board.is_coming((owner, type)):
            yield Forget(owner, type)


def _is_hopeless(now: float, search: Search, limits: Limits) -> bool:
    too_long = search.since is not None and now >= search.since + limits.boot_s
    return search.final or search.boots >= BOOTS or (too_long and bool(search.problem))


def _serves(now: float, machine: Machine, limits: Limits) -> bool:
    """Will it take jobs that wait, when it has room?"""
    there = machine.state is InstanceState.READY and not (machine.ends or machine.leaves)
    return there and (machine.connected or _is_due(now, machine, limits))


def _stranded(
    now: float, board: Board, limits: Limits, stranded: list[Pool]
) -> Iterator[Strand | Refuse]:
    """Told soon, refused when that has not changed for as long as a machine is waited for."""
    for pool in stranded:
        search = board.searches.get(pool)
        if search is None or search.since is None:
            yield Strand(*pool)
        elif search.refusing:
            continue
        elif now >= search.since + limits.boot_s:
            yield Refuse(*pool)
        elif now >= search.since + SOON_S and not search.problem:
            yield Strand(*pool)


def _crowded(board: Board, pool: Pool) -> Iterator[Crowd]:
    waits = (w.job for w in board.waiting_in(pool) if not w.batch)
    untold = list(islice((job for job in waits if job not in board.crowded), TOLD_AT_ONCE))
    if untold:
        yield Crowd(pool[0], tuple(untold))


def _told(board: Board, pool: Pool) -> Iterator[Tell]:
    """Jobs that came when a machine was coming already."""
    machines = (m for m in board.machines.values() if m.pool == pool and m.coming)
    if machine := next(machines, None):
        single = (w.job for w in board.waiting_in(pool) if not w.batch)
        untold = list(islice((job for job in single if job not in board.told), TOLD_AT_ONCE))
        if untold:
            yield Tell(machine.id, tuple(untold))


def _making_room(board: Board, pool: Pool) -> Iterator[End]:
    """Another pool's machine that rests, the longest of them, makes room for one that is needed."""
    resting = [
        m
        for m in board.machines.values()
        if m.idle_since is not None and m.pool != pool and not m.ends and not m.busy
        if m.state not in ENDING
    ]
    if resting:
        longest = min(resting, key=lambda m: (m.idle_since, m.id))
        yield End(longest.id, "another machine is needed in its place")


def lacking(now: float, board: Board, pool: Pool, limits: Limits) -> Iterator[JobId]:
    """The jobs that each need a further machine: those before them fill what is free or coming."""
    owner, type = pool
    slots = slots_of(board, type)
    agents = [a for a in board.agents.values() if a.owner == owner and a.pool == type]
    free = [a.free for a in agents if not a.draining]
    free += [slots for m in board.machines.values() if m.pool == pool and _is_due(now, m, limits)]
    call_s, boot_s = board.call_s(now, pool), board.boot_s(type)
    left = board.calls_waiting(pool)
    for waiting in board.waiting_in(pool):
        need = _need(waiting, slots)
        fits = next((n for n, room in enumerate(free) if room >= need), None)
        if fits is None and waiting.batch and free:
            busy_s = left * call_s * need / (slots * len(free))
            if busy_s < boot_s:
                return
        left -= waiting.batch
        if fits is None:
            yield waiting.job
            free.append(slots - need)
        else:
            free[fits] -= need


def _is_due(now: float, machine: Machine, limits: Limits) -> bool:
    """Will it, most likely, take jobs soon? After a restart workers need a moment to dial again."""
    away = machine.state is InstanceState.READY and not machine.connected
    return machine.coming or (away and now < machine.away_since + limits.away_s / 2)


def slots_of(board: Board, type: str) -> int:
    """Of a machine of this type: one for each GPU."""
    return max(1, board.types[type].gpu_count) if type in board.types else 1


def _need(waiting: Waiting, slots: int) -> int:
    return min(waiting.gpus or slots, slots)

"""Asks for machines: in one place after the other, and the same launch until it is answered."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from jupyter_remote import errors
from jupyter_remote.amounts import roughly
from jupyter_remote.clock import Clock
from jupyter_remote.model import InstanceRecord, InstanceState, JobId, MachineType, Stage
from jupyter_remote.money.meter import rate_text, ucredits_of_usd
from jupyter_remote.providers.base import Launch, Provider, Seen
from jupyter_remote.scheduler import actions, pools
from jupyter_remote.scheduler.board import Board
from jupyter_remote.scheduler.machines import ENDING, Machine
from jupyter_remote.scheduler.telling import Commit, Place, Telling, words, words_of
from jupyter_remote.store.base import Store

log = logging.getLogger("jupyter_remote.fleet")

ROUND_S = 30.0  # before all places are asked once more
ZONES, ON_DEMAND = "zones", "on_demand"  # words of the setting `spot_fallback`

MakeLaunch = Callable[[InstanceRecord, int], Awaitable[Launch]]
"""What is handed to the provider for an intent, with so many slots."""


class Renting:
    """From the decision that a machine is needed to its being launched, or refused."""

    def __init__(
        self,
        *,
        board: Board,
        store: Store,
        commit: Commit,
        clock: Clock,
        providers: Mapping[str, Provider],
        fallback: frozenset[str],
        launch: MakeLaunch,
        telling: Telling,
        gone: Callable[[Machine, str], Awaitable[None]],
    ) -> None:
        self._board = board
        self._store = store
        self._commit = commit
        self._clock = clock
        self._providers = providers
        self._fallback = fallback
        self._make_launch = launch
        self._telling = telling
        self._gone = gone
        self._launches: dict[str, Launch] = {}  # to ask for just the same again
        self._places: dict[str, list[Place]] = {}  # by machine type

    def offer(self, types: Iterable[MachineType]) -> None:
        """These can be launched now, by the providers that are named in them."""
        self._board.types = {t.id: t for t in types if t.provider in self._providers}
        self._places.clear()

    def intended(self, rent: actions.Rent) -> Machine:
        """On the board from now on."""
        now, offer = self._clock.now(), self._board.types[rent.type]
        search = self._board.search((rent.owner, rent.type))
        search.since = now if search.since is None else search.since
        machine = Machine(
            id=f"{offer.provider}-{uuid.uuid4().hex[:16]}",
            provider=offer.provider,
            owner=rent.owner,
            type=rent.type,
            slots=pools.slots_of(self._board, rent.type),
            created_at=now,
            job=rent.job,
            told=[rent.job],
            place=search.place,
            busy=True,
        )
        self._board.machines[machine.id] = machine
        self._board.told.add(rent.job)
        return machine

    async def rent(self, machine: Machine) -> None:
        """Choose the place, write the intent, ask."""
        try:
            place = await self._place(machine.type, machine.place)
            machine.zone, machine.spot = place.zone, place.spot
            machine.rate_ucredits_per_h = self._rate(machine.type, place)
            await self._commit(self._store.put_instance, _row_of(machine))
        except Exception as error:
            self._board.forget_machine(machine)  # nobody was asked for it
            self._trouble(machine, error)
            return
        if not self._board.search(machine.pool).problem:
            text = f"machine requested: {words(machine)}"
            await self._telling.progress(machine, text, Stage.REQUESTING_MACHINE)
        await self.ask(machine)

    async def ask(self, machine: Machine) -> None:
        """Once more, where the answer did not come; that is one machine."""
        unsure = machine.unsure
        try:
            if machine.id not in self._launches:
                made = await self._make_launch(_row_of(machine), machine.slots)
                self._launches[machine.id] = made
            machine.unsure = True
            seen = await self._providers[machine.provider].launch(self._launches[machine.id])
        except errors.LaunchRefused as refused:
            machine.unsure = unsure  # an earlier call may have launched one all the same
            await self._refused(machine, refused)
        except Exception as error:
            log.warning("it is not known whether %s was launched: %r", machine.id, error)
            later(machine, self._clock.now())
        else:
            await self._launched(machine, seen)

    async def _launched(self, machine: Machine, seen: Seen) -> None:
        self._launches.pop(machine.id, None)
        machine.tries, machine.look_at = 0, self._clock.now()
        machine.zone = seen.zone or machine.zone
        if machine.state is InstanceState.INTENT:  # else its worker was quicker
            machine.state = InstanceState.REQUESTED
            search = self._board.search(machine.pool)
            search.since, search.problem = None, ""
        now = self._clock.now()
        await self._commit(
            self._store.move_instance,
            machine.id,
            machine.state,
            now,
            seen.provider_id,
            zone=machine.zone,
        )
        if machine.coming:
            text = f"machine starting: {seen.provider_id}" + f" in {seen.zone}" * bool(seen.zone)
            await self._telling.progress(machine, text, Stage.CONNECTING)

    async def _refused(self, machine: Machine, refused: errors.LaunchRefused) -> None:
        if refused.kind == "throttled":
            self._trouble(machine, refused, elsewhere=False)
            later(machine, self._clock.now())
            return
        self._launches.pop(machine.id, None)
        self._trouble(machine, refused)
        if machine.unsure:
            machine.ends = refused.message
        else:
            await self._gone(machine, refused.message)
        if refused.passes:
            await self._tell_next(machine)

    def _trouble(self, machine: Machine, error: Exception, *, elsewhere: bool = True) -> None:
        """What is to be said if none is found, and where one is asked for next."""
        search = self._board.search(machine.pool)
        search.problem, search.hint = f"{error!r}", ""
        if isinstance(error, errors.JupyterRemoteError):
            search.problem, search.hint = error.message, error.hint
        search.final = isinstance(error, errors.LaunchRefused) and not error.passes
        if elsewhere and machine.place == search.place:
            search.place += 1
            if search.place % len(self._places.get(machine.type) or [""]) == 0:
                search.not_before = self._clock.now() + ROUND_S

    async def _tell_next(self, machine: Machine) -> None:
        search = self._board.search(machine.pool)
        place = await self._place(machine.type, search.place)
        if search.not_before > self._clock.now():
            then = f"all places were asked, again in {roughly(ROUND_S)}"
        elif place.spot is machine.spot:
            then = f"trying {place.zone}"
        else:
            real = rate_text(self._rate(machine.type, place))
            then = f"trying a {words_of(machine.type, place)} ({real}; the job keeps its price)"
        await self._telling.tell(machine, f"no {words(machine)}, {then}", Stage.REQUESTING_MACHINE)

    async def _place(self, type: str, number: int) -> Place:
        """Where one of this type is asked for, at this turn. Raises LaunchRefused, OSError."""
        if type not in self._places:
            offer = self._board.types[type]
            zones = await asyncio.to_thread(self._providers[offer.provider].zones, type)
            self._places[type] = places_of(offer, zones, self._fallback)
        places = self._places[type]
        return places[number % len(places)]

    def _rate(self, type: str, place: Place) -> int:
        types = self._board.types
        offer = types[type]
        if offer.spot and not place.spot:
            offer = types.get(f"{type}.od", offer)
        return ucredits_of_usd(offer.usd_per_h)

    def forget(self, machine: Machine) -> None:
        """It is not asked for any more."""
        self._launches.pop(machine.id, None)


def later(machine: Machine, now: float) -> None:
    """The call is made again after a while, that grows."""
    steps = pools.AGAIN_S
    machine.act_at = now + steps[min(machine.tries, len(steps) - 1)]
    machine.tries += 1


def places_of(offer: MachineType, zones: Sequence[str], fallback: frozenset[str]) -> list[Place]:
    """Spot in each zone, then on demand in each, as far as that is allowed."""
    all_zones = list(zones) or [""]
    on_demand = [Place(zone, False) for zone in all_zones]
    if not offer.spot:
        return on_demand
    spot = [Place(zone, True) for zone in (all_zones if ZONES in fallback else [""])]
    return spot + (on_demand if ON_DEMAND in fallback else [])


def machine_of(board: Board, row: InstanceRecord) -> Machine:
    """As it was written."""
    return Machine(
        id=row.id,
        provider=row.provider,
        owner=row.owner,
        type=row.machine,
        slots=pools.slots_of(board, row.machine),
        created_at=row.created_at,
        job=JobId(row.job),
        told=[JobId(row.job)],
        zone=row.zone,
        spot=row.spot,
        rate_ucredits_per_h=row.rate_ucredits_per_h,
        state=row.state,
        ready_at=row.ready_at,
        step=row.step,
        ends=row.detail if row.state in ENDING else "",
    )


def _row_of(machine: Machine) -> InstanceRecord:
    return InstanceRecord(
        id=machine.id,
        provider=machine.provider,
        machine=machine.type,
        state=machine.state,
        created_at=machine.created_at,
        changed_at=machine.created_at,
        owner=machine.owner,
        job=machine.job,
        zone=machine.zone,
        spot=machine.spot,
        rate_ucredits_per_h=machine.rate_ucredits_per_h,
    )

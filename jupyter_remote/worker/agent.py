"""The agent: dials its server, takes jobs, has kernels run them. It runs no user code itself and
opens no pickle. ``python -m jupyter_remote worker --config FILE``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jupyter_remote import __version__, connection
from jupyter_remote.clock import Clock, SystemClock
from jupyter_remote.errors import ProtocolMismatch
from jupyter_remote.wire import (
    Answer,
    Assign,
    Cancel,
    ChannelMessage,
    Comm,
    Drain,
    Hello,
    Input,
    Notice,
    Open,
    Ping,
    Release,
    ServerMessage,
    Welcome,
)
from jupyter_remote.worker.alive import Beat
from jupyter_remote.worker.attempt import Attempt
from jupyter_remote.worker.config import Config, read_config
from jupyter_remote.worker.environments import Environments, of_user
from jupyter_remote.worker.folding import Bounds
from jupyter_remote.worker.installed import environment
from jupyter_remote.worker.link import Address, Link
from jupyter_remote.worker.means import Means
from jupyter_remote.worker.metrics import Gpus, oom_kills, processes
from jupyter_remote.worker.notices import Notices
from jupyter_remote.worker.relay import Relay
from jupyter_remote.worker.session_attempt import CellAttempt, SessionAttempt
from jupyter_remote.worker.slots import Kernels, Launcher
from jupyter_remote.worker.transfer import Transfer
from jupyter_remote.worker.users import User, user_called

TICK_S = 0.25
STOP_S = 3.0  # for handing jobs back when told to end
SHUTDOWN_S = 30.0  # the same on a machine that ends with it
MARGIN, MARGIN_S = 0.25, 15.0  # of a notice's time, at most: for handing jobs back
ALONE_LOCAL_S = 60.0  # without a server on its own machine, with no job running: the agent ends
SILENT_BEATS = 3  # a server that does not answer for this many heartbeats is dialled anew

log = logging.getLogger(__name__)


class Agent:
    """One process on a machine. Ends when drained, stopped, too old, or without a server for too
    long; whoever started it on a machine of its own ends that, too."""

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        launcher: Callable[[str], Launcher] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._worker = _new_name()
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._draining = False
        self._leaving = False  # what runs is handed back: not even cells of sessions are taken
        self._ended = asyncio.Event()
        self._leaves_at: float | None = None  # the machine is taken away
        longest_pause_s = 1.0 if config.connection_file else 5.0
        self._link = Link(self, config.token, self._clock, longest_pause_s)
        self._means = self._gather(launcher)
        self._pinged_at = 0.0
        self._began, self._old = self._clock.monotonic(), False
        self._beat = Beat(Path(config.alive_file)) if config.own_machine else None

    def _gather(self, launcher: Callable[[str], Launcher] | None) -> Means:
        config, home = self._config, Path(self._config.home)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        work = Path(tempfile.mkdtemp(prefix="work-", dir=home))
        user = user_called(config.user)
        if user is not None:  # who reaches what is theirs in there, and reads nothing else
            home.chmod(0o711)
            work.chmod(0o711)
        launcher = launcher or partial(_kernel_launcher, user)
        default = kernels = config.executable or sys.executable
        if user is not None and not config.executable:  # where `%pip install` may write
            kernels = of_user(work / "python", user)
        transfer = Transfer(home, config.token, user)
        environments = Path(config.environments or home / "environments")
        return Means(
            link=self._link,
            kernels=Kernels(launcher, kernels),
            transfer=transfer,
            environments=Environments(environments, transfer, default, user),
            here=bool(config.connection_file),
            clock=self._clock,
            relay=Relay(self._link, user),
            user=user,
            gpus=Gpus(),
            bounds=Bounds(
                total_bytes=config.live_output_bytes, bytes_per_s=config.live_output_bytes_per_s
            ),
            work=work,
            log_bytes=config.log_bytes,
            grace_s=config.interrupt_grace_s,
            checkpoint_s=config.checkpoint_s,
        )

    async def run(self) -> None:
        """Work until the end. Raises ProtocolMismatch."""
        self._means.kernels.shelf("", self._clock.monotonic()).ensure()
        tasks = [
            asyncio.create_task(work)
            for work in (self._link.run(), self._watch(), self._ended.wait())
        ]
        notices = None
        if self._config.spot:
            looks = Notices(self._clock, self.taken_away, self._config.notice_every_s)
            notices = asyncio.create_task(looks.run())
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await self._close()
            for task in (every := [*tasks, *([notices] if notices else [])]):
                task.cancel()
            await asyncio.gather(*every, return_exceptions=True)

    def stop(self) -> None:
        """End soon: hand back what runs. Called on SIGTERM and SIGINT."""
        own = self._config.spot or self._config.own_machine  # its system shuts down meanwhile
        if own and self._leaves_at is None:
            self.taken_away(SHUTDOWN_S)
            asyncio.get_running_loop().call_later(SHUTDOWN_S, self._ended.set)
            return
        self._leaving = True
        if self._draining and not self._attempts:
            self._ended.set()
        self._drain("told to stop")
        for attempt in list(self._attempts.values()):
            attempt.hand_back()
        asyncio.get_running_loop().call_later(STOP_S, self._ended.set)

    def taken_away(self, left_s: float) -> None:
        """The machine is, in so many seconds: what runs here is to go on elsewhere."""
        if self._leaves_at is not None:
            return
        self._leaves_at, self._leaving = self._clock.now() + left_s, True
        self._tell_of_notice()
        margin_s = min(MARGIN_S, MARGIN * left_s)
        until = self._clock.monotonic() + left_s - margin_s
        for attempt in list(self._attempts.values()):
            attempt.taken_away(until, margin_s / 3)
        self._drain(f"this machine is taken away in {left_s:.0f} s")

    def _tell_of_notice(self) -> None:
        if (ends_at := self._leaves_at) is not None:
            self._link.ask(lambda req: Notice(req=req, ends_at=ends_at, why="spot"))

    async def _close(self) -> None:
        for attempt in list(self._attempts.values()):
            attempt.abandon()
        tasks = [attempt.task for attempt in self._attempts.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.close()
        await self._means.kernels.close()
        self._means.transfer.close()
        shutil.rmtree(self._means.work, ignore_errors=True)

    # -- Peer of the link
    def address(self) -> Address:
        """From the connection file, if there is one: a restarted backend has another port."""
        if not self._config.connection_file:
            return Address(self._config.url)
        found = connection.read(Path(self._config.connection_file))
        if found is None:
            raise FileNotFoundError("there is no backend just now")
        return Address(found.url, found.key)

    def hello(self) -> Hello:
        away_s = self._clock.monotonic() - self._link.down_since
        if not self._attempts and away_s > self._means.dead_man_s:
            self._worker = _new_name()  # whoever lost its leases comes back as a new worker
        return Hello(
            worker=self._worker,
            instance=self._config.instance,
            machine=self._config.machine,
            slots=self._config.slots,
            version=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            running=list(self._attempts),
            environment=environment(),
        )

    def welcomed(self, welcome: Welcome) -> None:
        log.info("connected")
        self._say_alive()
        means = self._means
        means.heartbeat_s, means.dead_man_s = welcome.heartbeat_s, welcome.dead_man_s
        means.gpu_idle_s = welcome.gpu_idle_s
        means.transfer.connected(
            self._link.address, welcome.blobs, welcome.spool, welcome.links_bytes
        )
        keep = set(welcome.keep)
        for key, attempt in list(self._attempts.items()):
            if key in keep:
                attempt.resume()
            else:
                attempt.abandon()
        self._tell_of_notice()

    def heard(self, message: ServerMessage) -> None:
        if isinstance(message, Assign):
            self._take(message)
        elif isinstance(message, Cancel):
            attempt = self._attempts.get((message.job, message.epoch))
            if attempt is not None:
                attempt.cancel(message.how, message.kill_in_s)
        elif isinstance(message, Input | Comm):
            attempt = self._attempts.get((message.job, message.epoch))
            if attempt is not None:
                self._pass_on(attempt, message)
        elif isinstance(message, Drain):
            self._drain(message.reason)
            if message.left_s:
                self.taken_away(message.left_s)
        elif isinstance(message, Open):
            self._means.relay.open(message, self._means.sessions.get(message.job))
        elif isinstance(message, ChannelMessage):
            self._means.relay.channels.hear(message)

    def _pass_on(self, attempt: Attempt, message: Input | Comm) -> None:
        """What somebody at the notebook said."""
        if isinstance(message, Input):
            task = asyncio.create_task(attempt.answer(message.text, message.refused))
        else:
            task = asyncio.create_task(attempt.comm(message.message))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def lost(self) -> None:
        log.info("connection lost")
        self._means.relay.channels.lose()

    # -- work
    def _take(self, assign: Assign) -> None:
        key = (assign.job, assign.epoch)
        if key in self._attempts:
            return  # said twice
        busy = sum(attempt.takes_slot for attempt in self._attempts.values())
        full = busy >= self._config.slots and not assign.aside
        closed = self._leaving or (self._draining and not self._is_inside(assign))
        if closed or full:
            why = "draining" if closed else "no free slot"
            self._link.ask(lambda req: Release(req=req, job=key[0], epoch=key[1], reason=why))
            return
        attempt = self._attempts[key] = _kind_of(assign)(assign, self._means)
        attempt.task.add_done_callback(lambda task: self._over(key, task))

    def _is_inside(self, assign: Assign) -> bool:
        """Is it a cell of a session that is here? That is no further work, but part of its."""
        return assign.spec.kind != "session" and assign.spec.session in self._means.sessions

    def _over(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        self._attempts.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("attempt %s", key, exc_info=error)
        self._end_if_drained()

    def _drain(self, reason: str) -> None:
        log.info("no more work: %s", reason)
        self._draining = True
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        if self._draining and not self._attempts:
            self._ended.set()

    # -- time
    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock.monotonic()
            self._means.oom_kills = oom_kills()
            table = processes() if self._attempts else []
            for attempt in list(self._attempts.values()):
                attempt.tick(now, table)
            self._means.kernels.tidy(now)
            self._means.environments.touch(now)
            self._keep_in_touch(now)

    def _keep_in_touch(self, now: float) -> None:
        heartbeat_s = self._means.heartbeat_s
        self._end_if_old(now)
        self._say_alive()
        if not self._link.up:
            self._end_if_alone(now - self._link.down_since)
        elif now - self._link.heard_at > SILENT_BEATS * heartbeat_s:
            log.info("the server is silent")
            self._link.redial()
        elif now - self._pinged_at >= heartbeat_s:
            self._pinged_at = now
            self._link.post(lambda req: Ping(req=req), self._ponged)

    def _ponged(self, answer: Answer | None) -> None:
        if answer is not None and answer.drain:
            self._drain("the server says so")

    def _end_if_alone(self, alone_s: float) -> None:
        local = bool(self._config.connection_file) and not self._attempts
        if alone_s > (ALONE_LOCAL_S if local else self._config.alone_s):
            log.info("no server for %d s", alone_s)
            self._ended.set()

    def _end_if_old(self, now: float) -> None:
        if self._config.life_s and now - self._began > self._config.life_s and not self._old:
            self._old = True
            log.info("this machine has reached its longest life")
            if self._leaves_at is None:  # else what runs is being handed back
                self.stop()

    def _say_alive(self) -> None:
        if self._beat is not None:
            self._beat.heard(self._link.heard_at)


def _kind_of(assign: Assign) -> type[Attempt]:
    if assign.spec.kind == "session":
        return SessionAttempt
    return CellAttempt if assign.spec.session else Attempt


def _new_name() -> str:
    return f"w-{uuid.uuid4().hex[:12]}"


def _kernel_launcher(user: User | None, executable: str) -> Launcher:
    from jupyter_remote.worker.launch import KernelLauncher

    return KernelLauncher(executable, user=user)


async def _run(config: Config) -> None:
    agent = Agent(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()


def main(config_file: str | Path) -> int:
    """Run the agent to its end; returns the exit status. Called by ``jupyter remote worker``."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    config = read_config(Path(config_file))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(config))
    except ProtocolMismatch as error:
        log.error("%s", error)
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The agent of one machine.")
    parser.add_argument("--config", required=True, help="JSON file, mode 0600")
    sys.exit(main(parser.parse_args().config))

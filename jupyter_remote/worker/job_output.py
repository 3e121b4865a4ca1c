"""What a job puts out, from its kernel's words to the events and the log that the server gets."""

from __future__ import annotations

from jupyter_remote.wire import Segment, encode
from jupyter_remote.worker import channel
from jupyter_remote.worker.comms import Comms
from jupyter_remote.worker.folding import AS_THEY_ARE, Folding, notice
from jupyter_remote.worker.holding import Shown
from jupyter_remote.worker.means import Means
from jupyter_remote.worker.outbox import Outbox
from jupyter_remote.worker.spill import Spill
from jupyter_remote.worker.transfer import BadInput
from jupyter_remote.worker.verdict import LAST_WORDS

Output = channel.Text | channel.Out | channel.Progress


class JobOutput:
    """Of one attempt: live, folded where it is too much, and its text as a whole in a log."""

    def __init__(self, name: str, means: Means, outbox: Outbox) -> None:
        """``name``: of the file of the log."""
        self.comms = Comms(means.clock, outbox.add_comm, self.note)
        self._outbox = outbox
        self._transfer = means.transfer
        self._folding = Folding(means.bounds)
        self._log = Spill(means.work / f"{name}.log", means.log_bytes)
        self._log_is_needed = False

    def hear(self, output: Output, now: float) -> None:
        if isinstance(output, channel.Text):
            self._hear_text(output, now)
        elif isinstance(output, channel.Out):
            self._hear_out(output, now)
        else:
            bar = output.bar
            last = bar.state == "close"
            key = f"bar {bar.id}"
            self._outbox.add_latest(key, "progress", encode(bar), at_once=True, last=last)

    def ask(self, ask: channel.Ask, now: float) -> None:
        """``input()`` was called: its question comes after what was said before it."""
        self.tick(now)
        data = {"prompt": ask.prompt, "password": ask.password}
        self._outbox.add("ask", encode(data))

    def note(self, text: str) -> None:
        """A line of ours for the user."""
        self._show([notice(text)])

    def tick(self, now: float) -> None:
        """Show what there is room for by now."""
        self._show(self._folding.tick(now))

    def end(self, now: float) -> None:
        """The code is over: show all that waits."""
        self._show(self._folding.end(now))
        self.comms.flush()

    def last_words(self) -> str:
        return self._log.last(LAST_WORDS)

    async def give_log(self) -> Segment | None:
        """The log is the server's, if it has more than what was shown."""
        if not (self._folding.folded or self._log.problem or self._log_is_needed):
            self._log.discard()
            return None
        try:
            return await self._transfer.give_file(self._log.close())
        except (OSError, BadInput) as error:
            self.note(f"the whole output could not be kept: {error}")
            return None

    def discard_log(self) -> None:
        self._log.discard()

    def _hear_text(self, text: channel.Text, now: float) -> None:
        if not self._log.write(text.text):
            self.note(self._log.problem)
        if text.elsewhere:
            self._log_is_needed = True
        else:
            self._show(self._folding.text(text.name, text.text, now))

    def _hear_out(self, out: channel.Out, now: float) -> None:
        if out.msg_type in AS_THEY_ARE:
            self._show(self._folding.display(out.msg_type, out.content, now))
        elif out.msg_type.startswith("comm_"):
            if out.msg_type == channel.COMM_IDLE:  # what was said before it is shown before it
                self.tick(now)
            self.comms.hear(out)

    def _show(self, events: list[Shown]) -> None:
        for event in events:
            self._outbox.add(event.type, event.data)

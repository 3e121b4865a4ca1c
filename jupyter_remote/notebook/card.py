"""The card of one job in a front end: static in the file at every moment, live in the page.

What is published, and so what a file may hold, is the static bundle alone: it is published anew
at changes of status and now and then between. The live card is one widget (one comm, one synced
state, at most ten updates a second) that draws itself into the published HTML and needs no output
of its own, so no file ever refers to a widget that has gone.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from jupyter_remote.cards.render import bundle, card_json, status_line
from jupyter_remote.cards.state import CardState
from jupyter_remote.client.receipts import metadata
from jupyter_remote.notebook.control import how_of
from jupyter_remote.wire import WIDGET_TYPE

PERIOD_S = 0.1
LIVE_AFTER_S = 0.3  # a job that ends sooner needs no widget: a page takes as long to make one
BUSY_PERIOD_S = 1.0
STATIC_PERIOD_S = 10.0  # how old a saved card may be; an update of an output costs a browser more

Front = Literal["page", "view", "still"]
"""``page``: its scripts reach all outputs of a notebook (JupyterLab, Notebook). ``view``: each
output stands alone, a widget needs its own (VS Code, Colab). ``still``: nobody looks (nbclient)."""

Publish = Callable[..., None]
"""``publish(data, metadata, transient=…, update=…)``: below the cell of the job."""


@functools.cache
def widget_class() -> type[Any]:
    """The widget; made when first used, so that loading the extension imports no widgets."""
    import anywidget
    import traitlets

    here = Path(__file__).parent

    class JobCard(anywidget.AnyWidget):
        _esm = (here / "card.js").read_text()
        _css = (here / "card.css").read_text()
        state = traitlets.Dict().tag(sync=True)
        id = traitlets.Unicode().tag(sync=True)  # of its model: a script is not told

    return JobCard


def display_id_of(job: str) -> str:
    return f"jupyter-remote-{job}"


class Card:
    """Draws states of one job; called from one thread at a time.

    Parameters
    ----------
    publish: shows a bundle below the job's cell.
    job: its id; where each output stands alone a later kernel finds its card by that.
    cancel: called with ``force`` and ``force_after`` when Cancel arrives over the comm.
    busy: called now and then while the card is live: says that the kernel is busy with this cell.
        JupyterLab sets up its side of the first widget by requests whose end it takes for the
        kernel's.
    clock: seconds since 1970.
    """

    def __init__(
        self,
        publish: Publish,
        cancel: Callable[[bool, float | None], object],
        *,
        front: Front = "page",
        job: str = "",
        busy: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._publish = publish
        self._cancel = cancel
        self._front = front
        self._busy = busy
        self._busy_at = 0.0
        self._clock = clock
        self._id = f"jupyter-remote-{uuid.uuid4().hex}"
        self._display_id = display_id_of(job) if job and front == "view" else self._id
        self._widget: Any = None
        self._status: tuple[str, float | None] | None = None  # as published: see _news_of
        self._published_at = 0.0  # 0: it is not to be seen
        self._drawn_at = 0.0
        self._drawn: CardState | None = None
        self._live_at = clock() + LIVE_AFTER_S

    @property
    def is_shown(self) -> bool:
        return self._published_at > 0

    def draw(self, state: CardState, *, force: bool = False) -> float | None:
        """Shows ``state`` now or within the next period; seconds until it wants to be called
        again, None if all is shown. ``force``: the cell was cleared, show it anew."""
        now = self._clock()
        if state is self._drawn and not force:
            return None
        news = force or state.final or _news_of(state) != self._status
        if (wait := self._wait(now, news, force or state.final)) > 0:
            return wait
        self._drawn, self._drawn_at = state, now
        later = None
        if self._front != "still" and not state.final:
            if now >= self._live_at:
                news = news or (self._widget is None and self._front == "view")
                self._update_widget(state, now)
            else:
                self._drawn, later = None, self._live_at - now
        if news or now - self._published_at >= STATIC_PERIOD_S:
            self._publish_bundle(state, now, update=self.is_shown and not force)
        return later

    def _wait(self, now: float, news: bool, urgent: bool) -> float:
        if self._front == "still":
            return 0.0 if news else self._published_at + STATIC_PERIOD_S - now
        return 0.0 if urgent else self._drawn_at + PERIOD_S - now

    def _live(self, state: CardState, now: float) -> dict[str, Any]:
        drawn = card_json(state, now)
        return drawn | {"host": self._id} if self._front == "page" else drawn

    def _update_widget(self, state: CardState, now: float) -> None:
        drawn = self._live(state, now)
        if self._widget is None:
            id = uuid.uuid4().hex
            self._widget = widget_class()(state=drawn, id=id, model_id=id)
            self._widget.on_msg(self._message)
            self._busy_at = now
        else:
            self._widget.state = drawn
        if now - self._busy_at >= BUSY_PERIOD_S:
            self._busy_at = now
            self._busy()

    def _publish_bundle(self, state: CardState, now: float, *, update: bool) -> None:
        live = self._front != "still" and not state.final
        data = bundle(state, now, host=self._id if live else "")
        if live and self._front == "view" and self._widget is not None:
            data |= {WIDGET_TYPE: {"model_id": self._widget.model_id, **_WIDGET_VERSION}}
        kept = metadata(state.receipt) if state.receipt is not None else {}
        self._publish(data, kept, transient={"display_id": self._display_id}, update=update)
        self._published_at, self._status = now, _news_of(state)
        if state.final and self._widget is not None:
            # A page takes in an update once it has loaded the widget, and only then the close;
            # one that is closed while it is being loaded is an error in the console.
            self._widget.state = self._live(state, now)
            self._widget.close()
            self._widget = None

    def _message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("event") == "cancel":
            self._cancel(*how_of(content))


def _news_of(state: CardState) -> tuple[str, float | None]:
    """What is published at once when it changes."""
    return status_line(state), state.kill_at


_WIDGET_VERSION = {"version_major": 2, "version_minor": 0}

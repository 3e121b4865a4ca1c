"""The card of one job in a front end: a widget while it lives, a static bundle for the file.

One comm, one synced state, at most ten updates a second. What is saved is the static bundle: the
output is replaced at every change of status, and at the end without the widget.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_remote.notebook.render import bundle, card_json, status_line
from jupyter_remote.notebook.state import CardState

PERIOD_S = 0.1
STATIC_PERIOD_S = 1.0  # an update of an output costs a browser more than one of a widget
WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"

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

    return JobCard


class Card:
    """Draws states of one job; called from one thread at a time.

    Parameters
    ----------
    publish: shows a bundle below the job's cell.
    cancel: called with ``force`` when Cancel arrives over the comm.
    live: with a widget; without it the static bundle alone is updated.
    clock: seconds since 1970.
    """

    def __init__(
        self,
        publish: Publish,
        cancel: Callable[[bool], object],
        *,
        live: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._publish = publish
        self._cancel = cancel
        self._live = live
        self._clock = clock
        self._display_id = f"jupyter-remote-{uuid.uuid4().hex}"
        self._widget: Any = None
        self._shown = ""  # the status line as published
        self._published = False
        self._drawn_at = 0.0
        self._drawn: CardState | None = None

    def draw(self, state: CardState, *, force: bool = False) -> float | None:
        """Shows ``state`` now or within the next period; seconds until it wants to be called
        again, None if all is shown. ``force``: the cell was cleared, show it anew."""
        now = self._clock()
        if state is self._drawn and not force:
            return None
        wait = (PERIOD_S if self._live else STATIC_PERIOD_S) - (now - self._drawn_at)
        if wait > 0 and not force and not state.final:
            return wait
        self._drawn, self._drawn_at = state, now
        self._published = self._published and not force
        if self._live and not state.final:
            self._update_widget(state, now)
        if status_line(state) != self._shown or force or state.final or not self._live:
            self._publish_bundle(state, now)
        return None

    def _update_widget(self, state: CardState, now: float) -> None:
        drawn = card_json(state, now)
        if self._widget is None:
            self._widget = widget_class()(state=drawn)
            self._widget.on_msg(self._message)
        else:
            self._widget.state = drawn

    def _publish_bundle(self, state: CardState, now: float) -> None:
        data = bundle(state, now)
        if self._widget is not None and not state.final:
            data |= {WIDGET_TYPE: {"model_id": self._widget.model_id, **_WIDGET_VERSION}}
        transient = {"display_id": self._display_id}
        self._publish(data, {}, transient=transient, update=self._published)
        self._published, self._shown = True, status_line(state)
        if state.final and self._widget is not None:
            self._widget.close()
            self._widget = None

    def _message(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        if content.get("event") == "cancel":
            self._cancel(bool(content.get("force", False)))


_WIDGET_VERSION = {"version_major": 2, "version_minor": 0}

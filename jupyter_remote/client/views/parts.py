"""The single calls that an AsyncResult is made of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyter_remote import calls, errors
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.exchange import Output, Request

if TYPE_CHECKING:
    from jupyter_remote.client.views.engine import Engine
    from jupyter_remote.client.views.space import Space

_NOTHING = object()


class Metadata(dict[str, Any]):
    """Of one call; its keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class ExecuteReply:
    """What ``execute`` gives: displayed it is the value of the code's last expression. What is in
    ``metadata`` are its attributes and items, too."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata

    @property
    def data(self) -> dict[str, Any]:
        """Of the last expression, by MIME type."""
        found: dict[str, Any] = (self.metadata["execute_result"] or {}).get("data", {})
        return found

    @property
    def execution_count(self) -> int | None:
        return (self.metadata["execute_result"] or {}).get("execution_count")

    def __getitem__(self, key: str) -> Any:
        return self.metadata[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.metadata, name)

    def __repr__(self) -> str:
        return f"<ExecuteReply: {self.data.get('text/plain', '')}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.data or {"text/plain": repr(self)}


class Part:
    """One call of an AsyncResult: which worker, which share of the whole."""

    __slots__ = (
        "_value", "after", "code", "engine", "follow", "label", "name", "request", "silent", "size",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        engine: Engine | None,
        size: int = 1,
        *,
        name: str = "",
        label: str | None = None,
        code: str | None = None,
        silent: bool = False,
    ) -> None:
        """``code``: it is that cell and not a call. ``silent``: its last value is not shown."""
        self.request = request
        self.engine = engine
        self.size = size
        self.name = name
        self.label = label
        self.code = code
        self.silent = silent
        self.after: list[str] = []
        self.follow: list[str] = []
        self._value: Any = _NOTHING

    def value(self, space: Space) -> Any:
        """Unpacked once, by who asks first. Raises what the call raised."""
        if self._value is _NOTHING:
            try:
                value = space.value_of(self.request)
            except errors.JupyterRemoteError as error:
                self._tell_where(error)
                raise
            self._value = value if self.code is None else ExecuteReply(self.metadata())
        return self._value

    def _tell_where(self, error: errors.JupyterRemoteError) -> None:
        engine = self.engine
        if engine is None:
            return
        error.__dict__["engine_info"] = {
            "engine_id": engine.id,
            "engine_uuid": engine.uuid,
            "method": "apply" if self.code is None else "execute",
            "name": self.name,
            "session": engine.name,
        }
        if isinstance(error, errors.RemoteError):
            error.add_note(f"on worker {engine.id} (session {engine.name!r})")

    def error(self, space: Space) -> Exception | None:
        try:
            self.value(space)
        except Exception as error:
            return error
        return None

    @property
    def failed(self) -> bool:
        """Without opening what came."""
        request = self.request
        reply = request.reply
        return request.done and (reply is None or reply.dropped or reply.error is not None)

    @property
    def outputs(self) -> list[Output]:
        found = self.request.outputs
        return [o for o in found if not shown.is_result(o)] if self.silent else found

    @property
    def size_bytes(self) -> int:
        """Of what came back."""
        reply = self.request.reply
        if reply is None:
            return 0
        return len(reply.plain) if reply.value is None else reply.value.size_bytes

    def metadata(self) -> Metadata:
        request, engine = self.request, self.engine
        reply = request.reply
        outputs = self.outputs
        return Metadata(
            msg_id=str(request.id),
            submitted=_time(request.sent_at),
            started=None if reply is None else _time(reply.began_at),
            completed=None if reply is None else _time(reply.ended_at),
            received=_time(request.received_at),
            engine_id=None if engine is None else engine.id,
            engine_uuid=None if engine is None else engine.uuid,
            status=self._status(),
            stdout=_text(outputs, "stdout"),
            stderr=_text(outputs, "stderr"),
            outputs=shown.rich(outputs),
            execute_input=self.code,
            execute_result=shown.execute_result(outputs),
            error=None if reply is None else reply.error,
            after=self.after,
            follow=self.follow,
            data={},
            label=self.label,
        )

    def _status(self) -> str | None:
        if not self.request.done:
            return None
        reply = self.request.reply
        if reply is not None and reply.dropped:
            return "aborted"
        return "error" if self.failed else "ok"


def _time(at: float) -> datetime | None:
    return datetime.fromtimestamp(at, UTC) if at else None


def _text(outputs: Iterable[Output], name: str) -> str:
    return "".join(o.text for o in outputs if isinstance(o, calls.Text) and o.name == name)

"""One call of a view, for several workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jupyter_remote import errors
from jupyter_remote.client.views.engine import Engine, connect
from jupyter_remote.client.views.exchange import Request
from jupyter_remote.client.views.functions import Shipped
from jupyter_remote.client.views.parts import Part
from jupyter_remote.client.views.results import AsyncResult
from jupyter_remote.client.views.space import Space
from jupyter_remote.wire import Parcel


class Share(NamedTuple):
    """What one worker has to do."""

    engine: Engine
    send: Callable[[Request], None]
    size: int = 1


def begin(
    space: Space,
    work: Sequence[Share],
    kind: type[AsyncResult] = AsyncResult,
    *,
    name: str,
    single: bool = False,
    join: Callable[[list[Any]], Any] | None = None,
    return_exceptions: bool = False,
    **of_part: Any,
) -> AsyncResult:
    """Send every worker its share. One that is gone ends its call, and not those of the others."""
    made: list[AsyncResult] = []

    def done(request: Request) -> None:
        request.tag.completed += 1
        made[0].heard(request)

    parts = [
        Part(Request(done, tag=share.engine), share.engine, share.size, name=name, **of_part)
        for share in work
    ]
    made.append(
        kind(space, parts, single=single, name=name, join=join, return_exceptions=return_exceptions)
    )
    connect([share.engine for share in work])
    for share, part in zip(work, parts, strict=True):
        try:
            share.send(part.request)
        except errors.EngineError as error:
            part.request.finish(None, error)
    return made[0]


def caller(
    engine: Engine, shipped: Shipped, packed: tuple[bytes, Parcel | None]
) -> Callable[[Request], None]:
    return lambda request: engine.call(request, shipped, *packed)

"""What all messages share: the protocol, limits, errors as problem documents."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_remote import errors

PROTOCOL = 1


FRAME_TYPE = "application/vnd.jupyter-remote.frame"


LAST_OUTPUT = "; last output: "  # in the detail of a job whose process died, before what it wrote


CARD_TYPE = "application/vnd.jupyter-remote.job+json"


WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"  # Jupyter's own: a place for a live widget


MOST_BYTES = 1 << 50  # of anything that has a size


INLINE_BYTES = 64 * 1024  # a parcel up to this size travels inside its message


CHUNKED_BYTES = 1024 * 1024  # a segment above this size is cut into content-defined chunks


HTTP_STATUS: dict[str, int] = {
    "usage": 422,
    "invalid_request": 422,
    "unknown_machine": 422,
    "environment_mismatch": 409,
    "protocol_mismatch": 426,
    "not_authenticated": 401,
    "not_authorized": 403,
    "not_found": 404,
    "conflict": 409,
    "key_reused": 422,
    "too_large": 413,
    "unsupported_media_type": 415,
    "storage_full": 507,
    "digest_mismatch": 422,
    "launch_refused": 503,
    "environment_unavailable": 422,
    "insufficient_funds": 402,
    "budget_exceeded": 402,
}


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem document."""

    title: str
    status: int
    code: str
    detail: str = ""
    hint: str = ""
    type: str = "about:blank"


def problem_of(error: errors.JupyterRemoteError) -> Problem:
    """The problem document of an error; codes without a status are 500."""
    return Problem(
        title=error.code.replace("_", " "),
        status=HTTP_STATUS.get(error.code, 500),
        code=error.code,
        detail=str(error.args[0]) if error.args else "",
        hint=error.hint,
    )


def error_of(problem: Problem) -> errors.JupyterRemoteError:
    """The error that a problem document stands for."""
    cls = errors.BY_CODE.get(problem.code, errors.JupyterRemoteError)
    if cls in (errors.CompositeError, errors.RemoteError):
        cls = errors.JupyterRemoteError
    return cls(problem.detail or problem.title, hint=problem.hint)


encode = msgspec.json.encode


"""JSON bytes of any of these types."""


def raw(value: Any) -> msgspec.Raw:
    """``value`` as JSON, to be put into another message untouched."""
    return msgspec.Raw(msgspec.json.encode(value))

"""How a job is to run, as keyword arguments: ``client.with_options(machine=…, max_cost=…)``."""

from __future__ import annotations

import difflib
from typing import Any, Literal, TypeAlias

import msgspec

from jupyter_remote.amounts import memory_bytes, seconds
from jupyter_remote.errors import UsageError
from jupyter_remote.money import meter
from jupyter_remote.wire import Need

MOST_USD = meter.usd_of(meter.MOST_UCREDITS)
Visibility: TypeAlias = Literal["private", "unlisted", "public"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """All options with their defaults; amounts in the units of the wire."""

    need: Need = Need()
    max_cost_ucredits: int | None = None
    timeout_s: float | None = None
    gpu_idle_s: float | None = None
    retries: int = 0
    max_attempts: int = 3
    description: str = ""
    visibility: Visibility = "private"
    files: tuple[str, ...] = ()
    environment: str = "auto"  # none: what the worker has; or a file that names packages
    quiet_progress: bool = True
    cache: bool = False
    resume: str = ""  # id of a job: start from its checkpoint

    def changed(self, given: dict[str, Any]) -> Options:
        """With the options that a user wrote. Raises UsageError.

        machine, gpu ("A10G" or "A10G:2"), cpus, memory (bytes or "16GB"), max_cost (USD), timeout
        (seconds or "2h"), gpu_idle (it is stopped when no GPU was used for so long), retries (runs
        again when the code raises), max_attempts (runs that a lost worker may cost), description,
        visibility, files (paths), environment ("auto": the packages that the code imports, as they
        are here; "none": those that the worker has; or a requirements.txt, pyproject.toml or
        environment.yml), progress (False: bars print as they would), cache (True: take
        the result from the cache if it is there, and keep it there), resume (id of a job: start
        from its checkpoint).
        """
        for name in given:
            if name not in _READ:
                near = difflib.get_close_matches(name, _READ, 1)
                raise UsageError(
                    f"there is no option {name!r}"
                    + (f"; did you mean {near[0]!r}?" if near else ""),
                    hint=f"options are {', '.join(_READ)}",
                )
        options = self
        for name, value in given.items():
            options = _READ[name](options, name, value)
        return options


def _need(options: Options, **changes: Any) -> Options:
    return msgspec.structs.replace(options, need=msgspec.structs.replace(options.need, **changes))


def _gpu(options: Options, name: str, value: Any) -> Options:
    gpu, colon, count = str(value or "").partition(":")
    if colon and not (count.isdigit() and int(count)):
        raise UsageError(f"gpu={value!r} is not a GPU", hint="write 'A10G', or 'A10G:2' for two")
    return _need(options, gpu=gpu, gpu_count=int(count) if colon else 1)


def _amount(name: str, value: Any) -> float:
    """A number above zero, or one as text."""
    try:
        amount = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        amount = 0.0
    if not 0 < amount < float("inf"):
        raise UsageError(f"{name}={value!r} is not an amount above zero", hint=f"write {name}=2")
    return amount


def _timeout(options: Options, name: str, value: Any) -> Options:
    return _set(options, timeout_s=None if value is None else seconds(value))


def _gpu_idle(options: Options, name: str, value: Any) -> Options:
    return _set(options, gpu_idle_s=None if value is None else seconds(value))


def _max_cost(options: Options, name: str, value: Any) -> Options:
    usd = None if value is None else _amount(name, value)
    if usd is not None and usd > MOST_USD:
        raise UsageError(f"{name}={value!r} is more than there can be", hint=f"write {name}=2")
    cost = None if usd is None else meter.ucredits_of_usd(usd)
    return _set(options, max_cost_ucredits=cost)


def _cpus(options: Options, name: str, value: Any) -> Options:
    return _need(options, cpus=0.0 if value is None else _amount(name, value))


def _memory(options: Options, name: str, value: Any) -> Options:
    return _need(options, memory_bytes=0 if value is None else memory_bytes(value))


def _count(options: Options, name: str, value: Any) -> Options:
    least = _LEAST[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(
            f"{name}={value!r} is not a whole number from {least} on", hint=f"write {name}=2"
        )
    return _set(options, **{name: value})


_LEAST = {"retries": 0, "max_attempts": 1}


def _visibility(options: Options, name: str, value: Any) -> Options:
    if value not in ("private", "unlisted", "public"):
        raise UsageError(
            f"visibility={value!r} is unknown", hint="it is 'private', 'unlisted' or 'public'"
        )
    return _set(options, visibility=value)


def _files(options: Options, name: str, value: Any) -> Options:
    paths = [value] if isinstance(value, str) or hasattr(value, "__fspath__") else value or ()
    return _set(options, files=tuple(str(path) for path in paths))


def _environment(options: Options, name: str, value: Any) -> Options:
    return _set(options, environment=str(value or "none"))


def _set(options: Options, **changes: Any) -> Options:
    return msgspec.structs.replace(options, **changes)


_READ: dict[str, Any] = {
    "machine": lambda o, n, v: _need(o, machine=str(v or "")),
    "gpu": _gpu,
    "cpus": _cpus,
    "memory": _memory,
    "max_cost": _max_cost,
    "timeout": _timeout,
    "gpu_idle": _gpu_idle,
    "retries": _count,
    "max_attempts": _count,
    "description": lambda o, n, v: _set(o, description=str(v or "")),
    "visibility": _visibility,
    "files": _files,
    "environment": _environment,
    "env": _environment,  # as the option of a cell is called
    "progress": lambda o, n, v: _set(o, quiet_progress=bool(v)),
    "cache": lambda o, n, v: _set(o, cache=bool(v)),
    "resume": lambda o, n, v: _set(o, resume=str(v or "")),
}

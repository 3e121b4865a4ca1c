"""What is otherwise than a receipt says: before a job is repeated, and after. Pure."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence

import msgspec

from jupyter_remote.client.environment import version_of
from jupyter_remote.model import MachineType
from jupyter_remote.wire import Receipt, ReceiptEnvironment


class Changes(msgspec.Struct, frozen=True):
    """What is gone keeps a job from being repeated; what changed is told."""

    gone: list[str] = []
    changed: list[str] = []


def environment_here(
    receipt: Receipt, version: Callable[[str], str] = version_of
) -> ReceiptEnvironment:
    """Of this process, as far as the receipt names it."""
    return ReceiptEnvironment(
        python=platform.python_version(),
        packages={name: version(name) for name in receipt.environment.packages},
    )


def since(
    receipt: Receipt,
    *,
    is_known: bool,
    machine: str,
    machines: Sequence[MachineType],
    environment: ReceiptEnvironment,
) -> Changes:
    """Since then. ``is_known``: does the backend know the job? ``machine``: to run on."""
    gone = []
    if not is_known:
        gone.append(f"job {receipt.id[:8]} (this backend does not know it)")
    offer = next((m for m in machines if m.id == machine), None)
    if offer is None:
        gone.append(f"machine type {machine} (not in the catalogue)")
    changed = differences(receipt.environment, environment)
    if offer is not None and machine == receipt.machine:
        changed += _price(receipt.price.usd_per_h, offer.usd_per_h)
    return Changes(gone, changed)


def differences(then: ReceiptEnvironment, now: ReceiptEnvironment) -> list[str]:
    """``numpy 2.4.5 → 2.4.6``; what one of them does not know is passed over."""
    found = []
    if then.python and now.python and not _same_python(then.python, now.python):
        found.append(f"Python {then.python} → {now.python}")
    for name, version in then.packages.items():
        other = now.packages.get(name)
        if other is not None and other != version:
            found.append(f"{name} {version} → {other or 'not installed'}")
    if then.lock and now.lock and then.lock != now.lock:
        found.append("the list of packages is another")
    return found


def _same_python(then: str, now: str) -> bool:
    """One may know less of it: 3.11 is 3.11.7."""
    return now == then or now.startswith(f"{then}.") or then.startswith(f"{now}.")


def _price(then: float, now: float) -> list[str]:
    return [f"price {then:.4g} → {now:.4g} $/h"] if abs(then - now) > 1e-9 else []


def verdict(then: Receipt, now: Receipt) -> str:
    """Of a job that was repeated: ``same code, same inputs, same environment``."""
    environment = differences(then.environment, now.environment)
    parts = [
        "same code" if _same_code(then, now) else "other code",
        "same inputs" if not (inputs := _inputs(then, now)) else f"other inputs: {inputs}",
        "same environment" if not environment else f"environment: {', '.join(environment)}",
    ]
    if then.machine != now.machine:
        parts.append(f"machine {then.machine} → {now.machine}")
    return ", ".join([*parts, *_price_of_both(then, now)])


def _price_of_both(then: Receipt, now: Receipt) -> list[str]:
    same = then.machine == now.machine
    return _price(then.price.usd_per_h, now.price.usd_per_h) if same else []


def _same_code(then: Receipt, now: Receipt) -> bool:
    """By what both know of it: its normalised form, else its text."""
    for ours, theirs in ((then.code_key, now.code_key), (then.code_digest, now.code_digest)):
        if ours and theirs:
            return ours == theirs
    return then.code_digest == now.code_digest


def _inputs(then: Receipt, now: Receipt) -> str:
    """What differs; of names nothing more can be said, as all are in one pickle."""
    found = []
    if then.inputs_digest != now.inputs_digest:
        names = ", ".join(name.name for name in now.inputs or then.inputs)
        found.append(f"one of {names}" if names else "they are others")
    if then.files_digest != now.files_digest:
        files = _files(now)
        found += [path for path, digest in _files(then).items() if files.get(path) != digest]
        found += [path for path in files if path not in _files(then)]
    return ", ".join(found)


def _files(receipt: Receipt) -> Mapping[str, str]:
    return {file.path: file.digest for file in receipt.files}

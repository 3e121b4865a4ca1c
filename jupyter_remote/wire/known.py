"""What msgspec knows of a type it works out at its first use, and two threads that use one for the
first time crash the process (msgspec 0.22): it is worked out while the types are imported."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


def make_known(types: Iterable[object]) -> None:
    """The structs among these may be decoded by any thread from now on."""
    for one in types:
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            msgspec.json.Decoder(one)

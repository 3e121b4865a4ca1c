"""Values on a trip: packed in one namespace, unpacked in another, here or in a new process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

from jupyter_remote.mapping import flat
from jupyter_remote.values import Packed, pack, unpack

Namespace = dict[str, Any]


def notebook(source: str = "") -> Namespace:
    """A namespace as a notebook has it, with ``source`` run in it."""
    namespace: Namespace = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace


def open_up(packed: Packed, namespace: Namespace | None = None) -> Any:
    """Unpack from downloaded bytes."""
    return unpack(
        packed.parcel, lambda s: bytearray(packed.contents[s.digest]), namespace=namespace
    )


def trip(value: Any, home: Namespace | None = None, **options: Any) -> tuple[Any, Namespace]:
    """The value as it arrives, and the namespace it arrived in."""
    far = notebook()
    return open_up(pack(value, namespace=home, **options), far), far


_FAR = """
import pickle, sys
from jupyter_remote.values import pack, unpack
parcel, contents, source, outputs = pickle.load(sys.stdin.buffer)
globals_ = {"__name__": "__main__"}
names = unpack(parcel, lambda s: contents[s.digest], namespace=globals_)
globals_.update(names)
exec(source, globals_)
packed = pack({n: globals_[n] for n in outputs}, namespace=globals_)
contents = {d: bytes(c) for d, c in packed.contents.items()}
sys.stdout.buffer.write(pickle.dumps((packed.parcel, contents)))
"""


def run_far(home: Namespace, names: str, source: str, outputs: str) -> dict[str, Any]:
    """Ship ``names``, run ``source`` in another process, bring ``outputs`` home."""
    packed = pack({n: home[n] for n in names.split()}, namespace=home)
    contents = {d: bytearray(flat(c)) for d, c in packed.contents.items()}
    done = subprocess.run(
        [sys.executable, "-c", _FAR],
        input=pickle.dumps((packed.parcel, contents, source, outputs.split())),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    parcel, contents = pickle.loads(done.stdout)
    values = unpack(parcel, lambda s: contents[s.digest], namespace=home, at_home=True)
    assert isinstance(values, dict)
    return values

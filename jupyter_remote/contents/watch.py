"""Which objects hold something else than they did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_remote import values
from jupyter_remote.contents.parts import has_identity, held_by, is_pandas, same
from jupyter_remote.reach import without_collection


class Watch:
    """Remembers what objects hold, and says later which of them hold something else.

    Of arrays, frames and whatever only its pickle tells of it keeps a digest; other numbered
    objects inside count by their numbers there. What a frame of pandas is made of belongs to it: it
    is not watched by itself, for pandas decides which frames share it.
    """

    def __init__(self, objects: Mapping[int, Any], namespace: dict[str, Any]) -> None:
        """``objects``: by number; they are kept, and so is what they hold now."""
        self._namespace = namespace
        with without_collection():
            self.objects = {n: o for n, o in objects.items() if has_identity(o)}
            self.numbers = {id(o): n for n, o in self.objects.items()}
            held = {n: held_by(o) for n, o in self.objects.items()}
        for number in [n for n, parts in held.items() if parts is None]:
            if is_pandas(frame := self.objects.get(number)):
                self._keep_together(frame)
        self._held = {n: parts for n, parts in held.items() if parts is not None}
        if len(self.objects) < len(held):
            self._held = {n: parts for n, parts in self._held.items() if n in self.objects}
        self._prints = self._printed()

    def _keep_together(self, frame: Any) -> None:
        def forget(parts: Iterable[Any]) -> None:
            for part in parts:
                number = self.numbers.get(id(part))
                if part is not frame and number is not None and self.objects[number] is part:
                    del self.objects[number], self.numbers[id(part)]

        values.fingerprint(frame, self._namespace, inside=forget)

    def _printed(self) -> dict[int, Any]:
        if len(self._held) == len(self.objects):
            return {}
        return {n: self._print_of(o) for n, o in self.objects.items() if n not in self._held}

    def _print_of(self, obj: Any) -> Any:
        if isinstance(obj, type):
            return values.class_marks(obj)
        return values.fingerprint(obj, self._namespace, self.numbers) or object()

    def changed(self) -> set[int]:
        """Numbers of the objects that do not hold what they held."""
        differ = {
            n for n, before in self._held.items() if not same(held_by(self.objects[n]), before)
        }
        after = self._printed()
        return differ | {n for n, before in self._prints.items() if after[n] != before}

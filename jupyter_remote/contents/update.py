"""What an object holds, copied to be sent, and put into the old object on arrival."""

from __future__ import annotations

import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

from jupyter_remote.contents.parts import (
    CONTAINERS,
    DICTS,
    UNSET,
    content_of_cell,
    held_by,
    is_array,
    is_pandas,
    plain_base,
    slot_of,
    slots_of,
)
from jupyter_remote.pickling.reducers import Whole

Undo = Callable[[], None]


def can_change(obj: Any) -> bool:
    """Can it take over what another object of its type holds, and stay itself?"""
    kind = type(obj)
    if kind in CONTAINERS or kind in (types.CellType, types.FunctionType) or is_pandas(obj):
        return True
    if is_array(obj):
        spread = obj.size > 1 and 0 in obj.strides
        return bool(obj.flags.writeable and not spread)
    return held_by(obj) is not None or _setter(obj) is not None


def copy_of(obj: Any) -> Any:
    """One that holds the same, to be sent in its place."""
    kind = type(obj)
    if kind in CONTAINERS:
        return obj.copy()
    if kind is types.CellType:
        return types.CellType(*content_of_cell(obj))
    if kind is types.FunctionType:
        return _copy_of_function(obj)
    return Whole(obj)


def _copy_of_function(function: types.FunctionType) -> types.FunctionType:
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    vars(copy).update(vars(function))
    return copy


def updater(old: Any, new: Any) -> Callable[[], Undo] | None:
    """What gives ``old`` the content of ``new``, and gives what undoes it; None: not exactly."""
    if type(old) is not type(new) or old is new:
        return None
    kind = type(old)
    if kind in (list, bytearray):
        return lambda: _update_sequence(old, new)
    if kind in (set, *DICTS):
        return lambda: _update_hashed(old, new)
    if kind is deque:
        return (lambda: _update_deque(old, new)) if old.maxlen == new.maxlen else None
    if kind is types.CellType:
        return lambda: _update_cell(old, new)
    if kind is types.FunctionType:
        return lambda: _update_function(old, new)
    if is_array(old):
        return _nothing_yet if fits(old, new) else None
    if is_pandas(old):
        return lambda: _update_pandas(old, new)
    if (setter := _setter(old)) is not None:
        return lambda: _update_by(setter, old, new)
    return (lambda: _update_instance(old, new)) if held_by(old) is not None else None


def _nothing_yet() -> Undo:
    """Arrays are copied at the end, see :func:`copy_arrays`."""
    return lambda: None


def _update_sequence(old: Any, new: Any) -> Undo:
    before = old[:]
    old[:] = new

    def undo() -> None:
        old[:] = before

    return undo


def _update_hashed(old: Any, new: Any) -> Undo:
    before = old.copy()
    _fill(old, new)
    return lambda: _fill(old, before)


def _fill(target: Any, source: Any) -> None:
    base: Any = next(b for b in type(target).__mro__ if b in (set, OrderedDict, dict))
    base.clear(target)
    if base is set:
        set.update(target, source)
    else:
        for key, value in base.items(source):  # not update(): Counter's would add up
            base.__setitem__(target, key, value)
    if isinstance(target, defaultdict):
        target.default_factory = source.default_factory


def _update_deque(old: Any, new: Any) -> Undo:
    before = list(old)

    def fill(content: Any) -> None:
        old.clear()
        old.extend(content)

    fill(new)
    return lambda: fill(before)


def _update_cell(old: types.CellType, new: types.CellType) -> Undo:
    before = content_of_cell(old)

    def fill(content: tuple[Any, ...]) -> None:
        if content:
            old.cell_contents = content[0]
        elif content_of_cell(old):
            del old.cell_contents

    fill(content_of_cell(new))
    return lambda: fill(before)


def _update_function(old: Any, new: Any) -> Undo:
    before = _copy_of_function(old)

    def fill(source: Any) -> None:
        old.__code__, old.__defaults__ = source.__code__, source.__defaults__
        old.__kwdefaults__ = source.__kwdefaults__
        vars(old).clear()
        vars(old).update(vars(source))

    fill(new)
    return lambda: fill(before)


def _update_pandas(old: Any, new: Any) -> Undo:
    """As pandas' own ``inplace=True`` does: the frame gets another block manager."""
    before = old.copy(deep=False)
    old._update_inplace(new)
    old.attrs = new.attrs
    if hasattr(new, "name"):
        old.name = new.name

    def undo() -> None:
        old._update_inplace(before)
        old.attrs = before.attrs

    return undo


def _update_instance(old: Any, new: Any) -> Undo:
    """Elements, attributes and slots of an instance become those of another one."""
    undone: list[Undo] = []
    base = plain_base(_type(old))
    if base in (set, *DICTS):
        undone.append(_refill(old, new))
    elif base in (list, deque):
        undone.append(_relist(base, old, new))
    if isinstance(old, BaseException):
        undone.append(_reset(old, new, ("args",)))
    if type(state := getattr(old, "__dict__", None)) is dict:
        undone.append(_update_hashed(state, dict(vars(new))))
    undone.append(_update_slots(old, new))

    def undo() -> None:
        for step in undone:
            step()

    return undo


def _refill(old: Any, new: Any) -> Undo:
    before = set(old) if isinstance(old, set) else dict(dict.items(old))
    _fill(old, new)
    return lambda: _fill(old, before)


def _relist(base: Any, old: Any, new: Any) -> Undo:
    before = list(base.__iter__(old))

    def fill(content: Any) -> None:
        base.clear(old)
        base.extend(old, content)

    fill(list(base.__iter__(new)))
    return lambda: fill(before)


def _reset(old: Any, new: Any, names: Iterable[str]) -> Undo:
    before = {name: getattr(old, name) for name in names}
    for name in before:
        setattr(old, name, getattr(new, name))

    def undo() -> None:
        for name, value in before.items():
            setattr(old, name, value)

    return undo


def _update_slots(old: Any, new: Any) -> Undo:
    slots = slots_of(_type(old)).values()
    before = [slot_of(old, slot) for slot in slots]

    def fill(content: Iterable[Any]) -> None:
        for slot, value in zip(slots, content, strict=True):
            if value is not UNSET:
                slot.__set__(old, value)
            elif slot_of(old, slot) is not UNSET:
                slot.__delete__(old)

    fill([slot_of(new, slot) for slot in slots])
    return lambda: fill(before)


# --- types of libraries ----------------------------------------------------------------------
Setter = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]


def _setter(obj: Any) -> Setter | None:
    """How the content of some types with parts in C is taken and set."""
    kind = type(obj)
    where = f"{kind.__module__}.{kind.__qualname__}"
    if where in ("numpy.random.mtrand.RandomState",):
        return kind.get_state, kind.set_state
    if where.startswith("numpy.random._") and hasattr(kind, "state"):
        return lambda o: o.state, lambda o, state: setattr(o, "state", state)
    if where == "random.Random":
        return kind.getstate, kind.setstate
    if where == "types.SimpleNamespace":
        return lambda o: dict(vars(o)), _fill_attributes
    if where == "array.array":
        return (lambda o: o[:]), lambda o, content: o.__setitem__(slice(None), content)
    if where in ("_io.StringIO", "_io.BytesIO"):
        return lambda o: o.__getstate__(), lambda o, state: o.__setstate__(state)
    if where in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        return _content_of_tensor, _fill_tensor
    return None


def _fill_attributes(obj: Any, attributes: dict[str, Any]) -> None:
    vars(obj).clear()
    vars(obj).update(attributes)


def _content_of_tensor(tensor: Any) -> Any:
    gradient = tensor.grad
    return tensor.detach().clone(), None if gradient is None else gradient.detach().clone()


def _fill_tensor(tensor: Any, content: Any) -> None:
    data, gradient = content
    same = (data.shape, data.dtype, data.device) == (tensor.shape, tensor.dtype, tensor.device)
    if same:
        tensor.data.copy_(data)  # whatever shares its memory sees it, too
    else:
        tensor.data = data
    tensor.grad = gradient


def _update_by(setter: Setter, old: Any, new: Any) -> Undo:
    take, fill = setter
    before = take(old)
    fill(old, take(new))
    return lambda: fill(old, before)


def fits(old: Any, new: Any) -> bool:
    """Can an array take over another one's elements, each at its own place in memory?"""
    return bool(old.dtype == new.dtype and old.shape == new.shape) and can_change(old)


def copy_arrays(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Last, as this cannot fail (dtype and shape are equal) and needs no second copy to undo it.

    Of arrays that share memory only those elements are written that were changed elsewhere. An
    interrupt in between is raised when all is done.
    """
    arrays = [(old, new) for old, new in pairs if is_array(old)]
    places = [_changed_places(old, new, arrays) for old, new in arrays]
    interrupted: KeyboardInterrupt | None = None
    for (old, new), where in zip(arrays, places, strict=True):
        try:
            old[where] = new[where]
        except KeyboardInterrupt as interrupt:
            old[where] = new[where]
            interrupted = interrupt
    if interrupted is not None:
        raise interrupted


def _changed_places(old: Any, new: Any, arrays: list[tuple[Any, Any]]) -> Any:
    numpy = sys.modules["numpy"]
    if not any(other is not old and numpy.may_share_memory(other, old) for other, _ in arrays):
        return ...
    return (old != new) & ~((old != old) & (new != new))  # not: a NaN that stayed one


def _type(obj: Any) -> Any:
    return type(obj)

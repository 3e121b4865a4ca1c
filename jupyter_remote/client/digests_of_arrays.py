"""Arrays, frames and tensors, by what they hold: not how their memory happens to be arranged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol


class Digests(Protocol):
    """What :class:`jupyter_remote.client.digests.Digests` gives to those who know a type."""

    def put(self, kind: str, data: bytes = b"") -> None: ...
    def text(self, kind: str, text: object) -> None: ...
    def visit(self, value: Any) -> None: ...
    def memory(self, address: int, view: Any) -> None: ...


Visit = Callable[[Any, Any], None]


def visit_of(value: Any) -> Visit | None:
    """For types whose pickles are slow, or differ for the same content."""
    root = type(value).__module__.partition(".")[0]
    if root == "numpy":
        return _of_numpy(value)
    if root == "pandas":
        return _of_pandas(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _tensor if type(value) in (torch.Tensor, torch.nn.Parameter) else None
    return None


def _of_numpy(value: Any) -> Visit | None:
    numpy = sys.modules["numpy"]
    if type(value) is numpy.ndarray:
        return _array
    if isinstance(value, numpy.dtype):
        return _dtype
    return _scalar if isinstance(value, numpy.generic) and not value.dtype.hasobject else None


def _of_pandas(value: Any) -> Visit | None:
    pandas = sys.modules["pandas"]
    if type(value) is pandas.DataFrame:
        return _frame
    if type(value) is pandas.Series:
        return _series
    return _index if isinstance(value, pandas.Index) else None


# --- numpy -----------------------------------------------------------------------------------
def _dtype(walk: Digests, dtype: Any) -> None:
    walk.text("dtype", dtype.str if dtype.names is None else repr(dtype))


def _scalar(walk: Digests, value: Any) -> None:
    _dtype(walk, value.dtype)
    walk.put("scalar", value.tobytes())


def _array(walk: Digests, array: Any) -> None:
    _dtype(walk, array.dtype)
    in_columns = array.flags.f_contiguous and not array.flags.c_contiguous
    walk.text("array", (array.shape, bool(array.flags.writeable), in_columns))
    _content(walk, array)


def _content(walk: Digests, array: Any) -> None:
    numpy = sys.modules["numpy"]
    if array.dtype.hasobject or array.dtype.kind == "T":
        return walk.visit(array.ravel().tolist())
    if array.dtype.names is not None:  # there may be gaps between its fields
        for name in array.dtype.names:
            _content(walk, numpy.ascontiguousarray(array[name]))
        return None
    if not array.size or not array.dtype.itemsize:
        return None
    if not array.flags.c_contiguous:
        array = array.T if array.flags.f_contiguous else numpy.ascontiguousarray(array)
    address: int = array.__array_interface__["data"][0]
    return walk.memory(address, memoryview(array.reshape(-1).view(numpy.uint8)))


# --- pandas ----------------------------------------------------------------------------------
def _frame(walk: Digests, frame: Any) -> None:
    walk.text("frame", frame.shape)
    _index(walk, frame.index)
    _index(walk, frame.columns)
    _notes(walk, frame)
    for at in range(frame.shape[1]):
        _values(walk, frame.iloc[:, at])


def _series(walk: Digests, series: Any) -> None:
    walk.text("series", series.shape)
    walk.visit(series.name)
    _index(walk, series.index)
    _notes(walk, series)
    _values(walk, series)


def _notes(walk: Digests, thing: Any) -> None:
    walk.visit(dict(thing.attrs))
    walk.visit(thing.flags.allows_duplicate_labels)


def _index(walk: Digests, index: Any) -> None:
    pandas = sys.modules["pandas"]
    walk.text("index", type(index).__name__)
    walk.visit(tuple(index.names))
    walk.text("freq", getattr(index, "freq", None))
    if isinstance(index, pandas.RangeIndex):
        walk.visit((index.start, index.stop, index.step))
    elif isinstance(index, pandas.MultiIndex):
        for level, codes in zip(index.levels, index.codes, strict=True):
            _index(walk, level)
            _plain_array(walk, codes)
    else:
        _values(walk, index)


def _plain_array(walk: Digests, values: Any) -> None:
    array = sys.modules["numpy"].asarray(values)
    _dtype(walk, array.dtype)
    _content(walk, array)


def _values(walk: Digests, values: Any) -> None:
    """Of a column or an index. What lies under a missing value does not count."""
    pandas, dtype = sys.modules["pandas"], values.dtype
    walk.text("column", dtype if isinstance(dtype, sys.modules["numpy"].dtype) else repr(dtype))
    if isinstance(dtype, sys.modules["numpy"].dtype):
        _plain_array(walk, values)
    elif isinstance(dtype, pandas.CategoricalDtype):
        categorical = values.array if hasattr(values, "array") else values
        _plain_array(walk, categorical.codes)
        _index(walk, categorical.categories)
    elif (numbers := getattr(values.array, "asi8", None)) is not None:
        _plain_array(walk, numbers)
    else:
        missing = sys.modules["numpy"].asarray(values.array.isna())
        _plain_array(walk, missing)
        _plain_array(walk, values.array[~missing].to_numpy())


# --- torch -----------------------------------------------------------------------------------
def _tensor(walk: Digests, tensor: Any) -> None:
    torch = sys.modules["torch"]
    odd = tensor.is_quantized or tensor.is_conj() or tensor.is_neg()
    if tensor.layout is not torch.strided or odd or tensor.device.type not in ("cpu", "cuda"):
        walk.visit(tensor.__reduce_ex__(4))
        return
    told = type(tensor).__name__, tensor.dtype, tuple(tensor.shape), tensor.requires_grad
    walk.text("tensor", (*told, tensor.device.type))
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    _content(walk, flat)
    walk.visit(tensor.grad if tensor.is_leaf else None)
    walk.visit(vars(tensor) or None)

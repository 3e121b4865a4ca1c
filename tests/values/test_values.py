from __future__ import annotations

import dataclasses
import os
import pickle
import random
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jupyter_remote import mapping, wire
from jupyter_remote.errors import CaptureError, DigestMismatch, EnvironmentMismatch
from jupyter_remote.mapping import blob_path, clean_digest, cut, digest_of, flat, map_blob, spool
from jupyter_remote.pickling import versions
from jupyter_remote.values import differences, fingerprint, pack, pack_raw, unpack, with_chunks
from tests.values.trips import notebook, open_up

MIB = 1 << 20


# --- what a parcel is --------------------------------------------------------------------------
def test_small_values_travel_inline() -> None:
    packed = pack({"a": 1, "b": np.arange(10)})
    assert packed.contents == {}
    assert [s.data is not None for s in packed.parcel.segments] == [True]
    assert open_up(packed)["b"].tolist() == list(range(10))


def test_large_arrays_are_views_of_the_values_own_memory() -> None:
    array = np.random.default_rng(0).random(MIB)
    packed = pack(array)
    pickled, buffer = packed.parcel.segments
    assert np.shares_memory(np.frombuffer(packed.contents[buffer.digest]), array)
    assert buffer.digest == digest_of(array)
    assert sum(size for _, size in buffer.chunks) == buffer.size_bytes == array.nbytes
    assert pickled.size_bytes < 1000
    assert not pickled.chunks


def test_chunks_are_left_out_when_asked() -> None:
    assert pack(np.zeros(MIB), chunked=False).parcel.segments[1].chunks == []


def test_chunks_can_be_cut_later() -> None:
    value = [np.arange(MIB), "small"]
    assert with_chunks(pack(value, chunked=False)) == pack(value)
    data = bytes(3 * MIB)
    assert with_chunks(pack_raw(data, chunked=False)) == pack_raw(data)
    assert with_chunks(pack(1)) == pack(1)


def test_a_parcel_survives_the_wire() -> None:
    packed = pack([np.arange(100_000), "x"], names=[wire.NameInfo("a", "list", 3)])
    sent = msgspec.json.decode(msgspec.json.encode(packed.parcel), type=wire.Parcel)
    assert sent == packed.parcel
    assert differences(sent) == []


def test_large_bytes_and_text_travel() -> None:
    value = [b"b" * 3_000_000, "ü" * 2_000_000, bytearray(b"c" * 70_000)]
    packed = pack(value)
    assert packed.parcel.segments[0].chunks
    assert open_up(packed) == value


@pytest.mark.parametrize("size", [0, 10, 70_000, 3 * MIB])
def test_raw_bytes_travel_as_they_are(size: int) -> None:
    data = bytes(size)
    packed = pack_raw(data)
    assert packed.parcel.format == "raw"
    assert (packed.contents == {}) == (size <= wire.INLINE_BYTES)
    assert open_up(packed) == data


def test_memory_errors_and_interrupts_are_not_explained_away() -> None:
    class Big:
        def __reduce__(self) -> Any:
            raise MemoryError

    class Interrupted:
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(MemoryError):
        pack(Big())
    with pytest.raises(KeyboardInterrupt):
        pack(Interrupted())


def test_what_cannot_travel_is_said() -> None:
    with pytest.raises(CaptureError, match=r"item \['k'\] of dict: a generator"):
        pack({"k": (i for i in [])})


# --- round trips -------------------------------------------------------------------------------
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ARRAYS = hnp.arrays(
    st.sampled_from([np.int8, np.float64, np.dtype("M8[s]"), np.complex64, np.bool_]),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=40),
    elements={"allow_nan": False},
)
NESTED = st.recursive(
    SCALARS | st.binary() | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@settings(max_examples=150, deadline=None)
@given(NESTED, st.booleans())
def test_nested_containers_with_arrays_come_back_equal(value: Any, far_apart: bool) -> None:
    everything_beside = pack([value, np.zeros(MIB // 8)] if far_apart else value)
    back = open_up(everything_beside)
    assert same(back[0] if far_apart else back, value)


@settings(max_examples=100, deadline=None)
@given(NESTED)
def test_fingerprints_are_the_same_again_also_after_a_trip(value: Any) -> None:
    values = {"v": value, "w": [value, value], "x": open_up(pack(value))}
    assert fingerprint(values) == fingerprint(values)


BASE = np.arange(240_000.0).reshape(20, 100, 120)
LAYOUTS = {
    "C": BASE,
    "Fortran": np.asfortranarray(BASE),
    "every second": BASE[::2],
    "reversed": BASE[::-1],
    "transposed": BASE.transpose(1, 0, 2),
    "column": BASE[:, :, 3],
    "broadcast": np.broadcast_to(np.arange(1000.0), (300, 1000)),
    "empty": np.empty((0, 5)),
    "no dimensions": np.array(3.0),
    "records": np.zeros(10_000, dtype=[("a", "i4"), ("b", "f8")]),
    "objects": np.array([{"a": 1}, None, "x"] * 10_000, dtype=object),
    "big-endian": BASE.astype(">f8"),
    "masked": np.ma.masked_greater(BASE, 10),
    "text": np.array(["abc", "défg"] * 20_000),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_any_layout_come_back_writable(layout: str) -> None:
    array = LAYOUTS[layout]
    back = open_up(pack({"array": array}))["array"]
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    if array.flags.writeable:
        back.flat[:1] = back.flat[:1]


def test_arrays_with_gaps_travel_beside_the_pickle() -> None:
    packed = pack(BASE[::2])
    assert len(packed.parcel.segments) == 2
    assert packed.parcel.segments[0].size_bytes < 1000


def test_data_frames_come_back_equal_and_can_be_changed() -> None:
    frame = pd.DataFrame(
        {
            "x": np.arange(50_000.0),
            "s": [f"s{i}" for i in range(50_000)],
            "c": pd.Categorical(["a", "b"] * 25_000),
            "t": pd.date_range("2026", periods=50_000, freq="s"),
        }
    )
    back = open_up(pack(frame))
    pd.testing.assert_frame_equal(back, frame)
    back.loc[3, "x"] = -1
    back["new"] = back["x"] * 2
    assert (back["x"][3], frame["x"][3]) == (-1, 3)
    pd.testing.assert_frame_equal(open_up(pack(frame[::2])), frame[::2])


def test_one_object_under_two_names_stays_one() -> None:
    array, items = np.zeros(100_000), [1]
    back = open_up(pack({"a": array, "b": array, "x": items, "y": [items]}))
    assert back["a"] is back["b"]
    assert back["x"] is back["y"][0]


def test_equal_arrays_do_not_become_one() -> None:
    packed = pack([np.zeros(100_000), np.zeros(100_000)])
    assert len(packed.contents) == 2
    one = {d: bytearray(c) for d, c in packed.contents.items()}
    first, second = unpack(packed.parcel, lambda s: one[s.digest])
    first[0] = 1
    assert second[0] == 0


def test_read_only_downloads_are_copied_so_that_arrays_are_writable() -> None:
    packed = pack(np.zeros(100_000))
    downloaded = {d: bytes(c) for d, c in packed.contents.items()}
    array = unpack(packed.parcel, lambda s: downloaded[s.digest])
    array[0] = 1
    assert downloaded[packed.parcel.segments[1].digest][0] == 0


@dataclasses.dataclass
class Streams:
    out: Any = dataclasses.field(default_factory=lambda: sys.stdout)


def test_standard_streams_become_those_of_the_receiver() -> None:
    assert open_up(pack(Streams())).out is sys.stdout


def test_a_client_like_object_that_refuses_to_be_pickled_says_so_itself() -> None:
    class Client:
        def __reduce__(self) -> Any:
            raise TypeError("a client holds a token and stays here")

    with pytest.raises(CaptureError, match="a client holds a token and stays here"):
        pack([Client()])


# --- what is checked before anything is opened ---------------------------------------------------
@pytest.fixture
def opened() -> list[str]:
    """Names that pickle looked up since the fixture began."""
    _found.clear()
    return _found


_found: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        _found.append(".".join(arguments))


sys.addaudithook(_watch)


def marked(**changes: Any) -> wire.Parcel:
    return msgspec.structs.replace(pack(Streams()).parcel, **changes)


def test_the_watch_on_pickle_works(opened: list[str]) -> None:
    unpack(marked(), lambda s: b"")
    assert any(name.endswith("Streams") for name in opened)


def test_bytecode_of_another_python_is_not_opened(opened: list[str]) -> None:
    parcel = marked(magic="cb0d0d0a", python="3.12")
    with pytest.raises(EnvironmentMismatch, match=r"Python 3\.12 there") as caught:
        unpack(parcel, lambda s: b"")
    assert opened == []
    assert caught.value.hint
    assert [d.fatal for d in differences(parcel)] == [True]


def test_another_major_version_of_a_package_is_not_opened(opened: list[str]) -> None:
    with pytest.raises(EnvironmentMismatch, match=r"numpy 1\.26\.4 there, .* here"):
        unpack(marked(versions={"numpy": "1.26.4"}), lambda s: b"")
    assert opened == []


def test_another_minor_version_is_named_but_goes() -> None:
    major = np.__version__.split(".")[0]
    parcel = marked(versions={"numpy": f"{major}.999"})
    (found,) = differences(parcel)
    assert not found.fatal
    unpack(parcel, lambda s: b"")


def test_packages_count_only_where_the_pickle_names_them() -> None:
    assert pack(5).parcel.versions == {}
    assert set(pack(np.arange(3)).parcel.versions) == {"numpy"}
    assert "pandas" in pack(pd.DataFrame({"a": [1]})).parcel.versions
    home = notebook("def f(): pass")
    assert set(pack(home["f"], namespace=home).parcel.versions) == {"cloudpickle"}


def test_a_package_that_is_not_here_does_not_count() -> None:
    assert differences(marked(versions={"torch_of_the_future": "9"})) == []
    assert versions._version_of("torch_of_the_future") == ""


@pytest.mark.parametrize("damage", ["flip", "short", "long", "empty"])
def test_damaged_bytes_are_not_opened(opened: list[str], damage: str) -> None:
    packed = pack([Streams(), np.zeros(100_000)])

    def fetch(segment: wire.Segment) -> bytearray:
        data = bytearray(packed.contents[segment.digest])
        if segment is packed.parcel.segments[1]:
            data[500] ^= damage == "flip"
            data = {"short": data[:-1], "long": data + b"x", "empty": bytearray()}.get(damage, data)
        return data

    opened.clear()
    with pytest.raises(DigestMismatch):
        unpack(packed.parcel, fetch)
    assert opened == []


def test_damaged_inline_bytes_are_not_opened(opened: list[str]) -> None:
    parcel = marked()
    (segment,) = parcel.segments
    bad = msgspec.structs.replace(segment, data=pickle.dumps(Path("x"))[: segment.size_bytes])
    opened.clear()
    with pytest.raises(DigestMismatch):
        unpack(msgspec.structs.replace(parcel, segments=[bad]), lambda s: b"")
    assert opened == []


# --- chunks ------------------------------------------------------------------------------------
def test_an_insertion_changes_few_chunks() -> None:
    data = random.Random(0).randbytes(64 * MIB)
    at = 31 * MIB + 7
    before, after = cut(data), cut(data[:at] + os.urandom(100) + data[at:])
    assert sum(size for chunk, size in set(after) - set(before)) <= 300_000
    assert sum(size for _, size in after) == len(data) + 100


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_chunks_join_to_the_whole(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert sum(n for _, n in cut(data[:size])) == size


# --- files -------------------------------------------------------------------------------------
@pytest.fixture
def stored(tmp_path: Path) -> tuple[np.ndarray, Any, Path]:
    """An array, its parcel, and the folder where its segments are mapped from."""
    array = np.random.default_rng(1).random(MIB)
    packed = pack([array], chunked=False)
    for digest, name in spool(packed.contents, tmp_path).items():
        blob_path(tmp_path, digest).parent.mkdir(exist_ok=True)
        (tmp_path / name).rename(blob_path(tmp_path, digest))
    return array, packed, tmp_path


def mapped(parcel: wire.Parcel, folder: Path) -> Any:
    def fetch(segment: wire.Segment) -> memoryview:
        return map_blob(blob_path(folder, segment.digest), segment.digest, segment.size_bytes)

    return unpack(parcel, fetch)


def test_a_mapped_array_is_writable_and_private(stored: Any) -> None:
    array, packed, folder = stored
    (one,), (two,) = mapped(packed.parcel, folder), mapped(packed.parcel, folder)
    one[0] = -1
    assert (one[0], two[0]) == (-1, array[0])
    assert mapped(packed.parcel, folder)[0][0] == array[0]


def test_an_untouched_mapping_is_known_and_not_hashed(stored: Any, monkeypatch: Any) -> None:
    array, packed, folder = stored
    (back,) = mapped(packed.parcel, folder)
    digest = packed.parcel.segments[1].digest
    assert back.sum() == pytest.approx(array.sum())
    assert clean_digest(back) == digest
    monkeypatch.setattr("jupyter_remote.values.digest_of", _only_small)
    again = pack({"again": back}, chunked=False)
    assert again.parcel.segments[1].digest == digest
    assert flat(again.contents[digest]).nbytes == array.nbytes


def _only_small(view: memoryview) -> str:
    assert view.nbytes < MIB
    return digest_of(view)


def test_a_touched_mapping_and_a_part_of_one_are_not_clean(stored: Any) -> None:
    array, packed, folder = stored
    (back,) = mapped(packed.parcel, folder)
    for part in (back[1:], back[:-1], back[: MIB // 2], back.view("u1")[8:]):
        assert clean_digest(part) is None
    back[MIB // 2] += 1
    assert clean_digest(back) is None
    assert pack([back]).parcel.segments[1].digest == digest_of(back) != digest_of(array)


def test_a_mapping_is_forgotten_with_the_last_array_in_it(stored: Any) -> None:
    _, packed, folder = stored
    before = len(mapping._mapped)
    back = mapped(packed.parcel, folder)
    part = back[0][10:20]
    assert len(mapping._mapped) == before + 1
    del back
    assert part.sum() > 0
    assert len(mapping._mapped) == before + 1
    del part
    assert len(mapping._mapped) == before


def test_a_damaged_file_is_noticed(stored: Any) -> None:
    _, packed, folder = stored
    path = blob_path(folder, packed.parcel.segments[1].digest)
    mapped(packed.parcel, folder)
    with path.open("r+b") as file:
        file.seek(12345)
        file.write(b"?")
    with pytest.raises(DigestMismatch):
        mapped(packed.parcel, folder)
    os.truncate(path, 100)
    with pytest.raises(DigestMismatch, match="100 bytes instead of"):
        mapped(packed.parcel, folder)


def test_an_empty_blob_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert bytes(map_blob(path, digest_of(b""), 0)) == b""


def test_without_a_page_table_mappings_are_hashed(stored: Any, monkeypatch: Any) -> None:
    _, packed, folder = stored
    (back,) = mapped(packed.parcel, folder)

    def refuses(*_: object, **__: object) -> int:
        raise PermissionError

    monkeypatch.setattr("jupyter_remote.mapping.os.open", refuses)
    assert clean_digest(back) is None
    assert pack([back]).parcel.segments[1].digest == packed.parcel.segments[1].digest


def test_a_child_process_knows_what_it_changed(stored: Any) -> None:
    _, packed, folder = stored
    (back,) = mapped(packed.parcel, folder)
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        before = clean_digest(back) is not None
        back[0] = 1
        os.write(write_end, bytes([before, clean_digest(back) is None]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read_end, 2) == b"\1\1"
    assert clean_digest(back) is not None
    os.close(read_end)
    os.close(write_end)


def test_a_child_process_can_hash_after_its_parent_did() -> None:
    data = bytes(8 * MIB)
    digest = digest_of(data)
    if (child := os.fork()) == 0:
        signal.alarm(10)  # a hash that waits for its parent's threads would never end
        os._exit(0 if digest_of(data) == digest else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_spool_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BufferError):
        spool({"a": b"1", "b": memoryview(b"12345678")[::2]}, tmp_path)
    assert list(tmp_path.iterdir()) == []

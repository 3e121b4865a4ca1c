"""Large values are not copied on their way. Each measure is taken in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MIB = 1 << 20
_MEASURE = """
import resource, sys, numpy, tempfile, pathlib
import jupyter_remote.values as values
from jupyter_remote.mapping import spool, map_blob, clean_digest
from cloudpickle import cloudpickle
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
values.unpack(values.pack(numpy.zeros(3)).parcel, lambda s: b"")
"""


def measure(source: str, folder: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE + source],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(done.stdout)


def test_packing_takes_no_second_copy(tmp_path: Path) -> None:
    source = """
value = {"a": numpy.ones(24 << 20), "b": [numpy.ones(8 << 20, "u8")]}
before = peak()
packed = values.pack(value)
names = spool(packed.contents, ".")
print(peak() - before)
"""
    assert measure(source, tmp_path) < 0.3 * 256


def test_a_mapping_that_is_only_looked_through_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    source = """
size = 256 << 20
with open("blob", "wb") as file:
    file.truncate(size)
digest = values.digest_of(numpy.zeros(size, "u1"))
def private():
    return sum(int(l.split()[1]) for l in open("/proc/self/smaps_rollup") if "Private_Dirty" in l)
before = private()
array = numpy.frombuffer(map_blob("blob", digest, size), "u1")
assert values.fingerprint({"a": array, "b": {"a": array}})
assert clean_digest(array) == digest
print((private() - before) // 1024)
"""
    assert measure(source, tmp_path) < 16


def test_more_than_4_gib_is_packed_and_opened(tmp_path: Path) -> None:
    """With pages of zeros: it takes time, not memory."""
    source = """
size = (4 << 30) + 4096
array = numpy.zeros(size, "u1")
packed = values.pack(array, chunked=False)
segment = packed.parcel.segments[1]
assert segment.size_bytes == size and packed.contents[segment.digest].nbytes == size
back = values.unpack(packed.parcel, lambda s: array if s is segment else packed.contents[s.digest])
assert back.nbytes == size
print(peak())
"""
    assert (
        measure(source, tmp_path) < 2048
    )  # a copy would take 4096; what pages of zeros take varies

"""Which distributions the code of a job imports, at which versions they are here, and what no index
has: those travel as wheels that are made from what is installed."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import importlib.metadata
import io
import json
import sys
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath

import msgspec
from packaging.requirements import Requirement

from jupyter_remote import values
from jupyter_remote.amounts import size as in_words
from jupyter_remote.client.files import CapturedFile
from jupyter_remote.distributions import canonical, stamp
from jupyter_remote.errors import EnvironmentUnavailable
from jupyter_remote.wire import FileRef

Stamp = tuple[tuple[str, int], ...]

OUR_NAME = "jupyter-remote-run"
WHEEL_BYTES = 300_000_000
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same content is the same wheel
NOT_CARRIED = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # of the installation here


def imported(modules: Iterable[str], local: Iterable[str] = ()) -> list[str]:
    """Canonical names of the distributions that these modules, dotted names, come from. ``local``
    ones travel as files."""
    own = {*sys.stdlib_module_names, "jupyter_remote", "__main__", *local}
    now = stamp()
    found: dict[str, None] = {}
    for module in modules:
        top = module.partition(".")[0]
        if top and top not in own:
            found.update(dict.fromkeys(_distributions_of(module, top, now)))
    return [name for name in found if name != OUR_NAME]


@functools.lru_cache(4096)
def _distributions_of(module: str, top: str, now: Stamp) -> tuple[str, ...]:
    names = list(dict.fromkeys(_by_module(now).get(top, ())))
    if len(names) > 1:  # a namespace that several share: those that have this very module
        path = module.replace(".", "/")
        having = [n for n in names if any(_is_of(file, path) for file in _files(n))]
        names = having or names
    return tuple(canonical(name) for name in names)


def _is_of(file: PackagePath, path: str) -> bool:
    text = file.as_posix()
    return text.startswith((f"{path}/", f"{path}."))


def _files(name: str) -> list[PackagePath]:
    return importlib.metadata.distribution(name).files or []


@functools.lru_cache(1)
def _by_module(now: Stamp) -> Mapping[str, list[str]]:
    """Takes a while: it reads what every distribution holds."""
    return importlib.metadata.packages_distributions()


@functools.lru_cache(1)
def of_the_worker() -> frozenset[str]:
    """What every worker has, since it needs it itself: in which version does not matter."""
    try:
        needed = [Requirement(text) for text in importlib.metadata.requires(OUR_NAME) or []]
    except PackageNotFoundError:  # run from its sources
        return frozenset()
    always = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return frozenset(canonical(requirement.name) for requirement in always)


def version_of(name: str) -> str:
    """Of a distribution that is installed here; empty: it is not."""
    try:
        return importlib.metadata.version(name)
    except PackageNotFoundError:
        return ""


class Origin(msgspec.Struct, frozen=True):
    """Where an installation came from, if it was not an index."""

    url: str = ""
    editable: bool = False


def origin_of(name: str) -> Origin:
    try:
        text = importlib.metadata.distribution(name).read_text("direct_url.json")
    except PackageNotFoundError:
        return Origin()
    if not text:
        return Origin()
    told = json.loads(text)
    editable = bool(told.get("dir_info", {}).get("editable"))
    return Origin(url=str(told.get("url", "")), editable=editable)


# --- wheels ----------------------------------------------------------------------------------
@functools.lru_cache(64)
def wheel_of(name: str, version: str, now: Stamp) -> CapturedFile:
    """The distribution as it is installed here, as a wheel; its scripts stay behind.

    Raises EnvironmentUnavailable where that cannot be, or is too large.
    """
    distribution = importlib.metadata.distribution(name)
    files = {file.as_posix(): file for file in distribution.files or [] if _travels(file)}
    info = next((f.rpartition("/")[0] for f in files if f.endswith(".dist-info/WHEEL")), "")
    what = f"{name} {version} is in no index, and it cannot travel"
    if not info:
        raise EnvironmentUnavailable(
            f"{what}: it is not said which files it consists of.",
            hint="Install it with pip, or leave it out of a file that --env names.",
        )
    size = sum(_size_of(file) for file in files.values())
    if size > WHEEL_BYTES:
        raise EnvironmentUnavailable(
            f"{what}: it has {in_words(size)} (limit: {in_words(WHEEL_BYTES)}).",
            hint="Name a version that an index has, with --env FILE.",
        )
    data = _zipped(files, info)
    packed = values.pack_raw(data, chunked=False)
    segment = msgspec.structs.replace(packed.parcel.segments[0], data=None)
    label = f"{info.removesuffix('.dist-info')}-{_tag_of(distribution)}.whl"
    return CapturedFile(FileRef(label, segment, 0o644), data)


def _travels(file: PackagePath) -> bool:
    outside = file.parts[0] == ".." or file.is_absolute()
    made = file.suffix == ".pyc" or "__pycache__" in file.parts
    of_here = file.parts[0].endswith(".dist-info") and file.name in NOT_CARRIED
    return not (outside or made or of_here)


def _size_of(file: PackagePath) -> int:
    path = file.locate()
    try:
        return path.stat().st_size  # type: ignore[attr-defined, no-any-return]
    except OSError:
        return 0


def _zipped(files: Mapping[str, PackagePath], info: str) -> bytes:
    out = io.BytesIO()
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, file in sorted(files.items()):
            try:
                data = file.read_binary()
            except OSError:  # somebody removed it
                continue
            archive.writestr(zipfile.ZipInfo(path, ZIP_DATE), data, zipfile.ZIP_DEFLATED)
            rows.writerow([path, _hash_of(data), len(data)])
        rows.writerow([f"{info}/RECORD", "", ""])
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD", ZIP_DATE), record.getvalue())
    return out.getvalue()


def _hash_of(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def _tag_of(distribution: Distribution) -> str:
    """``py3-none-any``: for which Python and platform it was made; several in one."""
    lines = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.partition(":")[2].strip() for line in lines if line.startswith("Tag:")]
    parts = zip(*(tag.split("-") for tag in tags if tag.count("-") == 2), strict=True)
    return "-".join(".".join(dict.fromkeys(part)) for part in parts) or "py3-none-any"

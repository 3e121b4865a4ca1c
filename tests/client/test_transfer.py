"""What is sent and fetched: once, in pieces, mapped on the same machine, verified."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote import errors, mapping, values, wire
from jupyter_remote.client.api import Client
from jupyter_remote.outputs import outputs_of

from .fake_backend import FakeBackend

LARGE = os.urandom(3 * 1024 * 1024)


def same(value: object) -> object:
    return value


def puts(backend: FakeBackend) -> int:
    return sum(method == "PUT" for method, _, _ in backend.requests)


def test_large_values_travel_in_chunks_and_only_new_ones(
    client: Client, backend: FakeBackend
) -> None:
    assert client.submit(same, bytearray(LARGE)).result(60) == LARGE
    first = puts(backend)
    assert first > 5
    backend.requests.clear()
    changed = LARGE[: len(LARGE) // 2] + b"100 bytes" + LARGE[len(LARGE) // 2 :]
    assert client.submit(same, bytearray(changed)).result(60) == changed
    assert 0 < puts(backend) < first / 3
    backend.requests.clear()
    client.submit(same, bytearray(changed)).result(60)
    assert puts(backend) == 0


def test_the_function_of_a_batch_is_written_once(client: Client, backend: FakeBackend) -> None:
    table = os.urandom(10_000)

    def use(x: int) -> int:
        return table[x]

    assert client.map(use, range(100)).results(60) == list(table[:100])
    assert puts(backend) == 1


@pytest.mark.parametrize("passes", [True, False])
def test_an_interrupt_of_the_submit_leaves_no_job_behind(
    client: Client, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    """``passes``: the request itself came to the backend."""
    link = client._context.link
    call = link.call

    def interrupted(method: str, path: str, *args: Any, **how: Any) -> Any:
        if (method, path) == ("POST", "/v1/jobs"):
            if passes:
                call(method, path, *args, **how)
            raise KeyboardInterrupt
        return call(method, path, *args, **how)

    backend.state.hold.clear()
    monkeypatch.setattr(link, "call", interrupted)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        client.submit(same, 1)
    said = "will not run" if passes else "may run"
    assert said in interrupt.value.__notes__[0]
    assert [job.cancelled.is_set() for job in backend.state.jobs.values()] == [True] * passes


def test_an_interrupt_while_values_are_sent_cancels_the_job(
    client: Client, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jupyter_remote.client.transfer.send", interrupted)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        client.submit(same, bytearray(LARGE))
    assert "will not run" in interrupt.value.__notes__[0]
    (job,) = backend.state.jobs.values()
    assert job.cancelled.is_set()


def test_large_files_travel_in_chunks_and_only_new_ones(
    client: Client, backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.bin").write_bytes(LARGE)
    sending = client.with_options(files=["data.bin"])
    sending.submit(same, 1).result(60)
    first = puts(backend)
    assert first > 5
    backend.requests.clear()
    Path("data.bin").write_bytes(LARGE[:1000] + b"100 bytes" + LARGE[1000:])
    sending.submit(same, 1).result(60)
    assert 0 < puts(backend) < first / 3


def test_what_this_process_handed_over_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(100_000)
    (tmp_path / "written").write_bytes(data)
    digest = mapping.digest_of(data)
    mapping.trust((tmp_path / "written").stat(), digest)
    hashed: list[int] = []
    monkeypatch.setattr(mapping, "digest_of", lambda b: hashed.append(len(b)) or digest)
    assert bytes(mapping.map_blob(tmp_path / "written", digest, len(data))) == data
    assert not hashed
    (tmp_path / "written").write_bytes(data)  # another time of change: another file
    mapping.map_blob(tmp_path / "written", digest, len(data))
    assert hashed


def test_on_one_machine_one_file_is_handed_over(
    client: Client, backend: FakeBackend, tmp_path: Path
) -> None:
    backend.spool = str(tmp_path)
    assert client.submit(same, bytearray(LARGE)).result(60) == LARGE
    assert puts(backend) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_reached_is_not_used(client: Client, backend: FakeBackend) -> None:
    backend.spool = "/no/such/folder/of/another/machine"
    assert client.submit(same, bytearray(LARGE)).result(60) == LARGE


def test_a_bar_shows_what_is_being_sent(client: Client, backend: FakeBackend) -> None:
    bars: list[wire.Bar] = []
    stages: list[str] = []

    def note(event: wire.Event) -> None:
        if event.type == "progress":
            bars.append(msgspec.json.decode(event.data, type=wire.Bar))
        if event.type == "status":
            stages.append(msgspec.json.decode(event.data).get("stage", ""))

    inputs = values.pack(((bytearray(3 * LARGE),), {}), chunked=False)
    spec = wire.JobSpec(kind="call", function=values.pack(len).parcel, inputs=inputs.parcel)
    assert client.submit_spec(spec, [inputs], on_event=note).result(60) == 3 * len(LARGE)
    assert "sending inputs" in stages
    assert [bar.n for bar in bars] == sorted(bar.n for bar in bars)


def test_damaged_bytes_are_not_used(client: Client, backend: FakeBackend) -> None:
    job = client.submit(same, bytearray(LARGE))
    assert job.wait(60)
    for digest, data in list(backend.state.blobs.items()):
        backend.state.blobs[digest] = b"x" + data[1:]
    with pytest.raises(errors.DigestMismatch):
        job.result()


def event(type: str, **data: object) -> wire.Event:
    return wire.Event(job="j", type=type, data=wire.raw(data))


def test_outputs_are_those_of_a_cell() -> None:
    shown = {"data": {"text/plain": "1"}, "metadata": {}, "transient": {"display_id": "d"}}
    events = [
        event("stream", name="stdout", text="gone"),
        event("clear_output", wait=True),
        event("stream", name="stdout", text="a"),
        event("stream", name="stdout", text="b\n"),
        event("stream", name="stderr", text="c"),
        event("display_data", **shown),
        event("update_display_data", **{**shown, "data": {"text/plain": "2"}}),
        event("folded", name="stdout", bytes=600, lines=4),
        event("folded", name="stdout", bytes=1000, lines=7),
        event("folded", name="display_data", bytes=0, lines=0, displays=3),
        event("error", ename="E", evalue="v", traceback=["t"]),
    ]
    assert outputs_of(events) == [
        {"output_type": "stream", "name": "stdout", "text": "ab\n"},
        {"output_type": "stream", "name": "stderr", "text": "c"},
        {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "2"}},
        {
            "output_type": "stream",
            "name": "stderr",
            "text": "[too much to show all of it here: %remote logs j]\n",
        },
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
        {
            "output_type": "stream",
            "name": "stderr",
            "text": "[1000 B, 7 lines left out here]\n"
            "[3 displays were left out, too many at a time: show fewer, or keep them in a "
            "variable]\n",
        },
    ]

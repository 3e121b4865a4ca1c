"""What a job prints arrives once and whole, however often who listens or serves is killed."""

from __future__ import annotations

import os
import random

import pytest

from tests.e2e.stitching import Stitcher, kill_backend, write_until_gate
from tests.e2e.waiting import until

KILLS = int(os.environ.get("STREAM_KILLS", "20"))


@pytest.fixture
def printing(client, tmp_path):
    transcript, gate = tmp_path / "transcript", tmp_path / "gate"
    job = client.submit(write_until_gate, str(transcript), str(gate), 1, 400.0 + 2 * KILLS)
    until(transcript.exists)
    yield job, transcript, gate
    gate.touch()


@pytest.mark.timeout(600 + 2 * KILLS)
def test_a_stream_of_readers_that_are_killed_is_the_transcript(printing, tmp_path):
    job, transcript, gate = printing
    stitcher = Stitcher(job.id, tmp_path, random.Random(2))
    for _ in range(KILLS):
        stitcher.read_until_killed()
    stitcher.close()
    before, last = stitcher.told, stitcher.reader()
    until(lambda: stitcher.told > before)
    gate.touch()
    assert job.result(60) > 0
    assert last.wait(60) == 0
    stitcher.check(transcript)
    assert stitcher.text() == job.stdout


@pytest.mark.timeout(120)
def test_a_reader_goes_on_where_a_killed_backend_left_off(client, printing, tmp_path):
    job, transcript, gate = printing
    stitcher = Stitcher(job.id, tmp_path, random.Random(3))
    stitcher.close()
    reader = stitcher.reader()
    for _ in range(3):
        before = stitcher.told
        until(lambda before=before: stitcher.told > before + 20)
        kill_backend(client)
    until(lambda: stitcher.told > 100)
    gate.touch()
    assert reader.wait(60) == 0
    assert job.result(60) > 0
    stitcher.check(transcript)
    assert stitcher.text() == job.stdout

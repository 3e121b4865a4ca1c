"""What is shown live of too much output: nothing is lost unsaid, and it stays bounded."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.worker.folding import Bounds, Folding, collapse
from jupyter_remote.worker.holding import Shown
from jupyter_remote.worker.spill import Spill

SMALL = Bounds(
    total_bytes=10_000, bytes_per_s=1000, trickle_bytes_per_s=10, line_bytes=500, tail_bytes=200
)

FEW_LINES = Bounds(total_lines=40, tail_lines=3, trickle_lines_per_s=2)


def texts(shown: list[Shown]) -> str:
    return "".join(msgspec.json.decode(s.data)["text"] for s in shown if s.type == "stream")


def folded(shown: list[Shown]) -> dict[str, tuple[int, int]]:
    counts = [msgspec.json.decode(s.data) for s in shown if s.type == "folded"]
    return {c["name"]: (c["bytes"], c["lines"]) for c in counts}


def folded_displays(shown: list[Shown]) -> int:
    counts = [msgspec.json.decode(s.data) for s in shown if s.type == "folded"]
    assert all(c["lines"] == 0 for c in counts if c["name"] == "display_data")
    return [c["displays"] for c in counts if c["name"] == "display_data"][-1]


def test_ordinary_output_passes_as_it_is():
    folding = Folding(Bounds())
    assert texts(folding.text("stdout", "hello\n", 0.0)) == "hello\n"
    assert folding.end(1.0) == []
    assert not folding.folded


def test_a_burst_is_folded_and_its_last_lines_are_shown_at_the_end():
    folding = Folding(SMALL)
    flood = "".join(f"line {i}\n" for i in range(2000))
    shown = folding.text("stdout", flood, 0.0) + folding.end(0.1)
    live = texts(shown)
    assert live.startswith("line 0\n")
    assert live.endswith("line 1999\n")
    assert len(live) < 2300
    lines = live.splitlines()
    assert all(line in flood for line in lines)
    assert folded(shown)["stdout"] == (len(flood) - len(live), 2000 - len(lines))


def test_output_is_live_again_when_a_flood_ebbs():
    folding = Folding(SMALL)
    folding.text("stdout", "x\n" * 5000, 0.0)
    assert texts(folding.tick(0.1)) == ""
    assert texts(folding.tick(5.0)).endswith("x\n")
    assert texts(folding.text("stdout", "quiet\n", 5.1)) == "quiet\n"


def test_counts_are_told_once_a_second_at_most():
    folding = Folding(SMALL)
    shown = []
    for i in range(1000):
        shown += folding.text("stdout", "x" * 99 + "\n", i / 200)
    assert 2 <= sum(s.type == "folded" for s in shown) <= 6


def test_after_the_total_only_a_trickle_is_shown_however_long_it_lasts():
    folding = Folding(SMALL)
    shown = []
    for i in range(20_000):
        shown += folding.text("stdout", "x" * 99 + "\n", i / 10)
    shown += folding.end(2000.0)
    assert len(texts(shown)) < 10_000 + 2000 * 10 + 3000
    assert sum(s.type == "folded" for s in shown) < 300


def test_a_million_lines_are_some_thousands_and_the_newest_whatever_their_pieces():
    for lines_a_piece in (1, 50, 20_000):
        folding = Folding(Bounds())
        shown = []
        for start in range(0, 1_000_000, lines_a_piece):
            piece = "".join(f"{i}\n" for i in range(start, start + lines_a_piece))
            shown += folding.text("stdout", piece, start / 100_000)
        shown += folding.end(10.0)
        live = texts(shown).splitlines()
        assert live[0] == "0"
        assert live[-1] == "999999"
        assert 5_000 < len(live) < 21_000
        assert len(live) + folded(shown)["stdout"][1] == 1_000_000


def test_an_hour_of_lines_after_the_limit_stays_readable():
    folding = Folding(Bounds())
    folding.text("stdout", "x\n" * 20_000, 0.0)
    shown = [s for i in range(36_000) for s in folding.text("stdout", f"{i}\n" * 9, i / 10)]
    assert 1_000 < texts(shown).count("\n") < 10_000


def test_small_pieces_that_alternate_are_bounded_as_messages():
    folding = Folding(Bounds())
    shown = []
    for i in range(100_000):
        shown += folding.text(("stdout", "stderr")[i % 2], ".", i / 100_000)
    shown += folding.end(1.0)
    assert len(shown) < 20_000
    assert sum(size for size, _ in folded(shown).values()) + len(texts(shown)) == 100_000


def test_the_newest_display_of_a_flood_is_shown():
    folding = Folding(Bounds())
    shown = []
    for i in range(5000):
        shown += folding.display("display_data", b'{"data":{"text/plain":"%d"}}' % i, i / 5000)
    shown += folding.end(1.0)
    assert b"4999" in [s for s in shown if s.type == "display_data"][-1].data


def test_a_line_without_end_is_cut_and_counted():
    folding = Folding(SMALL)
    shown = folding.text("stdout", "y" * 100_000, 0.0)
    shown += folding.text("stdout", "y" * 100_000, 0.1)
    shown += folding.text("stdout", "\nnext\n", 0.2)
    shown += folding.end(0.3)
    live = texts(shown)
    assert live == "y" * 500 + "…" + "\nnext\n"
    assert folded(shown)["stdout"] == (200_000 - 500, 0)


def test_a_huge_display_is_named_and_left_out():
    folding = Folding(Bounds())
    (shown,) = folding.display("display_data", b"x" * 21 * 1024 * 1024, 0.0)
    assert shown.type == "notice"
    assert b"display_data of 21 MB is not shown: the limit is 20 MB" in shown.data


def test_displays_above_their_rate_are_counted():
    folding = Folding(Bounds())
    shown = [s for _ in range(60) for s in folding.display("display_data", b"x" * 1024**2, 0.0)]
    shown += folding.end(0.0)
    seen = sum(s.type == "display_data" for s in shown)
    assert 0 < seen < 60
    assert folded_displays(shown) == 60 - seen


def test_of_too_many_updates_of_a_display_the_last_is_shown():
    folding = Folding(Bounds())
    shown = []
    for i in range(5000):
        data = {"data": {"text/plain": str(i)}, "transient": {"display_id": "a"}}
        shown += folding.display("update_display_data", msgspec.json.encode(data), i / 5000)
    shown += folding.end(1.0)
    updates = [s for s in shown if s.type == "update_display_data"]
    assert len(updates) < 4500
    assert b"4999" in updates[-1].data
    assert folded_displays(shown) == 5000 - len(updates)


def displayed(i: int) -> tuple[str, bytes]:
    return "display_data", msgspec.json.encode({"data": {"text/plain": str(i)}, "transient": {}})


def cleared(*, wait: bool) -> tuple[str, bytes]:
    return "clear_output", msgspec.json.encode({"wait": wait})


class Cell:
    """What a front end shows of the outputs of a cell."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.displays: list[str] = []
        self._clear_next = False

    def take(self, shown: Shown) -> None:
        data = msgspec.json.decode(shown.data)
        if shown.type == "clear_output" and data["wait"]:
            self._clear_next = True
        elif shown.type == "clear_output":
            self.__init__()  # type: ignore[misc]
        elif shown.type in ("stream", "display_data"):
            if self._clear_next:
                self.__init__()  # type: ignore[misc]
            if shown.type == "stream":
                self.texts += data["text"].splitlines()
            else:
                self.displays.append(data["data"]["text/plain"])


def cell_of(shown: list[Shown]) -> Cell:
    cell = Cell()
    for one in shown:
        cell.take(one)
    return cell


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("clears_first", [True, False])
def test_a_flood_of_frames_ends_with_the_last(wait: bool, clears_first: bool):
    folding, all_of_it, shown = Folding(Bounds()), [], []
    for i in range(5000):
        frame = [Shown(*displayed(i)), Shown(*cleared(wait=wait))]
        for one in reversed(frame) if clears_first else frame:
            all_of_it.append(one)
            shown += folding.display(one.type, one.data, i / 5000)
    shown += folding.end(1.0)
    assert cell_of(shown).displays == cell_of(all_of_it).displays
    assert len(shown) < 9000
    assert folded_displays(shown) + sum(s.type == "display_data" for s in shown) == 5000


def test_texts_after_a_clear_that_waits_wait_with_it():
    folding, shown = Folding(Bounds(displays_bytes_per_s=160_000, display_bytes=1000)), []
    for i in range(200):
        shown += folding.display(*cleared(wait=False), i / 1000)
        shown += folding.text("stdout", f"{i}\n", i / 1000)
    assert sum(s.type == "clear_output" for s in shown) < 50
    assert len(cell_of(shown).texts) == 1
    shown += folding.end(1.0)
    assert cell_of(shown).texts == ["199"]


def test_lines_that_are_cleared_count_no_more():
    folding, frames = Folding(Bounds()), []
    for second in range(1500):
        shown = folding.display(*cleared(wait=True), second)
        shown += folding.text("stdout", "x" * 30 + "\n" * 20, second)
        frames.append(any(s.type == "stream" for s in shown))
    assert all(frames)


def test_text_after_a_clear_that_waits_for_room_is_not_shown_before_it():
    folding, now = Folding(Bounds()), 100.0
    large = "display_data", msgspec.json.encode({"data": {"text/plain": "x" * 15_000_000}})
    for _ in range(12):
        folding.text("stdout", ("b" * 999 + "\n") * 100, now)
    for event in (large, large, large, cleared(wait=True), large):
        folding.display(*event, now)
    shown = folding.text("stdout", "after\n", now)
    for tick in range(100):
        shown += folding.tick(now + tick / 10)
    types = [s.type for s in shown if s.type != "folded"]
    assert types.index("clear_output") < [b"after" in s.data for s in shown].index(True)


def test_what_waits_with_a_clear_is_shown_some_time():
    folding, now = Folding(Bounds()), 100.0
    for i in range(4800):
        update = {"data": {"text/plain": "x"}, "transient": {"display_id": str(i)}}
        folding.display("update_display_data", msgspec.json.encode(update), now)
    folding.display(*cleared(wait=False), now)
    shown = folding.text("stdout", "hello\n", now)
    for second in range(30):
        shown += folding.tick(now + second)
    assert "hello\n" in texts(shown)


EVENTS = st.one_of(st.just("text"), st.just("display"), st.just("clear"), st.just("clear wait"))


def is_within(part: list[str], whole: list[str]) -> bool:
    left = iter(whole)
    return all(item in left for item in part)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 0.3)), max_size=60))
def test_what_is_left_in_the_cell_is_the_newest_of_what_would_be(events: list[tuple[str, float]]):
    bounds = msgspec.structs.replace(
        SMALL,
        bytes_per_s=10,
        text_cost_bytes=1,
        displays_bytes_per_s=40,
        display_cost_bytes=20,
        display_bytes=100,
    )
    folding, now, all_of_it, shown = Folding(bounds), 0.0, [], []
    for i, (event, pause_s) in enumerate(events):
        now += pause_s
        if event == "text":
            all_of_it.append(Shown("stream", msgspec.json.encode({"text": f"{i}\n"})))
            shown += folding.text("stdout", f"{i}\n", now)
        else:
            one = displayed(i) if event == "display" else cleared(wait=event.endswith("wait"))
            all_of_it.append(Shown(*one))
            shown += folding.display(*one, now)
        shown += folding.tick(now)
    shown += folding.end(now)
    seen, whole = cell_of(shown), cell_of(all_of_it)
    for part, all_of_them in ((seen.texts, whole.texts), (seen.displays, whole.displays)):
        assert is_within(part, all_of_them)
        assert part[-1:] == all_of_them[-1:]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\n", "a\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("\r 1%\r 2%\r 3%", "\r 3%"),
        ("x\n 1%\r 2%\n", "x\n 2%\n"),
        ("begun\r10\r20", "begun\r20"),
        ("\r 10\r 20\r ", "\r 20\r "),
        ("\r 10\r 20\r", "\r 20\r"),
        ("a\r 10\r ", "a\r 10\r "),
        ("\r 10\r 7\r\n", "\r 70\n"),
        ("\n100%\r99%\n", "\n99%%\n"),
        ("\n\x1b[2K100%\r\x1b[2K9%\n", "\n\x1b[2K9%\n"),
        ("\n1%\r2%\r", "\n2%\r"),
        ("\n123\r4\nx", "\n423\nx"),
    ],
)
def test_what_carriage_returns_overwrite_is_left_out(text: str, seen: str):
    assert collapse(text) == seen


def test_a_million_carriage_returns_are_one_line():
    folding = Folding(Bounds())
    text = "".join(f"\r{i}" for i in range(1_000_000))
    assert texts(folding.text("stdout", text, 0.0)) == "\r999999"
    assert not folding.folded


def on_a_terminal(text: str) -> str:
    """What a terminal without a right border shows of ``text``."""
    lines, column = [""], 0
    for char in text:
        if char == "\r":
            column = 0
        elif char == "\n":
            lines.append("")
            column = 0
        else:
            lines[-1] = lines[-1][:column] + char + lines[-1][column + 1 :]
            column += 1
    return "\n".join(lines)


@given(st.lists(st.text(alphabet="ab1 \r\n", max_size=30), max_size=12))
def test_it_looks_as_on_a_terminal_wherever_the_pieces_are_cut(pieces: list[str]):
    folding = Folding(Bounds())
    shown = [s for i, piece in enumerate(pieces) for s in folding.text("stdout", piece, i)]
    assert on_a_terminal(texts(shown)) == on_a_terminal("".join(pieces))


def test_a_line_begun_anew_for_days_is_never_cut():
    folding = Folding(Bounds())
    shown: list[Shown] = []
    for i in range(100_000):
        shown = folding.text("stdout", f"\rstep {i} of many", i / 10)
    assert texts(shown) == "\rstep 99999 of many"
    assert not folding.folded


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]),
            st.text(alphabet="ab\n é", max_size=3000),
            st.floats(0, 3),
        ),
        max_size=30,
    ),
    st.sampled_from([SMALL, FEW_LINES]),
)
def test_every_byte_is_either_shown_or_counted(
    chunks: list[tuple[str, str, float]], bounds: Bounds
):
    folding = Folding(bounds)
    now, shown = 0.0, []
    for name, text, pause_s in chunks:
        now += pause_s
        shown += folding.text(name, text, now) + folding.tick(now)
    shown += folding.end(now)
    cuts = texts(shown).count("…") * len("…".encode())
    total = sum(len(text.encode()) for _, text, _ in chunks)
    counted = sum(size for size, _ in folded(shown).values())
    assert len(texts(shown).encode()) - cuts + counted == total


def test_a_log_that_is_not_needed_needs_no_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    spill = Spill(path, memory_bytes=4)
    assert spill.write("more than that")
    spill.discard()
    assert not path.is_symlink()


def test_a_log_is_whole_and_ends_at_its_limit_with_a_word(tmp_path):
    spill = Spill(tmp_path / "log", limit_bytes=10, memory_bytes=4)
    assert spill.write("abc")
    assert not (tmp_path / "log").exists()
    assert spill.write("défg")
    assert not spill.write("hijk")
    assert spill.write("lmno")
    assert spill.close().read_bytes() == "abcdéfghi".encode()[:10]
    assert "limit of 10 bytes" in spill.problem
    assert spill.cut_bytes == 6

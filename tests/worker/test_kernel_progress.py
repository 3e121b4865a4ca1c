"""Bars of unmodified libraries arrive as data and print nothing."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_remote.wire import Bar
from tests.worker.playing_agent import PlayingAgent, Transcript, cell_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def silent(seen: Transcript) -> bool:
    return not seen.text("stdout") and not seen.text("stderr") and not seen.order


def closed(seen: Transcript) -> list[Bar]:
    return [b for b in seen.bars if b.state == "close"]


@pytest.mark.parametrize(
    "module", ["tqdm", "tqdm.std", "tqdm.auto", "tqdm.notebook", "tqdm.asyncio"]
)
async def test_tqdm_is_bars_and_no_text(agent: PlayingAgent, module: str) -> None:
    code = f"from {module} import tqdm\nfor i in tqdm(range(200), desc='train'): pass"
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok, seen.error
    assert silent(seen)
    assert [b.state for b in seen.bars if b.state != "update"] == ["open", "close"]
    assert (seen.bars[0].n, seen.bars[0].total, seen.bars[0].description) == (0, 200, "train")
    assert seen.bars[-1].n == 200


async def test_nested_bars_know_their_parent(agent: PlayingAgent) -> None:
    code = """
from tqdm.auto import tqdm, trange
for epoch in trange(2, desc="epoch"):
    for batch in tqdm(range(3), desc="batch", leave=False):
        pass
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert silent(seen)
    inner, inner_2, outer = closed(seen)
    assert inner.parent == inner_2.parent == outer.id
    assert outer.parent == ""
    assert not inner.leave
    assert outer.leave


async def test_a_bar_moved_by_hand_with_unknown_total(agent: PlayingAgent) -> None:
    code = """
from tqdm import tqdm
bar = tqdm(unit="file")
bar.set_description("reading"); bar.set_postfix(loss=0.5)
bar.update(3); bar.update(4)
bar.close()
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert silent(seen)
    (last,) = closed(seen)
    assert (last.n, last.total, last.unit) == (7, None, "file")
    assert (last.description, last.postfix) == ("reading", "loss=0.5")


async def test_pandas_apply_has_a_bar(agent: PlayingAgent) -> None:
    code = """
import pandas as pd
from tqdm.auto import tqdm
tqdm.pandas(desc="rows")
s = pd.Series(range(10)).progress_apply(lambda x: x + 1)
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert silent(seen)
    assert closed(seen)[0].n == 10


async def test_a_bar_left_open_is_closed_with_the_job(agent: PlayingAgent) -> None:
    code = "from tqdm import tqdm\nbar = tqdm(total=10)\nbar.update(4)"
    seen = await agent.cell(code, {}, outputs=[])
    assert len(closed(seen)) == 1


async def test_tqdm_write_and_own_files_still_print(agent: PlayingAgent) -> None:
    code = """
import io
from tqdm import tqdm
mine = io.StringIO()
for i in tqdm(range(2)):
    tqdm.write("line")
for i in tqdm(range(2), file=mine): pass
kept = "2/2" in mine.getvalue()
"""
    seen = await agent.cell(code, {}, outputs=["kept"])
    assert seen.text() == "line\nline\n"
    assert seen.value() == {"kept": True}


async def test_updates_are_at_most_ten_a_second_a_bar(agent: PlayingAgent) -> None:
    code = """
import time
from tqdm import tqdm
began, steps = time.monotonic(), 0
with tqdm(mininterval=0, miniters=1) as bar:
    while time.monotonic() < began + 0.55 or steps < 100:
        bar.update()
        steps += 1
        if steps % 10 == 0: time.sleep(0.02)
took_s = time.monotonic() - began
"""
    seen = await agent.cell(code, {}, outputs=["took_s"])
    updates = [b for b in seen.bars if b.state == "update"]
    assert 1 <= len(updates) <= 10 * seen.value()["took_s"] + 1


async def test_a_bar_of_a_disabled_tqdm_is_none(agent: PlayingAgent) -> None:
    code = "from tqdm import tqdm\nfor i in tqdm(range(2), disable=True): pass"
    assert (await agent.cell(code, {}, outputs=[])).bars == []


async def test_without_native_bars_they_print_as_they_would(agent: PlayingAgent) -> None:
    code = "from tqdm import tqdm\nfor i in tqdm(range(2)): pass"
    seen = await agent.cell(code, {}, outputs=[], quiet_progress=False)
    assert "2/2" in seen.text("stderr")
    assert seen.bars == []


async def test_rich_tasks_are_bars_and_no_text(agent: PlayingAgent) -> None:
    code = """
from rich.progress import Progress, track
with Progress() as p:
    a = p.add_task("down", total=10)
    b = p.add_task("up", total=None)
    p.update(a, advance=4); p.advance(a, 6); p.update(b, completed=2)
for x in track(range(5), description="track"): pass
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert silent(seen), seen.order
    found = {b.description: (b.n, b.total) for b in closed(seen)}
    assert found == {"down": (10, 10), "up": (2, None), "track": (5, 5)}


async def test_our_own_progress(agent: PlayingAgent) -> None:
    code = """
import jupyter_remote as jr
for x in jr.progress(range(4), desc="mine"): pass
with jr.progress(total=10) as bar:
    bar.update(5)
name, attempt, left = jr.job.id, jr.job.attempt, jr.job.budget_left
"""
    seen = await agent.cell(code, {}, outputs=["name", "attempt", "left"])
    assert silent(seen)
    assert [(b.n, b.total) for b in closed(seen)] == [(4, 4), (5, 10)]
    home = seen.value()
    assert home["name"].startswith("job-")
    assert (home["attempt"], home["left"]) == (1, None)


async def test_our_own_bar_left_open_is_closed_with_the_job(agent: PlayingAgent) -> None:
    code = "import jupyter_remote as jr\nbar = jr.progress(total=3)\nbar.update()"
    assert len(closed(await agent.cell(code, {}, outputs=[]))) == 1


async def test_tqdm_imported_before_is_hooked_too(agent: PlayingAgent) -> None:
    def imports() -> None:
        import tqdm.auto  # noqa: F401

    def loops() -> None:
        from tqdm.auto import tqdm

        for _ in tqdm(range(3)):
            pass

    await agent.call(imports)
    assert closed(await agent.call(loops))[0].n == 3


async def test_keras_bars_are_data(agent: PlayingAgent) -> None:
    """Keras is not installed here: a module of its name with the same interface stands in."""
    code = '''
import os, sys, time
os.makedirs("keras/src/utils")
for d in ("keras", "keras/src", "keras/src/utils"): open(d + "/__init__.py", "w").close()
open("keras/src/utils/progbar.py", "w").write("""
import time
class Progbar:
    def __init__(self, target, verbose=1, unit_name="step"):
        self.target, self.verbose, self.unit_name = target, verbose, unit_name
        self._values, self._start = {}, time.time()
    def update(self, current, values=None, finalize=None):
        for k, v in values or []: self._values[k] = [v * current, current]
        if self.verbose == 1: print("drawn")
""")
from keras.src.utils.progbar import Progbar
bar = Progbar(3)
for i in range(1, 4): bar.update(i, [("loss", 0.5)])
'''
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok, seen.error
    assert silent(seen)
    (last,) = closed(seen)
    assert (last.n, last.total, last.unit, last.postfix) == (3, 3, "step", "loss=0.5")


STANDING_STILL = {
    "tqdm": "from tqdm import tqdm\nbar = tqdm(total=4); bar.update(1)",
    "a slow step after quick ones": (
        "from tqdm import tqdm\nbar = tqdm(total=400)\nfor _ in range(100): bar.update(1)"
    ),
    "rich": (
        "from rich.progress import Progress\nbars = Progress(); bars.start()\n"
        "task = bars.add_task('x', total=4); bars.advance(task, 1)"
    ),
    "our own": "import jupyter_remote as jr\nbar = jr.progress(total=4); bar.update(1)",
}


@pytest.mark.parametrize("how", STANDING_STILL)
async def test_the_last_step_before_a_long_wait_is_seen(agent: PlayingAgent, how: str) -> None:
    code = (
        f"import threading, time\nbegan = time.monotonic()\n{STANDING_STILL[how]}\n"
        "print('took', time.monotonic() - began)\nthreading.Event().wait(60)"
    )
    spec, packed = cell_of(code, {}, outputs=[])
    await agent.send(spec, dict(packed.contents) if packed else None)
    n = 100 if how.startswith("a slow") else 1
    await agent.until(lambda m: [b.n for b in agent.now.bars][-1:] == [n])
    await agent.until_text("took")
    took_s = float(agent.now.text().split()[1])
    assert len(agent.now.bars) <= 3 + 10 * took_s
    agent.handle.interrupt()
    await agent.finish()


async def test_nothing_watches_when_no_bar_is_open(agent: PlayingAgent) -> None:
    code = """
import threading, time
from tqdm import tqdm
def watchers():
    return [t for t in threading.enumerate() if t.name == "jupyter-remote-bars"]
for _ in tqdm(range(3)): print(len(watchers()))
while watchers(): time.sleep(0.01)
print("gone")
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.text() == "1\n1\n1\ngone\n"


async def test_a_forked_child_prints_its_bars(agent: PlayingAgent) -> None:
    code = """
import os
from tqdm import tqdm
import jupyter_remote as jr
bar = tqdm(total=4, desc="parent"); bar.update(1)
if os.fork() == 0:
    bar.update(1); bar.close()
    for _ in tqdm(range(2), desc="tqdm of the child"): pass
    for _ in jr.progress(range(2), desc="ours of the child"): pass
    os._exit(0)
os.wait()
bar.close()
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert {b.description for b in seen.bars} == {"parent"}
    assert closed(seen)[0].n == 1
    assert "tqdm of the child: 100%" in seen.text("stderr")
    assert "ours of the child: 2/2 100 %" in seen.text("stderr")
    assert "parent" not in seen.text("stderr")


ODD_BARS = {
    "tqdm": (
        "from tqdm import tqdm\nt = tqdm(total=100)\nt.n = float('nan'); t.refresh(); t.close()"
    ),
    "rich": (
        "from rich.progress import Progress\nwith Progress() as p:\n"
        "    p.add_task('x', total=float('inf'), completed=float('inf'))"
    ),
    "our own": "import jupyter_remote as jr\nfor _ in jr.progress([1], total=float('nan')): pass",
    "names that are not text": (
        "import os\nfrom tqdm import tqdm\nopen(b'\\xff.txt', 'w').close()\n"
        "(name,) = os.listdir('.')\nfor _ in tqdm([1], desc=name, unit=name): pass\nos.remove(name)"
    ),
}


@pytest.mark.parametrize("how", ODD_BARS)
async def test_a_bar_of_what_no_number_and_no_text_is_arrives(
    agent: PlayingAgent, how: str
) -> None:
    seen = await agent.cell(ODD_BARS[how], {}, outputs=[])
    assert seen.done.ok, seen.error
    assert closed(seen)
    for bar in seen.bars:
        assert msgspec.json.decode(msgspec.json.encode(bar), type=Bar) == bar


async def test_a_rate_counts_only_what_was_done_since_the_bar_began(agent: PlayingAgent) -> None:
    code = "from tqdm import tqdm\nbar = tqdm(total=2e6, initial=10**6); bar.close()"
    seen = await agent.cell(code, {}, outputs=[])
    assert [b.rate for b in seen.bars] == [None, None]


TRACKED = {
    "track": "from rich.progress import track\nitems = track(range(1000))",
    "Progress.track": (
        "from rich.progress import Progress\np = Progress(); p.start()\n"
        "items = p.track(range(1000))"
    ),
}


@pytest.mark.parametrize("how", TRACKED)
async def test_a_tracked_sequence_moves_while_it_is_gone_through(
    agent: PlayingAgent, how: str
) -> None:
    code = (
        f"{TRACKED[how]}\nimport os, time\nfor i in items:\n"
        "    while i in (100, 200) and not os.path.exists(f'go{i}'): time.sleep(0.01)"
    )
    spec, packed = cell_of(code, {}, outputs=[])
    await agent.send(spec, dict(packed.contents) if packed else None)
    for n in (100, 200):
        await agent.until(lambda m, n=n: n in [b.n for b in agent.now.bars])
        (agent.now.folder / "cwd" / f"go{n}").touch()
    seen = await agent.finish()
    assert silent(seen), seen.order
    assert closed(seen)[-1].n == 1000


async def test_a_rich_task_is_a_bar_as_rich_shows_it(agent: PlayingAgent) -> None:
    code = """
from rich.progress import Progress
with Progress() as p:
    p.add_task("[red]x[/red] [not markup", total=1, loss="[b]1[/b]")
    hidden = p.add_task("hidden", total=2, visible=False)
    p.advance(hidden)
    late = p.add_task("late", total=2, visible=False)
    p.update(late, visible=True, completed=1)
    gone = p.add_task("gone", total=2)
    p.update(gone, visible=False)
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert silent(seen)
    assert [(b.description, b.state, b.leave) for b in seen.bars] == [
        ("x [not markup", "open", True),
        ("late", "open", True),
        ("gone", "open", True),
        ("gone", "close", False),
        ("x [not markup", "close", True),
        ("late", "close", True),
    ]
    assert seen.bars[0].postfix == "loss=1"


async def test_rich_in_a_file_of_the_users_is_drawn_there(agent: PlayingAgent) -> None:
    code = """
import io
from rich.console import Console
from rich.progress import Progress
mine = io.StringIO()
with Progress(console=Console(file=mine, force_jupyter=False)) as p: p.add_task("down", total=1)
kept = "down" in mine.getvalue()
"""
    seen = await agent.cell(code, {}, outputs=["kept"])
    assert seen.value() == {"kept": True}
    assert seen.bars == []


async def test_tqdm_with_rich_is_one_bar(agent: PlayingAgent) -> None:
    code = (
        "from tqdm.rich import tqdm\nfor _ in tqdm(range(3), desc='d'): pass\n"
        "bar = tqdm(total=2); bar.reset(total=4); bar.update(); bar.close()"
    )
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok, seen.error
    assert silent(seen), seen.order
    assert [(b.description, b.n, b.total) for b in closed(seen)] == [("d", 3, 3), ("", 1, 4)]


@pytest.mark.parametrize(
    "code",
    [
        "from rich.progress import Progress\nbar = Progress(); bar.add_task('x')",
        "from tqdm.auto import tqdm\nbar = tqdm(range(3))",
        "import threading, jupyter_remote as jr\nbar = jr.progress(threading.enumerate())",
    ],
)
async def test_that_a_bar_stays_there_is_not_worth_a_word(agent: PlayingAgent, code: str) -> None:
    seen = await agent.cell(code, {}, assigned=["bar"])
    assert seen.result.left_behind == []


@pytest.mark.parametrize("module", ["tqdm.auto", "tqdm.notebook"])
async def test_a_notebook_bar_that_is_placed_by_hand_is_a_bar(
    agent: PlayingAgent, module: str
) -> None:
    code = (
        f"from {module} import tqdm\nt = tqdm(total=3, display=False, ncols='100%', colour='red')\n"
        "display(t.container)\nt.update(2)\nt.close()"
    )
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok, seen.error
    assert [kind for kind in seen.order if not kind.startswith("comm")] == []
    assert [b.n for b in closed(seen)] == [2]


@pytest.mark.parametrize("module", ["tqdm.auto", "tqdm.notebook"])
async def test_without_native_bars_those_of_a_notebook_print(
    agent: PlayingAgent, module: str
) -> None:
    code = f"from {module} import tqdm\nfor i in tqdm(range(2), ncols='50%'): pass"
    seen = await agent.cell(code, {}, outputs=[], quiet_progress=False)
    assert "2/2" in seen.text("stderr")
    assert [kind for kind in seen.order if not kind.startswith("stderr")] == []
    assert seen.bars == []


async def test_without_native_bars_those_of_rich_are_displays(agent: PlayingAgent) -> None:
    code = "from rich.progress import track\nfor i in track(range(2), description='d'): pass"
    seen = await agent.cell(code, {}, outputs=[], quiet_progress=False)
    assert "100%" in seen.outs("update_display_data")[-1]["data"]["text/plain"]
    assert seen.bars == []


async def test_an_asynchronous_bar_goes_through_its_items(agent: PlayingAgent) -> None:
    code = """
from tqdm.auto import tqdm
async def items():
    for i in range(3): yield i
found = [i async for i in tqdm(items(), total=3)]
"""
    seen = await agent.cell(code, {}, outputs=["found"])
    assert seen.done.ok, seen.error
    assert seen.value() == {"found": [0, 1, 2]}
    assert closed(seen)[0].n == 3


SCALED = {
    "SI": ("unit_scale=True", (4_100_000, 1000)),
    "binary": ("unit_scale=True, unit_divisor=1024", (4_100_000, 1024)),
    "a factor": ("unit_scale=2.0", (8_200_000, 0)),
    "none": ("", (4_100_000, 0)),
}


@pytest.mark.parametrize("how", SCALED)
async def test_a_bar_tells_how_its_counts_are_shown(agent: PlayingAgent, how: str) -> None:
    options, told = SCALED[how]
    code = f"from tqdm import tqdm\nbar = tqdm(unit='B', {options})\nbar.update(4_100_000)"
    (last,) = closed(await agent.cell(code, {}, outputs=[]))
    assert (last.n, last.unit_divisor) == told


async def test_a_download_of_rich_is_in_bytes(agent: PlayingAgent) -> None:
    code = (
        "from rich.progress import DownloadColumn, Progress\n"
        "with Progress(DownloadColumn()) as p: p.add_task('x', total=10)"
    )
    (last,) = closed(await agent.cell(code, {}, outputs=[]))
    assert (last.unit, last.unit_divisor) == ("B", 1000)


async def test_bars_of_ours_and_of_tqdm_know_their_parents(agent: PlayingAgent) -> None:
    code = """
import jupyter_remote as jr
from tqdm import tqdm
for _ in jr.progress(range(1), desc="outer"):
    for _ in tqdm(range(1), desc="middle"):
        for _ in jr.progress(range(1), desc="inner"): pass
for _ in jr.progress(range(1), desc="next"): pass
"""
    seen = await agent.cell(code, {}, outputs=[])
    ids = {b.description: b.id for b in seen.bars}
    parents = {b.description: b.parent for b in seen.bars}
    assert parents == {"outer": "", "middle": ids["outer"], "inner": ids["middle"], "next": ""}


async def test_a_bar_that_is_captured_is_text_there(agent: PlayingAgent) -> None:
    code = """
import contextlib, io
from IPython.utils.capture import capture_output
from tqdm import tqdm
with contextlib.redirect_stderr(io.StringIO()) as text:
    for _ in tqdm(range(2)): pass
with capture_output() as captured:
    for _ in tqdm(range(3)): pass
found = "2/2" in text.getvalue(), "3/3" in captured.stderr
"""
    seen = await agent.cell(code, {}, outputs=["found"])
    assert seen.value() == {"found": (True, True)}
    assert silent(seen)
    assert seen.bars == []


async def test_a_rich_progress_that_was_paused_goes_on(agent: PlayingAgent) -> None:
    code = """
from rich.progress import Progress
with Progress() as p:
    task = p.add_task("x", total=10)
    p.advance(task, 5)
    p.stop()
    p.start()
    p.advance(task, 5)
"""
    last = (await agent.cell(code, {}, outputs=[])).bars[-1]
    assert (last.n, last.state) == (10, "close")

"""What jobs show while no kernel relays it comes home into its cell: once, whole and in order."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Page, expect

from jupyter_remote.wire import CARD_TYPE
from tests.browser import lab
from tests.browser.extended_fixtures import book, page

__all__ = ["book", "page"]

LOAD = "%load_ext jupyter_remote\nimport jupyter_remote as jr"
DIRTY = f"() => {lab.WIDGET}.context.model.dirty"
OUTPUTS = f"i => {lab.WIDGET}.content.widgets[i].model.outputs.toJSON()"


LOST_S = 5.0


class Steps:
    """A job that goes on when it is told to, and prints and draws a step each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def cell(self, options: str = "") -> str:
        return (
            f"%%remote_run {options}\nimport os, time\nfrom IPython.display import HTML, display\n"
            "shown = display(HTML('<b>at 0</b>'), display_id=True)\nfor n in range(1, 5):\n"
            f"    while not os.path.exists({str(self.folder)!r} + f'/{{n}}'): time.sleep(0.01)\n"
            "    print('step', n); display(HTML(f'<i>figure {n}</i>'))\n"
            "    shown.update(HTML(f'<b>at {n}</b>'))\n"
            f"open({str(self.folder)!r} + '/over', 'w').close()\n'the end'"
        )

    def go(self, n: int) -> None:
        for step in range(1, n + 1):
            (self.folder / str(step)).touch()

    def ended(self) -> None:
        lab.until((self.folder / "over").exists)


def expected(n: int = 4) -> list[Any]:
    """Below the card: streams by their text, displays by their HTML."""
    steps = [
        part for step in range(1, n + 1) for part in (f"step {step}\n", f"<i>figure {step}</i>")
    ]
    return [f"<b>at {n}</b>", *steps, *(["'the end'"] if n == 4 else [])]


def below(outputs: list[Any]) -> list[Any]:
    shown = []
    for output in outputs:
        data = output.get("data", {})
        if CARD_TYPE in data:
            shown.clear()
            continue
        found = output.get("text") or data.get("text/html") or data.get("text/plain") or output
        shown.append("".join(found) if isinstance(found, list) else found)
    return shown


def until_shown(opened: lab.Book, index: int, n: int = 4) -> None:
    shows(opened.page, index, expected(n))


def until_shown_or_lost(opened: lab.Book, index: int, n: int) -> None:
    """What comes just after a page has connected again may be lost until all is over."""
    late = time.monotonic() + LOST_S
    wanted = expected(n)
    lab.until(
        lambda: below(opened.page.evaluate(OUTPUTS, index)) == wanted or time.monotonic() > late
    )


def begin(opened: lab.Book, steps: Steps, index: int = 1) -> None:
    """Starts a cell of these steps, and sees the first."""
    opened.run(0)
    opened.start(index)
    steps.go(1)
    until_shown(opened, index, 1)


def shows(page: Page, index: int, wanted: list[Any]) -> None:
    with contextlib.suppress(TimeoutError):
        lab.until(lambda: below(page.evaluate(OUTPUTS, index)) == wanted)
    assert below(page.evaluate(OUTPUTS, index)) == wanted


def status_in(outputs: list[Any]) -> list[str]:
    return [o["data"][CARD_TYPE]["status"] for o in outputs if CARD_TYPE in o.get("data", {})]


@pytest.fixture
def steps(tmp_path) -> Steps:
    return Steps(tmp_path / "steps")


def test_a_kernel_that_is_restarted_misses_nothing(book, steps):
    with book("restarted.ipynb", LOAD, steps.cell(), "'mine'") as opened:
        begin(opened, steps)
        opened.restart_kernel()
        steps.go(2)
        until_shown(opened, 1, 2)
        opened.wait_idle()
        opened.run(2)
        opened.saved()
        steps.go(4)
        until_shown(opened, 1)
        lab.until(lambda: status_in(opened.page.evaluate(OUTPUTS, 1)) == ["completed"])
        lab.until(lambda: opened.page.evaluate(DIRTY))
        saved = opened.saved()
        assert below(saved.cells[1].outputs) == expected()
        assert (
            saved.cells[1].outputs[0].metadata["jupyter_remote"]["receipt"]["status"] == "completed"
        )
        assert below(saved.cells[2].outputs) == ["'mine'"]
        assert opened.errors == []


def reopened(page: Page, server: lab.Server, name: str) -> lab.Book:
    """The notebook in a page that is loaded anew."""
    opened = lab.Book(page, server.folder / name)
    page.goto(f"{server.url}/lab/tree/{name}?reset&token={server.token}")
    page.wait_for_function("() => window.jupyterapp?.started")
    page.wait_for_function(
        f"name => {lab.WIDGET}?.context?.path === name && {lab.WIDGET}.context.isReady", arg=name
    )
    return opened


def test_a_page_that_is_loaded_again_goes_on_where_it_left_off(book, steps, extended):
    with book("reloaded.ipynb", LOAD, steps.cell()) as opened:
        begin(opened, steps)
        opened.saved()
        steps.go(2)
        again = reopened(opened.page, extended, "reloaded.ipynb")
        until_shown(again, 1, 2)
        steps.go(4)
        until_shown(again, 1)
        again.wait_idle()
        assert below(again.saved().cells[1].outputs) == expected()
        assert (
            again.ours() == []
        )  # of comms that a busy kernel cannot tell it of JupyterLab complains itself


def test_a_notebook_that_was_closed_before_it_was_saved_has_its_output_when_it_is_opened(
    book, steps, extended
):
    with book("unsaved.ipynb", LOAD, steps.cell("-q"), steps.cell()) as opened:
        begin(opened, steps, 2)
        on_disk = nbformat.read(extended.folder / "unsaved.ipynb", as_version=4)
        assert on_disk.cells[2].outputs == []
        opened.page.goto("about:blank")
        steps.go(4)
        steps.ended()
        again = reopened(opened.page, extended, "unsaved.ipynb")
        until_shown(again, 2)
        lab.until(lambda: status_in(again.page.evaluate(OUTPUTS, 2)) == ["completed"])
        saved = again.saved()
        assert [below(cell.outputs) for cell in saved.cells] == [[], [], expected()]


def test_a_kernel_that_was_shut_down_leaves_a_cell_that_is_whole_at_the_next_opening(
    book, steps, extended
):
    with book("shut.ipynb", LOAD, steps.cell()) as opened:
        opened.run(0)
        opened.start(1)
        steps.go(2)
        until_shown(opened, 1, 2)
        opened.saved()
        opened.page.evaluate(f"() => {lab.CONTEXT}.shutdown()")
        opened.page.goto("about:blank")
        steps.go(4)
        steps.ended()
        again = reopened(opened.page, extended, "shut.ipynb")
        until_shown(again, 1)


def edit(page: Page, index: int, source: str) -> None:
    set_source = f"([i, s]) => {lab.WIDGET}.content.widgets[i].model.sharedModel.setSource(s)"
    page.evaluate(set_source, [index, source])


def test_output_of_a_cell_that_was_edited_goes_to_the_panel_and_never_into_another(
    book, steps, tmp_path
):
    gone = Steps(tmp_path / "gone")
    cells = (LOAD, steps.cell("--bg -d 'was edited'"), gone.cell("--bg -d 'was deleted'"), "1 + 1")
    with book("edited.ipynb", *cells) as opened:
        page = opened.page
        for index in range(3):
            opened.run(index)
        steps.go(1)
        gone.go(1)
        until_shown(opened, 1, 1)
        until_shown(opened, 2, 1)
        edit(page, 1, "%%remote_run\n'another one'")
        page.evaluate(lab.SELECT, 2)
        opened.command("notebook:delete-cell")
        opened.restart_kernel()
        opened.wait_idle()
        steps.go(4)
        gone.go(4)
        page.get_by_role("button", name="Show", exact=True).click()
        lab.until(lambda: status_in(page.evaluate(OUTPUTS, 1)) == ["completed"])
        assert below(page.evaluate(OUTPUTS, 1)) == expected(1)
        assert page.evaluate(OUTPUTS, 2) == []
        panel = page.locator(".jr-panel")
        for title in ("was edited", "was deleted"):
            if title == "was deleted":
                panel.locator(".jr-panel-row", has_text=title).click()
            panel.get_by_role("button", name="Output").click()
            shown = page.locator(".jp-Dialog", has_text=f"Output of “{title}”")
            expect(shown).to_contain_text("figure 4")
            expect(shown).to_contain_text("at 4")
            lab.shot(page, f"output-{title.replace(' ', '-')}")
            page.keyboard.press("Escape")
        assert opened.errors == []


def test_of_many_cells_that_were_edited_one_notification_says_how_many(book, steps):
    with book("many-edited.ipynb", LOAD, *[steps.cell(f"--bg -d 'job {n}'") for n in range(6)]) as (
        opened
    ):
        page = opened.page
        for index in range(7):
            opened.run(index)
        for index in range(1, 7):
            lab.until(lambda i=index: status_in(page.evaluate(OUTPUTS, i)))
            edit(page, index, f"'edited {index}'")
        opened.restart_kernel()
        opened.wait_idle()
        steps.go(4)
        told = page.locator(".Toastify__toast", has_text="in the panel")
        expect(told).to_contain_text("6 cells were edited.")
        expect(told).to_have_count(1)
        lab.shot(page, "many-edited")
        told.get_by_role("button", name="Show", exact=True).click()
        expect(page.locator(".jr-panel")).to_be_visible()
        assert opened.errors == []


LOCAL = "<i>of local code</i>"
FIGURE = f"from IPython.display import HTML, display\ndisplay(HTML({LOCAL!r}))"


def test_a_local_figure_below_a_job_stays_alone_when_the_job_draws_one_of_the_same_types(
    book, steps, extended
):
    """One whose handle is displayed, and one that a line of its cell starts in the background."""
    draws = (
        "@jr.remote\ndef draw(folder):\n    import os, time\n"
        "    from IPython.display import HTML, display\n"
        "    while not os.path.exists(f'{folder}/1'): time.sleep(0.01)\n"
        "    display(HTML('<i>of the job</i>'))\n"
    )
    folder = repr(str(steps.folder))
    handle = f"job = draw.submit({folder})\ndisplay(job)\n{FIGURE}"
    local = f"draw.local({folder})"
    line = f"get_ipython().run_cell_magic('remote_run', '--bg', {local!r})\n{FIGURE}"
    with book("local.ipynb", LOAD, draws, handle, line) as opened:
        page = opened.page
        for index in range(4):
            opened.run(index)
        for index in (2, 3):
            shows(page, index, [LOCAL])
        opened.saved()
        page.evaluate(f"() => {lab.CONTEXT}.shutdown()")
        again = reopened(page, extended, "local.ipynb")
        steps.go(1)
        told = page.locator(".Toastify__toast", has_text="shows output of local code, too")
        expect(told).to_have_count(1)
        for index in (2, 3):
            lab.until(lambda i=index: status_in(page.evaluate(OUTPUTS, i)) == ["completed"])
            assert below(page.evaluate(OUTPUTS, index)) == [LOCAL]
        lab.shot(page, "local-figure")
        assert again.errors == []


def test_output_in_the_panel_grows_below_what_is_there(book, steps):
    with book("grows.ipynb", LOAD, steps.cell("--bg -d 'grows'")) as opened:
        page = opened.page
        opened.run(0)
        opened.run(1)
        steps.go(1)
        until_shown(opened, 1, 1)
        opened.command("jupyter-remote:show-jobs")
        panel = page.locator(".jr-panel")
        panel.locator(".jr-panel-row", has_text="grows").click()
        panel.get_by_role("button", name="Output").click()
        shown = page.locator(".jp-Dialog", has_text="Output of “grows”")
        shown.get_by_text("figure 1").evaluate("figure => (figure.dataset.stays = 'yes')")
        steps.go(4)
        expect(shown).to_contain_text("the end")
        expect(shown.locator("[data-stays]")).to_have_text("figure 1")
        page.keyboard.press("Escape")


def test_output_of_a_call_comes_home_unless_local_code_printed_below_it(book, steps, tmp_path):
    folder = tmp_path / "mixed"
    mixed = Steps(folder)
    call = (
        "@jr.remote\ndef work(folder):\n    import os, time\n    for n in range(1, 5):\n"
        "        while not os.path.exists(f'{folder}/{n}'): time.sleep(0.01)\n"
        "        print('step', n)\n    open(folder + '/over', 'w').close()\n"
    )
    alone = f"print('first')\nwork({str(steps.folder)!r})"
    remote = f"work.local({str(folder)!r})"
    other = f"get_ipython().run_cell_magic('remote_run', '--bg', {remote!r}); print('mine')"
    with book("calls.ipynb", LOAD, call, other, alone) as opened:
        page = opened.page
        for index in range(3):
            opened.run(index)
        opened.start(3)
        steps.go(1)
        shows(page, 3, ["step 1\n"])
        opened.restart_kernel()
        opened.wait_idle()
        steps.go(4)
        mixed.go(4)
        all_steps = "".join(f"step {n}\n" for n in range(1, 5))
        shows(page, 3, [all_steps])
        assert page.evaluate(OUTPUTS, 3)[0]["text"] == "first\n"
        lab.until(lambda: status_in(page.evaluate(OUTPUTS, 2)) == ["completed"])
        assert below(page.evaluate(OUTPUTS, 2)) == ["mine\n"]


def test_a_connection_that_is_lost_meanwhile_brings_nothing_twice(book, steps):
    with book("reconnected.ipynb", LOAD, steps.cell()) as opened:
        opened.run(0)
        opened.start(1)
        for n in (1, 2, 3, 4):
            steps.go(n)
            until_shown_or_lost(opened, 1, n)
            opened.page.evaluate(f"() => {lab.CONTEXT}.session.kernel.reconnect().then(() => null)")
        opened.page.evaluate(lab.KERNEL_ANSWERS)  # that it is idle may be lost, too, and comes anew
        opened.wait_idle()
        lab.until(lambda: status_in(opened.page.evaluate(OUTPUTS, 1)) == ["completed"])
        assert below(opened.saved().cells[1].outputs) == expected()


def test_cells_that_wait_in_the_kernel_when_the_page_is_loaded_again_show_their_output(
    book, steps, extended
):
    with book("queued.ipynb", LOAD, steps.cell(), "%%remote_run\nprint('next')") as opened:
        opened.run(0)
        opened.start(1)
        until_shown(opened, 1, 0)
        opened.start(2)
        opened.saved()
        again = reopened(opened.page, extended, "queued.ipynb")
        until_shown(again, 1, 0)
        steps.go(4)
        until_shown(again, 1)
        shows(again.page, 2, ["next\n"])
        again.wait_idle()
        lab.until(lambda: status_in(again.page.evaluate(OUTPUTS, 2)) == ["completed"])
        assert below(again.saved().cells[2].outputs) == ["next\n"]


def test_a_cell_that_is_moved_while_no_kernel_relays_it_goes_on(book, steps):
    with book("moved.ipynb", LOAD, "1", steps.cell()) as opened:
        begin(opened, steps, 2)
        opened.restart_kernel()
        steps.go(2)
        until_shown(opened, 2, 2)
        opened.page.evaluate(lab.SELECT, 2)
        opened.command("notebook:move-cell-up")
        steps.go(4)
        until_shown(opened, 1)


WRITES = """%%remote_run
import os, sys, time
print("warning", file=sys.stderr, flush=True)
while not os.path.exists({gate!r}): time.sleep(0.01)
from IPython.display import clear_output
clear_output()
print("10 %\\r20 %\\r30 %", flush=True)
print("another", file=sys.stderr, flush=True)
"""


def test_streams_that_a_cell_held_before_are_not_joined_with_what_comes(book, tmp_path):
    gate = tmp_path / "gate"
    with book("streams.ipynb", LOAD, WRITES.format(gate=str(gate))) as opened:
        opened.run(0)
        opened.start(1)
        shows(opened.page, 1, ["warning\n"])
        opened.restart_kernel()
        opened.wait_idle()
        gate.touch()
        shows(opened.page, 1, ["30 %\n", "another\n"])
        expect(opened.output(1)).not_to_contain_text("20 %")


PRINTS = """%%remote_run
import os, random, time
chance, n = random.Random(7), 0
with open({transcript!r}, 'a', buffering=1, newline='') as kept:
    while not os.path.exists({gate!r}):
        text = ''.join(chance.choices('abcé漢 \\n', k=chance.choice((1, 3, 30, 300))))
        print(text, end='', flush=chance.random() < 0.5)
        kept.write(text)
        n += 1
        time.sleep(chance.choice((0, 0.001, 0.02)) * (1 + n / 20))
"""


def printed(outputs: list[Any]) -> str:
    return "".join(o["text"] for o in outputs if o.get("name") == "stdout")


def test_pages_and_kernels_that_are_killed_ten_times_leave_the_whole_transcript(
    chromium, extended, tmp_path
):
    transcript, gate = tmp_path / "transcript", tmp_path / "gate"
    source = PRINTS.format(transcript=str(transcript), gate=str(gate))
    chance, seen = random.Random(5), 0
    path = extended.folder / "killed.ipynb"
    lab.write(path, LOAD, source)
    opened = reopened(lab.new_page(chromium), extended, path.name)
    opened.wait_idle()
    opened.run(0)
    opened.start(1)
    for _ in range(10):
        page = opened.page
        lab.until(lambda p=page, s=seen: len(printed(p.evaluate(OUTPUTS, 1))) > s)
        if chance.random() < 0.5:
            opened.saved()
        if chance.random() < 0.3:
            opened.restart_kernel()
        seen = len(printed(page.evaluate(OUTPUTS, 1)))
        page.close()
        opened = reopened(lab.new_page(chromium), extended, path.name)
    gate.touch()
    lab.until(lambda: status_in(opened.page.evaluate(OUTPUTS, 1)) == ["completed"])
    saved = opened.saved()
    assert printed(saved.cells[1].outputs) == transcript.read_bytes().decode()
    opened.close()
    opened.page.close()


def test_a_second_page_shows_it_too_and_leaves_the_saving_to_the_first(
    chromium, book, steps, extended
):
    with book("two.ipynb", LOAD, steps.cell()) as opened:
        begin(opened, steps)
        opened.saved()
        other = reopened(lab.new_page(chromium), extended, "two.ipynb")
        steps.go(2)
        until_shown(other, 1, 2)
        until_shown(opened, 1, 2)
        steps.go(4)
        for page in (opened, other):
            until_shown(page, 1)
            lab.until(lambda p=page: status_in(p.page.evaluate(OUTPUTS, 1)) == ["completed"])
        assert opened.page.evaluate(DIRTY)
        assert not other.page.evaluate(DIRTY)
        assert below(opened.saved().cells[1].outputs) == expected()
        assert other.ours() == []
        other.page.close()


def test_a_notebook_without_trust_gets_its_output_without_its_scripts(book, steps, extended):
    evil = steps.cell() + "\ndisplay(HTML('<b>safe</b><script>window.hurt = 1</script>'))"
    with book("untrusted.ipynb", LOAD, evil) as opened:
        begin(opened, steps)
        saved = opened.saved()
        opened.page.evaluate(f"() => {lab.CONTEXT}.shutdown()")
        opened.page.goto("about:blank")
        saved.cells[1].outputs.append(nbformat.v4.new_output("stream", text="by another hand\n"))
        nbformat.write(saved, opened.path)  # whoever writes it so has signed nothing
        steps.go(4)
        steps.ended()
        again = reopened(opened.page, extended, "untrusted.ipynb")
        expect(again.output(1)).to_contain_text("safe")
        lab.until(lambda: status_in(again.page.evaluate(OUTPUTS, 1)) == ["completed"])
        assert again.page.evaluate("() => window.hurt") is None
        expect(again.output(1)).not_to_contain_text("by another hand")


def test_a_job_that_nobody_knows_is_asked_for_once_and_the_cell_stays(chromium, extended, steps):
    path = extended.folder / "nobodys.ipynb"
    lab.write(path, "1 + 1")
    notebook = nbformat.read(path, as_version=4)
    state = {"id": str(uuid.uuid4()), "v": 1, "kind": "cell", "status": "running", "bars": []}
    card = {CARD_TYPE: {**state, "machine": "local", "texts": {"links": []}}, "text/plain": "a job"}
    notebook.cells[0].outputs = [
        nbformat.v4.new_output("display_data", data=card),
        nbformat.v4.new_output("stream", text="what it said\n"),
    ]
    nbformat.write(notebook, path)
    page = lab.new_page(chromium)
    asked: list[str] = []
    page.on("response", lambda r: asked.append(r.url) if "/outputs/" in r.url else None)
    opened = reopened(page, extended, path.name)
    lab.until(lambda: page.evaluate("1") and asked)
    opened.wait_idle()
    opened.run(0)
    assert len(asked) == 1
    assert opened.errors == []
    opened.close()
    page.close()


def test_what_a_page_missed_while_its_connection_was_lost_is_there_in_the_end(book, steps):
    with book("missed.ipynb", LOAD, steps.cell()) as opened:
        page = opened.page
        opened.run(0)
        opened.start(1)
        steps.go(2)
        until_shown(opened, 1, 2)
        page.evaluate(f"() => {lab.CONTEXT}.session.kernel.reconnect().then(() => null)")
        missed = f"() => {lab.WIDGET}.content.widgets[1].model.outputs.remove(2)"
        page.evaluate(missed)  # as if it had been sent into a connection that was dead
        steps.go(4)
        until_shown(opened, 1)
        assert opened.ours() == []  # of comms that it forgot JupyterLab may complain itself

"""The job card in JupyterLab and Notebook 7 without our extension, as a person uses it."""

from __future__ import annotations

import contextlib
import re

import nbformat
import pytest
from playwright.sync_api import expect

from jupyter_remote.wire import CARD_TYPE
from tests.browser import lab

LOAD = "%load_ext jupyter_remote\nimport jupyter_remote as jr"
STATIC = {CARD_TYPE, "text/html", "text/plain"}
ENDLESS = (
    "%%remote_run -d endless\nimport time\nprint('started')\nwhile True:\n    time.sleep(0.02)"
)
GATED = (
    "%%remote_run -m g5.xlarge --max-cost 1 -i gate\nimport os, time\nfrom tqdm.auto import tqdm\n"
    "for epoch in tqdm(range(3), desc='epoch'):\n"
    "    for batch in tqdm(range(4), desc='batch', leave=False):\n"
    "        time.sleep(0.06)\n        while epoch == 1 and not os.path.exists(gate):\n"
    "            time.sleep(0.02)\n"
    "print('trained')"
)


def bundles(cell: nbformat.NotebookNode) -> list[set[str]]:
    return [set(output.data) for output in cell.outputs if "data" in output]


def test_the_kernel_is_busy_while_the_first_card_of_a_page_is_live(book):
    work = "from tqdm.auto import tqdm\nfor i in tqdm(range(10_000)):\n    time.sleep(0.02)"
    with book("busy.ipynb", LOAD, f"%%remote_run\nimport time\n{work}") as page:
        page.run(0)
        output = page.start(1)
        expect(output.locator(".jr-card")).to_contain_text("it/s")
        expect(output.get_by_role("progressbar")).not_to_have_attribute("aria-valuenow", "0")
        page.page.wait_for_function(f"() => {lab.CONTEXT}.session.kernel.status === 'busy'")
        output.get_by_role("button", name="Cancel").click()
        page.wait_idle()


def test_the_card_lives_while_its_cell_runs_and_is_static_after_it(book, jupyterlab, tmp_path):
    gate = tmp_path / "gate"
    with book("live.ipynb", LOAD, f"gate = {str(gate)!r}", GATED) as page:
        page.run(0)
        page.run(1)
        output = page.start(2)
        bars = output.get_by_role("progressbar")
        expect(bars).to_have_count(2)
        expect(bars.first).to_have_attribute("aria-valuenow", "33")
        expect(bars.first).to_have_attribute("aria-label", "epoch")
        expect(output.locator(".jr-card")).to_contain_text("g5.xlarge (simulated)")
        saved = page.saved().cells[2]
        assert bundles(saved) == [STATIC]
        assert "running" in saved.outputs[0].data["text/plain"]
        gate.touch()
        expect(output).to_contain_text("trained")
        expect(output).to_contain_text("completed")
        expect(output.locator(".jr-card")).to_have_count(0)
        expect(output.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
        page.wait_idle()
        saved = page.saved()
        assert bundles(saved.cells[2]) == [STATIC]
        assert "completed" in saved.cells[2].outputs[0].data["text/html"]
        assert "widgets" not in saved.metadata
        assert page.errors == []


SLOW = """ms => {  // modules are loaded late, as in a page that is busy
  const made = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    const late = new Blob([`await new Promise(done => setTimeout(done, ${ms}));`, blob], blob);
    return made.call(URL, blob.type === "text/javascript" ? late : blob);
  };
  window.inTime = () => { URL.createObjectURL = made; };
}"""
QUICK = """
import msgspec
from jupyter_remote.cards.state import CardState
from jupyter_remote.notebook.card import LIVE_AFTER_S, Card

times = iter([0.0, LIVE_AFTER_S, 1.0])
card = Card(lambda *a, **k: None, lambda force: None, clock=lambda: next(times))
state = CardState(id="quick", status="running")
card.draw(state)
card.draw(msgspec.structs.replace(state, status="completed"))
print("drawn")
"""
GIVEN_UP = """() => new Promise(done => {  // by anywidget: what it did not load within 2 s
  AbortSignal.timeout(2100).addEventListener("abort", () => done());
})"""


def test_a_job_that_ends_while_the_page_loads_its_card_is_no_error(book):
    with book("quick.ipynb", LOAD, QUICK) as page:
        page.run(0)
        page.page.evaluate(SLOW, 500)
        expect(page.run(1)).to_contain_text("drawn")
        page.page.evaluate(GIVEN_UP)
        page.page.evaluate("() => window.inTime()")
        assert page.errors == []


def test_a_card_that_a_busy_page_loads_late_is_live_all_the_same(book):
    work = "from tqdm.auto import tqdm\nfor i in tqdm(range(10**6)):\n    time.sleep(0.02)"
    with book("late.ipynb", LOAD, f"%%remote_run\nimport time\n{work}") as page:
        page.run(0)
        page.page.evaluate(SLOW, 2600)  # anywidget gives up after 2 s
        output = page.start(1)
        expect(output.locator(".jr-card")).to_contain_text("it/s")
        output.get_by_role("button", name="Cancel").click()
        expect(output).to_contain_text("KeyboardInterrupt")
        page.page.evaluate("() => window.inTime()")
        page.wait_idle()


def test_cancel_works_from_the_keyboard_while_the_cell_blocks(book):
    with book("cancel.ipynb", LOAD, ENDLESS, "6 * 7") as page:
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("started")
        button = output.get_by_role("button", name="Cancel job endless")
        button.focus()
        page.page.keyboard.press("Enter")
        expect(output.get_by_role("group", name="endless")).to_contain_text("cancelled")
        expect(output).to_contain_text("KeyboardInterrupt")
        page.wait_idle()
        assert page.page.evaluate("() => document.activeElement.tagName") != "BODY"
        expect(page.run(2)).to_contain_text("42")
        assert page.errors == []


SAMPLE = """count => new Promise(done => {
  let seen = 0, hit = 0;
  const look = () => {
    const button = document.querySelector(".jr-cancel");
    const box = button?.getBoundingClientRect();
    const at = box && document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    hit += Boolean(button) && at === button;
    if (++seen === count) done(hit); else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""
CLEARING = (
    "%%remote_run -d clearing\nimport itertools, time\nfrom IPython.display import clear_output\n"
    "for i in itertools.count():\n    clear_output(wait=True)\n    print('round', i)\n"
    "    time.sleep(0.1)"  # a page of a busy computer keeps up with that
)


def test_cancel_is_there_in_every_frame_while_the_code_clears_its_output(book):
    with book("clearing.ipynb", LOAD, CLEARING) as page:
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("round")
        button = output.get_by_role("button", name="Cancel job clearing")
        expect(button).to_be_visible()
        assert page.page.evaluate(SAMPLE, 300) == 300
        button.focus()
        page.page.wait_for_timeout(300)
        assert page.page.evaluate("() => document.activeElement.className") == "jr-cancel"
        box = button.bounding_box()
        page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.page.mouse.down()
        page.page.wait_for_timeout(500)  # some rounds pass while the button is held
        page.page.mouse.up()
        expect(output).to_contain_text("KeyboardInterrupt")
        page.wait_idle()
        assert page.errors == []


def test_a_double_click_on_cancel_lets_the_code_clean_up_and_later_kill_kills(book):
    tidy = (
        "%%remote_run -d tidy\nimport time\nprint('started')\ntry:\n    time.sleep(600)\n"
        "finally:\n    time.sleep(3)\n    print('cleaned up')"
    )
    stubborn = (
        "%%remote_run -d stubborn\nimport time\nprint('started')\nwhile True:\n    try:\n"
        "        time.sleep(600)\n    except KeyboardInterrupt:\n        print('no')"
    )
    with book("double.ipynb", LOAD, tidy, stubborn) as page:
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("started")
        output.get_by_role("button", name="Cancel job tidy").evaluate(lab.DOUBLE_CLICK, 1600)
        expect(output).to_contain_text("cancelled: stopped by KeyboardInterrupt")
        expect(output).to_contain_text("cleaned up")
        expect(output).to_contain_text("JobCancelled")  # with which the cell ends
        page.wait_idle()
        output = page.start(2)
        expect(output).to_contain_text("started")
        cancel = output.get_by_role("button", name="Cancel job stubborn")
        clicked = "button => { button.click(); return button.getAttribute('aria-disabled'); }"
        assert cancel.evaluate(clicked) == "true"
        expect(output).to_contain_text("no")
        kill = output.get_by_role("button", name="Kill job stubborn")
        expect(kill).to_have_attribute("aria-disabled", "false")
        kill.click()
        expect(output.get_by_role("group", name="stubborn")).to_contain_text("cancelled")
        page.wait_idle()
        assert page.errors == []


CONTRAST = """() => {
  const rgb = text => {
    const whole = text.startsWith("color(") ? 1 : 255;
    return text.match(/[\\d.]+/g).slice(0, 3).map(c => c / whole);
  };
  const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = text => rgb(text)
    .reduce((sum, c, i) => sum + linear(c) * [0.2126, 0.7152, 0.0722][i], 0.05);
  const ratio = (a, b) => Math.max(light(a), light(b)) / Math.min(light(a), light(b));
  const style = selector => getComputedStyle(document.querySelector(selector));
  const page = style(".jp-Notebook").backgroundColor;
  const bar = n => `.jr-bar:nth-child(${n}) `;
  const track = style(bar(1) + ".jr-track").backgroundColor;
  return {
    full: ratio(style(bar(1) + ".jr-fill").backgroundColor, track),
    half: ratio(style(bar(2) + ".jr-fill").backgroundColor, track),
    cancel: ratio(style(".jr-cancel").color, style(".jr-cancel").backgroundColor),
    status: ratio(style(".jr-status").color, page),
  };
}"""


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_in_light_and_dark_all_can_be_told_apart(chromium, tmp_path, theme):
    bars = (
        "%%remote_run -d bars\nfrom tqdm import tqdm\nimport time\n"
        "for i in tqdm(range(3), desc='full'): time.sleep(0.1)\n"
        "half = tqdm(range(9), desc='half'); half.update(4); half.refresh()\ntime.sleep(600)"
    )
    with (
        lab.server(tmp_path, theme=f"JupyterLab {theme}", extended=False) as server,
        contextlib.closing(lab.new_page(chromium)) as tab,
        lab.book(tab, server, "bars.ipynb", LOAD, bars) as page,
    ):
        page.run(0)
        output = page.start(1)
        expect(output.locator(".jr-card").get_by_role("progressbar")).to_have_count(2)
        ratios = tab.evaluate(CONTRAST)
        output.get_by_role("button").click()
        expect(output).to_contain_text("KeyboardInterrupt")
    assert min(ratios["full"], ratios["half"]) >= 3
    assert min(ratios["cancel"], ratios["status"]) >= 4.5


ONE_CARD = """
import time
from msgspec.structs import replace
from jupyter_remote.cards.state import render, state_of
from jupyter_remote.notebook.card import LIVE_AFTER_S, Card
from jupyter_remote.wire import Done, Event, JobView, Metrics, Money, raw

now = time.time()
money = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
view = JobView(
    id="0123abcd", kind="cell", status="running", submitted_at=now, started_at=now, money=money
)
moved = Metrics(
    at=now,
    cpu_percent=50.0,
    memory_bytes=10**9,
    peak_memory_bytes=10**9,
    disk_total_bytes=1,
    peak_read_bytes_per_s=10.0**7,
    peak_sent_bytes_per_s=10.0**7,
)
state = state_of(view)
for second in range(3):
    heard = raw(replace(moved, at=now + second))
    state = render(state, Event(job=view.id, type="metrics", data=heard, at=now))
card = Card(get_ipython().display_pub.publish, cancel=print, job=view.id)
card.draw(state)
time.sleep(LIVE_AFTER_S)
card.draw(replace(state, stage="executing"))
"""
ITS_END = """
view = replace(view, status="completed", ended_at=now + 1, metrics=replace(moved, at=now + 2))
card.draw(render(state, Event(job=view.id, type="done", data=raw(Done(job=view)), at=now + 1)))
"""


def test_nothing_moves_when_the_card_becomes_static(book):
    with book("still.ipynb", LOAD, ONE_CARD, ITS_END) as page:
        page.run(0)
        live = page.run(1).locator(".jr-card")
        expect(live.locator(".jr-graph")).to_have_count(4)
        height = live.bounding_box()["height"]
        page.run(2)
        static = page.output(1).locator(".jupyter-remote-card")
        expect(static).to_contain_text("completed")
        expect(static.locator("svg")).to_have_count(4)
        expect(live).to_have_count(0)
        assert abs(static.bounding_box()["height"] - height) < 2


def test_the_stop_button_ends_the_cell_with_the_remote_interrupt(book):
    with book("stop.ipynb", LOAD, ENDLESS, "%%remote_run\nx = 6 * 7\nx") as page:
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("started")
        page.command("notebook:interrupt-kernel")
        expect(output).to_contain_text("KeyboardInterrupt")
        expect(output).to_contain_text("time.sleep(0.02)")
        page.wait_idle()
        expect(page.run(2)).to_contain_text("42")
        assert page.errors == []


def test_a_card_whose_kernel_ended_says_so_and_the_job_is_found_again(book, tmp_path):
    gate = tmp_path / "gate"
    attach = "%load_ext jupyter_remote\n%remote attach last"
    slow = (
        "%%remote_run -d slow\nimport os, time\nfor i in range(30):\n    print(i)\n"
        f"    while i == 9 and not os.path.exists({str(gate)!r}):\n        time.sleep(0.02)"
    )
    with book("restart.ipynb", LOAD, slow, attach) as page:
        page.run(0)
        output = page.start(1)
        expect(output.locator(".jr-card")).to_contain_text("running")
        page.restart_kernel()
        expect(output).to_contain_text(re.compile("kernel ended.*%remote attach"))
        expect(output.get_by_role("button")).to_have_count(0)
        gate.touch()
        again = page.run(2)
        expect(again.locator(".jp-OutputArea-output pre").first).to_have_text(
            "".join(f"{i}\n" for i in range(30))
        )
        expect(again.get_by_role("group", name="slow")).to_contain_text("completed")


WATCH = """() => {  // all that the statuses of cards say, however short
  window.said = new Set();
  const note = () => document.querySelectorAll(".jr-status").forEach(e => said.add(e.textContent));
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true });
}"""


def test_large_inputs_are_told_while_they_are_sent(book):
    big = "import os\nbig = [os.urandom(1 << 20) for _ in range(300)]"
    with book("big.ipynb", LOAD, big, "%%remote_run -d send\nlen(big)") as page:
        page.run(0)
        page.run(1)
        page.page.evaluate(WATCH)
        output = page.start(2)
        expect(output).to_contain_text("completed")
        expect(output).to_contain_text("300")
        assert "sending inputs" in page.page.evaluate("() => [...window.said].join()")


def test_in_notebook_7_the_card_is_the_same(chromium, tmp_path):
    with (
        lab.server(tmp_path, app="notebook", extended=False) as server,
        contextlib.closing(lab.new_page(chromium)) as tab,
        lab.book(tab, server, "seven.ipynb", LOAD, ENDLESS) as page,
    ):
        page.run(0)
        output = page.start(1)
        expect(output).to_contain_text("started")
        output.get_by_role("button", name="Cancel job endless").click()
        expect(output.get_by_role("group", name="endless")).to_contain_text("cancelled")
        expect(output).to_contain_text("KeyboardInterrupt")
        page.wait_idle()
        assert bundles(page.saved().cells[1]) == [STATIC]
        assert page.ours() == []

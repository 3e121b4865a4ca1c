"""What is shown, printed and cleared in an Output widget stays in its place in the cell."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_remote.worker import channel
from jupyter_remote.worker.output_widgets import VIEW, bundle_of
from tests.worker import playing_agent
from tests.worker.playing_agent import PlayingAgent, Transcript

pytestmark = pytest.mark.asyncio(loop_scope="module")


KINDS = ("clear_output", "error", "execute_result")


def cell_of(seen: Transcript) -> list[Any]:
    """Texts and the data of displays, as a front end without widgets has them at the end."""
    shown: list[Any] = []
    displays: dict[str, dict[str, Any]] = {}
    outs = {kind: iter(seen.outs(kind)) for kind in ("display_data", "update_display_data")}
    for message in seen.messages:
        kind = getattr(message, "msg_type", "")
        if isinstance(message, channel.Text):
            if message.elsewhere:
                continue
            if shown and isinstance(shown[-1], str) and shown[-1] not in KINDS:
                shown[-1] += message.text  # how much travels at a time is no matter here
            else:
                shown.append(message.text)
        elif kind == "display_data":
            content = next(outs[kind])
            shown.append(content["data"])
            displays[content["transient"].get("display_id", "")] = content["data"]
        elif kind == "update_display_data":
            content = next(outs[kind])
            data = displays[content["transient"]["display_id"]]
            data.clear()
            data.update(content["data"])
        elif kind in KINDS:
            shown.append(kind)
    for data in displays.values():
        data.pop(VIEW, None)
    return shown


OUT = "import ipywidgets as w\no = w.Output()\n"
CASES = {
    "text": (
        f"{OUT}print('a')\ndisplay(o)\nwith o: print('in')\nprint('b')",
        ["a\n", {"text/plain": "in\n"}, "b\n"],
    ),
    "a loop that clears": (
        f"{OUT}print('a')\ndisplay(o)\nfor i in range(50):\n    with o:\n"
        "        o.clear_output(wait=True); print(i)\nprint('b')",
        ["a\n", {"text/plain": "49\n"}, "b\n"],
    ),
    "clear_output of IPython": (
        f"{OUT}from IPython.display import clear_output\nprint('a')\ndisplay(o)\n"
        "with o: print('in'); clear_output()\nprint('b')",
        ["a\n", {"text/plain": ""}, "b\n"],
    ),
    "a display": (
        f"{OUT}from IPython.display import HTML\ndisplay(o)\nwith o: display(HTML('<b>x</b>'))",
        [{"text/plain": "<IPython.core.display.HTML object>", "text/html": "<b>x</b>"}],
    ),
    "an update of a display": (
        f"{OUT}display(o)\nwith o: h = display(1, display_id=True)\nh.update(2)",
        [{"text/plain": "2"}],
    ),
    "before it is shown": (f"{OUT}with o: print('in')\ndisplay(o)", [{"text/plain": "in\n"}]),
    "never shown": (f"{OUT}with o: print('in')\nprint('b')", ["b\n"]),
    "one in another": (
        f"{OUT}p = w.Output()\ndisplay(o, p)\nwith o:\n    with p: print('p')\n    print('o')",
        [{"text/plain": "o\n"}, {"text/plain": "p\n"}],
    ),
    "closed": (f"{OUT}display(o)\nwith o: print('in')\no.close()", [{"text/plain": ""}]),
    "its outputs": (
        f"{OUT}display(o)\no.append_stdout('out'); o.append_display_data(3)",
        [{"text/plain": "out3\n", "text/html": "<pre>out</pre>\n<pre>3\n</pre>"}],
    ),
    "emptied": (
        f"{OUT}display(o)\no.append_stdout('old')\no.outputs = ()",
        [{"text/plain": ""}],
    ),
    "an error": (
        f"{OUT}display(o)\nwith o: 1 / 0\nprint('b')",
        [{"text/plain": ""}, "error", "b\n"],
    ),
}


@pytest.mark.parametrize("what", CASES)
async def test_an_output_widget_is_a_display_of_its_own(agent: PlayingAgent, what: str) -> None:
    code, shown = CASES[what]
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok, seen.error
    assert cell_of(seen) == shown


async def test_an_output_widget_in_a_box_is_shown_behind_it(agent: PlayingAgent) -> None:
    code = f"{OUT}box = w.VBox([w.HBox([o])])\ndisplay(box)\nwith o: print('in')\nprint('b')"
    box, *rest = cell_of(await agent.cell(code, {}, outputs=[]))
    assert box["text/plain"].startswith("VBox")
    assert rest == [{"text/plain": "in\n"}, "b\n"]


async def test_a_live_display_of_rich_is_one_display(agent: PlayingAgent) -> None:
    code = """
from rich.live import Live
print("before")
with Live("first", refresh_per_second=50) as live:
    for i in range(20): live.update(f"step {i}", refresh=True)
print("after")
"""
    seen = await agent.cell(code, {}, outputs=[])
    before, live, *rest = cell_of(seen)
    assert (before, rest[-1]) == ("before\n", "after\n")
    assert "19" in live["text/plain"]
    assert live["text/plain"].count("step") == 1
    assert seen.outs("clear_output") == []


async def test_a_call_has_output_widgets_too(agent: PlayingAgent) -> None:
    def show() -> None:
        import ipywidgets
        from IPython.display import display

        out = ipywidgets.Output()
        display(out)
        with out:
            out.clear_output()
            print("in")

    assert cell_of(await agent.call(show)) == [{"text/plain": "in\n"}]
    assert cell_of(await agent.call(print)) == ["\n"]


async def test_several_outputs_are_one_bundle() -> None:
    png = {"output_type": "display_data", "data": {"image/png": "iVBOR\n"}}
    text = {"output_type": "stream", "name": "stdout", "text": "\x1b[1m<b>\x1b[0m\n"}
    assert bundle_of([text, png]) == (
        {
            "text/plain": "\x1b[1m<b>\x1b[0m\n\n",
            "text/html": '<pre>&lt;b&gt;\n</pre>\n<img src="data:image/png;base64,iVBOR">',
        },
        {},
    )


async def test_what_is_printed_in_a_widget_is_in_the_log(agent: PlayingAgent) -> None:
    code = f"{OUT}display(o)\nprint('a')\nwith o:\n    for i in range(40_000): print(i)\nprint('b')"
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.text() == "a\nb\n"
    assert seen.only_logged == "".join(f"{i}\n" for i in range(40_000))
    shown, *_ = cell_of(seen)
    assert shown["text/plain"].startswith("… (the beginning is in the log")
    assert shown["text/plain"].endswith("\n39999\n")


async def test_a_widget_holds_the_newest_of_very_many_outputs(agent: PlayingAgent) -> None:
    code = f"{OUT}display(o)\nwith o:\n    for i in range(2000): display(i)"
    (shown,) = cell_of(await agent.cell(code, {}, outputs=[]))
    assert shown["text/plain"].endswith("\n1999\n")
    assert len(shown["text/plain"].splitlines()) <= 401


async def test_what_was_printed_in_a_widget_before_a_death_is_not_lost(agent: PlayingAgent) -> None:
    spec, _ = playing_agent.cell_of(
        f"{OUT}display(o)\nwith o:\n    print('in')\n    import os; os._exit(3)", {}
    )
    await agent.send(spec)
    assert await agent.handle.wait() == "exit 3"
    seen = await agent.rest()
    assert "in\n" in seen.only_logged + seen.text()  # the end of the line may have been unsent

"""Widgets of remote code, as a front end of the local kernel has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebook.kernels import LIMIT_S, Kernel, Message, executed, printed, started

VIEW = "application/vnd.jupyter.widget-view+json"


class Page:
    """A front end: it knows each widget by what it was told, and changes them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.states: dict[str, dict[str, Any]] = {}
        self.buffers: dict[str, dict[tuple[Any, ...], bytes]] = {}
        self.custom: list[tuple[Any, list[bytes]]] = []
        self.messages: list[Message] = []

    def hear(self, message: Message) -> None:
        self.messages.append(message)
        content = message["content"]
        if message["msg_type"] == "comm_close":
            self.states.pop(content["comm_id"], None)
        if message["msg_type"] not in ("comm_open", "comm_msg"):
            return
        id, data = content["comm_id"], content["data"]
        pieces = [bytes(b) for b in message["buffers"]]
        if data.get("method") == "custom":
            self.custom.append((data["content"], pieces))
        if data.get("method") == "update_states":
            self.states = {id: known["state"] for id, known in data["states"].items()}
            for (owner, _, *path), piece in zip(data["buffer_paths"], pieces, strict=True):
                self.buffers.setdefault(owner, {})[tuple(path)] = piece
        elif "state" in data:
            self.states.setdefault(id, {}).update(data["state"])
            paths = map(tuple, data.get("buffer_paths", ()))
            self.buffers.setdefault(id, {}).update(zip(paths, pieces, strict=True))

    def run(self, code: str) -> list[Message]:
        return self.kernel.run(code, self.hear)

    def tell(
        self,
        kind: str,
        content: dict[str, Any],
        buffers: list[bytes] | None = None,
        subshell: str | None = None,
    ) -> str:
        """Sends a message; its id."""
        client = self.kernel.client
        message = client.session.msg(kind, content)
        message["header"]["subshell_id"] = subshell
        client.session.send(client.shell_channel.socket, message, buffers=buffers)
        return str(message["header"]["msg_id"])

    def change(self, id: str, subshell: str | None = None, **state: Any) -> str:
        data = {"method": "update", "state": state, "buffer_paths": []}
        return self.tell("comm_msg", {"comm_id": id, "data": data}, subshell=subshell)

    def new_subshell(self) -> str:
        """As JupyterLab has one for widgets."""
        client = self.kernel.client
        client.control_channel.send(client.session.msg("create_subshell_request", {}))
        return str(client.get_control_msg(timeout=LIMIT_S)["content"]["subshell_id"])

    def click(self, id: str) -> str:
        data = {"method": "custom", "content": {"event": "click"}}
        return self.tell("comm_msg", {"comm_id": id, "data": data})

    def until(self, what: Callable[[], Any]) -> Any:
        end = time.monotonic() + LIMIT_S
        while not (found := what()):
            assert time.monotonic() < end, "what was awaited did not come"
            self.hear(self.kernel.client.get_iopub_msg(timeout=LIMIT_S))
        return found

    def of(self, model: str) -> str:
        """The id of the newest widget of a kind."""
        return [id for id, s in self.states.items() if s.get("_model_name") == model][-1]

    def answers(self, id: str) -> list[Message]:
        return [m for m in self.messages if m["parent_header"].get("msg_id") == id]


@pytest.fixture(scope="module")
def own_kernel() -> Iterator[Kernel]:
    manager, client = started()
    kernel = Kernel(manager, client)
    kernel.run("%load_ext jupyter_remote\n%remote status")
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


@pytest.fixture
def page(own_kernel: Kernel) -> Page:
    return Page(own_kernel)


def served(page: Page, id: str) -> list[Message]:
    """What came for a request of the front end, to its end."""

    def ended() -> bool:
        states = [m["content"].get("execution_state") for m in page.answers(id)]
        return "idle" in states

    page.until(ended)
    return page.answers(id)


SLIDER = """%%remote_run -s live
import ipywidgets
slider = ipywidgets.IntSlider(3)
label = ipywidgets.Label("-")
def moved(change):
    print("now", change["new"])
    label.value = f"twice is {2 * change['new']}"
slider.observe(moved, "value")
display(slider, label)
"""


def test_a_slider_of_a_session_is_live_and_its_callback_runs_over_there(page: Page) -> None:
    messages = page.run(SLIDER)
    slider, label = page.of("IntSliderModel"), page.of("LabelModel")
    views = [
        m["content"]["data"].get(VIEW, {}) for m in messages if m["msg_type"] == "display_data"
    ]
    assert [v["model_id"] for v in views if v][-2:] == [slider, label]
    assert "disconnected" not in printed(messages)
    id = page.change(slider, value=21)
    page.until(lambda: page.states[label]["value"] == "twice is 42")
    assert printed(served(page, id)) == "now 21\n"  # before the end of its request
    assert printed(page.run("%%remote_run -s live\nprint(slider.value)")).endswith("21\n")


BUTTON = """%%remote_run -s live
button = ipywidgets.Button(description="go")
clicks = []
def clicked(_):
    clicks.append(1)
    button.description = f"{len(clicks)} times"
    if len(clicks) == 2: 1 / 0
button.on_click(clicked)
display(button)
"""


def test_a_button_calls_its_callback_and_an_error_in_it_is_told(page: Page) -> None:
    page.run(BUTTON)
    button = page.of("ButtonModel")
    served(page, page.click(button))
    page.until(lambda: page.states[button]["description"] == "1 times")
    answers = served(page, page.click(button))
    assert [m["content"]["ename"] for m in answers if m["msg_type"] == "error"] == [
        "ZeroDivisionError"
    ]
    served(page, page.click(button))
    page.until(lambda: page.states[button]["description"] == "3 times")


def test_a_callback_updates_a_display_of_its_cell(page: Page) -> None:
    page.run("""%%remote_run -s live
import ipywidgets
shown = display({"text/plain": "begun"}, raw=True, display_id="shown")
button = ipywidgets.Button()
button.on_click(lambda _: shown.update({"text/plain": "clicked"}, raw=True))
display(button)
""")
    served(page, page.click(page.of("ButtonModel")))
    [update] = [
        m["content"]
        for m in page.messages
        if m["msg_type"] == "update_display_data" and "clicked" in str(m["content"]["data"])
    ]
    assert update["transient"]["display_id"] == "shown"


ODD = """%%remote_run -s live
import comm
odd = comm.create_comm(target_name="jupyter.widget", data={"state": 5, "buffer_paths": 7})
for path in (3, [], ["a", {}]):
    data = {"method": "update", "state": {"a": 1}, "buffer_paths": [path]}
    odd.send(data, buffers=[b"x"])
    odd.send(data, buffers=[b"x"])
odd.send("text")
print("still here")
"""


def test_comm_messages_that_make_no_sense_cost_a_cell_nothing(page: Page) -> None:
    assert printed(page.kernel.run(ODD)).endswith("still here\n")


BUFFERS = """%%remote_run -s live
import anywidget, traitlets
class Echo(anywidget.AnyWidget):
    _esm = "export default { render() {} }"
    data = traitlets.Bytes(b"begun").tag(sync=True)
echo = Echo()
def heard(widget, content, buffers):
    widget.data = bytes(buffers[0])[::-1]
    widget.send({"got": content}, [bytes(buffers[0]) * 2])
echo.on_msg(heard)
display(echo)
"""


def test_buffers_and_messages_of_its_own_go_both_ways(page: Page) -> None:
    page.run(BUFFERS)
    echo = page.of("AnyModel")
    assert page.buffers[echo]["data",] == b"begun"
    custom = {"method": "custom", "content": "hello"}
    page.tell("comm_msg", {"comm_id": echo, "data": custom}, [b"\0abc\xff"])
    page.until(lambda: page.custom)
    assert page.custom == [({"got": "hello"}, [b"\0abc\xff" * 2])]
    page.until(lambda: page.buffers[echo]["data",] == b"\xffcba\0")


INTERACT = """%%remote_run -s live
@ipywidgets.interact(n=(0, 10))
def show(n=1):
    print("n is", n)
    return n * n
"""


def test_interact_shows_the_output_of_its_function_anew(page: Page) -> None:
    page.run(INTERACT)
    slider, output = page.of("IntSliderModel"), page.of("OutputModel")

    def texts() -> list[str]:
        outputs = page.states[output]["outputs"]
        return [o.get("text") or o["data"]["text/plain"] for o in outputs]

    page.until(lambda: texts() == ["n is 1\n", "1"])
    served(page, page.change(slider, value=4))
    page.until(lambda: texts() == ["n is 4\n", "16"])
    assert page.states[output]["msg_id"] == ""


def test_a_page_that_is_loaded_again_has_remote_widgets_as_they_are_now(page: Page) -> None:
    page.run(SLIDER)
    page.run(BUFFERS)
    slider, label, echo = (page.of(m) for m in ("IntSliderModel", "LabelModel", "AnyModel"))
    served(page, page.change(slider, value=8))
    page.until(lambda: page.states[label]["value"] == "twice is 16")
    again = Page(page.kernel)
    opened = {"comm_id": "c1", "target_name": "jupyter.widget.control", "data": {}}
    message = again.kernel.client.session.msg("comm_open", opened, metadata={"version": "1.0.0"})
    again.kernel.client.session.send(again.kernel.client.shell_channel.socket, message)
    again.tell("comm_msg", {"comm_id": "c1", "data": {"method": "request_states"}})
    again.until(lambda: again.states)
    assert again.states[slider]["value"] == 8
    assert again.states[label]["value"] == "twice is 16"
    assert again.buffers[echo]["data",] == b"begun"
    alone = Page(page.kernel)
    alone.tell("comm_msg", {"comm_id": label, "data": {"method": "request_state"}})
    alone.until(lambda: alone.states.get(label))
    assert alone.states[label]["value"] == "twice is 16"


def test_widgets_of_a_job_are_disconnected_when_it_is_over(page: Page) -> None:
    messages = page.run("%%remote_run\nimport ipywidgets\ndisplay(ipywidgets.IntSlider(7))")
    slider = page.of("IntSliderModel")
    assert page.states[slider] | {"value": 7, "disabled": True} == page.states[slider]
    assert "disconnected" in printed(messages)
    answers = served(page, page.change(slider, value=9))
    assert [m["content"]["data"]["state"] for m in answers if m["msg_type"] == "comm_msg"] == [
        {"disabled": True}
    ]
    assert "this widget is disconnected" in printed(answers)


def test_widgets_of_a_session_are_disconnected_when_it_is_stopped(page: Page) -> None:
    page.run(SLIDER.replace("-s live", "-s brief"))
    slider = page.of("IntSliderModel")
    assert page.states[slider]["disabled"] is False
    page.run("%remote stop brief")
    page.until(lambda: page.states[slider]["disabled"])


def test_widgets_of_a_session_that_dies_are_disconnected(page: Page) -> None:
    page.run(SLIDER.replace("-s live", "-s dying"))
    slider = page.of("IntSliderModel")
    page.run("%%remote_run -s dying\nimport os; os._exit(3)")
    page.until(lambda: page.states[slider]["disabled"])


def test_output_alone_needs_nobody_and_says_nothing_of_it(page: Page) -> None:
    told = printed(page.run("%%remote_run\nimport ipywidgets\ndisplay(ipywidgets.Output())"))
    assert "disconnected" not in told


def test_attach_in_the_same_kernel_takes_no_widget_back_in_time(page: Page) -> None:
    page.run(SLIDER)
    slider = page.of("IntSliderModel")
    served(page, page.change(slider, value=12))
    later = len(page.messages)
    shown = page.run("%remote attach last")
    views = [m["content"]["data"].get(VIEW, {}) for m in shown if m["msg_type"] == "display_data"]
    assert slider in [view.get("model_id") for view in views]
    said = [m["content"]["data"].get("state", {}) for m in comms_of(page, slider, later)]
    assert not any(state.get("value", 12) != 12 for state in said)
    assert page.states[slider]["value"] == 12


def comms_of(page: Page, id: str, after: int) -> list[Message]:
    return [m for m in page.messages[after:] if m["content"].get("comm_id") == id]


def test_a_code_that_waits_hears_its_widgets_while_its_cell_runs(page: Page) -> None:
    page.run("""%%remote_run --bg
import asyncio, ipywidgets
came = asyncio.Event()
slider = ipywidgets.IntSlider()
slider.observe(lambda change: came.set(), "value")
display(slider)
await came.wait()
print("came", slider.value)
""")
    page.until(lambda: any(s.get("_model_name") == "IntSliderModel" for s in page.states.values()))
    page.change(page.of("IntSliderModel"), value=5)
    page.until(lambda: "came 5" in printed(page.messages))


BLOCKS = """%%remote_run -s live -i gate
import os, time
print("begun", slider.value)
while not os.path.exists(gate): time.sleep(0.02)
print("ended", slider.value)
"""


def test_a_message_that_comes_while_a_cell_runs_is_served_after_it(
    page: Page, tmp_path: Path
) -> None:
    page.run(SLIDER)
    slider, label = page.of("IntSliderModel"), page.of("LabelModel")
    subshell = page.new_subshell()
    page.run(f"gate = {str(tmp_path / 'gate')!r}")
    cell = page.kernel.client.execute(BLOCKS)
    page.until(lambda: "begun 3" in printed(page.answers(cell)))
    moved = page.change(slider, subshell, value=30)
    page.until(lambda: page.answers(moved))
    (tmp_path / "gate").touch()
    page.until(lambda: page.states[label]["value"] == "twice is 60")
    page.until(lambda: "ended 3" in printed(page.answers(cell)))
    served(page, moved)
    assert printed(page.messages).count("now 30\n") == 1


def test_attach_after_a_restart_of_the_kernel_brings_widgets_back(page: Page) -> None:
    page.run(SLIDER)
    served(page, page.change(page.of("IntSliderModel"), value=12))
    manager, client = started()
    try:
        other = Page(Kernel(manager, client))
        other.run("%load_ext jupyter_remote\n%remote attach last")
        slider, label = other.of("IntSliderModel"), other.of("LabelModel")
        other.until(lambda: other.states[slider]["value"] == 12)
        other.until(lambda: other.states[label]["value"] == "twice is 24")
        other.change(slider, value=13)
        other.until(lambda: other.states[label]["value"] == "twice is 26")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_a_notebook_that_is_run_by_a_program_keeps_the_state_of_remote_widgets() -> None:
    cells = ["%load_ext jupyter_remote", SLIDER, "%%remote_run -s live\nslider.value = 17"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    done = executed(notebook, timeout=120)
    kept = done.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    [slider] = [s for s in kept.values() if s["model_name"] == "IntSliderModel"]
    [label] = [s for s in kept.values() if s["model_name"] == "LabelModel"]
    assert slider["state"]["value"] == 17
    assert label["state"]["value"] == "twice is 34"
    views = [o.data[VIEW] for o in done.cells[1].outputs if VIEW in o.get("data", {})]
    assert {v["model_id"] for v in views} <= kept.keys()
    assert len(views) == 2


def test_a_flood_of_changes_is_merged_and_the_last_one_comes(page: Page) -> None:
    page.run(
        "%%remote_run -s live\nslider = ipywidgets.IntSlider(max=10**6)\ndisplay(slider)\n"
        "for i in range(20_000): slider.value = i + 1"
    )
    slider = page.of("IntSliderModel")
    page.until(lambda: page.states[slider]["value"] == 20_000)
    changes = [m for m in page.messages if m["msg_type"] == "comm_msg"]
    assert len(changes) < 400


def test_a_message_that_is_too_large_is_refused_in_words(page: Page) -> None:
    page.run(BUFFERS)
    echo = page.of("AnyModel")
    custom = {"method": "custom", "content": "big"}
    id = page.tell("comm_msg", {"comm_id": echo, "data": custom}, [bytes(17 * 1024 * 1024)])
    assert "the limit is 16 MB" in printed(served(page, id))
    told = printed(page.run("%%remote_run -s live\necho.data = bytes(17 * 1024 * 1024)"))
    assert "comm_msg of 17 MB is not shown: the limit is 16 MB" in told


def test_a_comm_of_another_in_this_kernel_is_not_taken_over(page: Page) -> None:
    page.run("import ipywidgets\nmine = ipywidgets.IntSlider(5)")
    mine = page.of("IntSliderModel")
    state = {"state": {"value": 6}}
    page.run(
        "%%remote_run -s live\nimport comm\n"
        f"comm.create_comm(target_name='jupyter.widget', comm_id={mine!r}, data={state})"
    )
    assert page.states[mine]["value"] == 5
    served(page, page.change(mine, value=4))
    assert printed(page.run("print('mine is', mine.value)")) == "mine is 4\n"

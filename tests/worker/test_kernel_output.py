"""What user code prints, draws and displays arrives in order, without a flush."""

from __future__ import annotations

import pytest

from jupyter_remote.worker import channel
from tests.worker.playing_agent import PlayingAgent, cell_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def squashed(order: list[str]) -> list[str]:
    """Neighbouring pieces of one stream are one."""
    result: list[str] = []
    for entry in order:
        name, _, text = entry.partition(" ")
        if text and result and result[-1].startswith(f"{name} "):
            result[-1] += text
        else:
            result.append(entry)
    return result


async def test_streams_and_displays_keep_their_order(agent: PlayingAgent) -> None:
    code = """
import sys
print("a")
print("b", file=sys.stderr)
display(1)
print("c")
sys.stderr.write("d\\n")
display({"x": 1})
3 + 4
"""
    seen = await agent.cell(code, {})
    assert squashed(seen.order) == [
        "stdout a\n",
        "stderr b\n",
        "display_data",
        "stdout c\n",
        "stderr d\n",
        "display_data",
        "execute_result",
    ]


async def test_output_of_c_code_and_children_is_between_what_python_printed(
    agent: PlayingAgent,
) -> None:
    code = """
import ctypes, os, subprocess
print("1")
os.system("echo 2")
print("3")
os.write(1, b"4\\n")
print("5")
ctypes.CDLL(None).puts(b"6")
ctypes.CDLL(None).fflush(None)
print("7")
subprocess.run(["echo", "8"])
display(0)
print("9")
_ = os.system("echo err >&2")
"""
    seen = await agent.cell(code, {})
    assert squashed(seen.order) == [
        "stdout 1\n2\n3\n4\n5\n6\n7\n8\n",
        "display_data",
        "stdout 9\n",
        "stderr err\n",
    ]


async def test_a_print_is_seen_while_the_code_goes_on_without_a_flush(agent: PlayingAgent) -> None:
    code = "import os, time\nprint('seen')\nwhile not os.path.exists('go'): time.sleep(0.001)\n"
    spec, _ = cell_of(code, {})
    await agent.send(spec)
    await agent.until_text("seen\n")
    (agent.now.folder / "cwd" / "go").touch()
    assert (await agent.finish()).done.ok


async def test_a_burst_of_lines_is_few_messages(agent: PlayingAgent) -> None:
    seen = await agent.cell("for i in range(20_000): print(i)", {})
    assert seen.text() == "".join(f"{i}\n" for i in range(20_000))
    assert len([m for m in seen.messages if isinstance(m, channel.Text)]) < 2_000


async def test_one_very_long_line_comes_in_pieces(agent: PlayingAgent) -> None:
    seen = await agent.cell("print('x' * 10_000_000)", {})
    pieces = [m for m in seen.messages if isinstance(m, channel.Text)]
    assert sum(len(p.text) for p in pieces) == 10_000_001
    assert max(len(p.text) for p in pieces) < 1_000_000


async def test_a_figure_is_drawn_at_the_end_of_the_cell(agent: PlayingAgent) -> None:
    seen = await agent.cell(
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint('x')", {}, outputs=[]
    )
    (figure,) = seen.outs("display_data")
    assert figure["data"]["image/png"].startswith("iVBOR")


async def test_a_figure_of_a_called_function_is_drawn(agent: PlayingAgent) -> None:
    def draw() -> None:
        import matplotlib.pyplot as plt

        plt.plot([1, 2])

    seen = await agent.call(draw)
    assert "image/png" in seen.outs("display_data")[0]["data"]


async def test_rich_reprs_travel_as_mime_bundles(agent: PlayingAgent) -> None:
    code = """
import pandas as pd
from IPython.display import HTML, JSON, Latex
display(HTML("<b>x</b>"), JSON({"a": 1}), Latex("$x$"))
pd.DataFrame({"a": [1]})
"""
    seen = await agent.cell(code, {}, outputs=[])
    kinds = [next(k for k in o["data"] if k != "text/plain") for o in seen.outs("display_data")]
    assert kinds == ["text/html", "application/json", "text/latex"]
    assert "<table" in seen.outs("execute_result")[0]["data"]["text/html"]


async def test_displays_are_updated_and_output_is_cleared(agent: PlayingAgent) -> None:
    code = """
from IPython.display import clear_output
h = display("a", display_id="one")
h.update("b")
clear_output(wait=True)
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.order == ["display_data", "update_display_data", "clear_output"]
    assert seen.outs("update_display_data")[0]["transient"] == {"display_id": "one"}
    assert seen.outs("clear_output") == [{"wait": True}]


async def test_a_background_thread_prints(agent: PlayingAgent) -> None:
    code = "import threading\nt = threading.Thread(target=print, args=('t',))\nt.start(); t.join()"
    assert (await agent.cell(code, {}, outputs=[])).text() == "t\n"


async def test_a_forked_child_prints_and_cannot_speak_for_the_kernel(agent: PlayingAgent) -> None:
    code = """
import os
pid = os.fork()
if pid == 0:
    print("child")
else:
    os.waitpid(pid, 0)
    print("parent")
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.text() == "child\nparent\n"


async def test_text_that_is_not_unicode_arrives_all_the_same(agent: PlayingAgent) -> None:
    code = (
        "print('\\udcff')\nimport os\nos.write(1, b'\\xff\\n')\ndisplay({'\\udcff': float('nan')})"
    )
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok
    assert seen.text() == "\\udcff\n\ufffd\n"


async def test_input_asks_and_gets_an_answer(agent: PlayingAgent) -> None:
    spec, _ = cell_of("import getpass\na = input('name? ')\nb = getpass.getpass('secret? ')", {})
    await agent.send(spec)
    asked = await agent.until(lambda m: isinstance(m, channel.Ask))
    assert asked == channel.Ask("name? ")
    await agent.handle.send(channel.Input("Ada"))
    asked = await agent.until(lambda m: isinstance(m, channel.Ask))
    assert asked == channel.Ask("secret? ", password=True)
    await agent.handle.send(channel.Input("pst"))
    seen = await agent.finish()
    assert seen.value() | {"getpass": 0} == {"a": "Ada", "b": "pst", "getpass": 0}


async def test_a_called_function_may_ask(agent: PlayingAgent) -> None:
    def ask() -> str:
        return input("? ")

    from jupyter_remote import values
    from jupyter_remote.wire import JobSpec

    function, inputs = values.pack(ask).parcel, values.pack(((), {})).parcel
    await agent.send(JobSpec(kind="call", function=function, inputs=inputs))
    await agent.until(lambda m: isinstance(m, channel.Ask))
    await agent.handle.send(channel.Input("yes"))
    assert (await agent.finish()).value() == "yes"


async def test_comms_go_both_ways_while_a_cell_awaits(agent: PlayingAgent) -> None:
    code = """
import asyncio, comm
got = asyncio.Event()
c = comm.create_comm(target_name="t", data={"hello": 1}, buffers=[b"xyz"])
def heard(msg):
    print(msg["content"]["data"], bytes(msg["buffers"][0]))
    got.set()
c.on_msg(heard)
c.send({"ready": 1})
await got.wait()
"""
    spec, _ = cell_of(code, {}, outputs=[])
    await agent.send(spec)
    opened = await agent.until(lambda m: getattr(m, "msg_type", "") == "comm_open")
    assert isinstance(opened, channel.Out)
    assert opened.buffers == [b"xyz"]
    await agent.until(lambda m: getattr(m, "msg_type", "") == "comm_msg")
    (content,) = agent.now.outs("comm_open")
    await agent.handle.send(
        channel.Comm(
            msg_type="comm_msg",
            content={"comm_id": content["comm_id"], "data": {"x": 2}},
            buffers=[b"abc"],
        )
    )
    assert (await agent.finish()).text() == "{'x': 2} b'abc'\n"


async def test_widgets_open_their_comms(agent: PlayingAgent) -> None:
    seen = await agent.cell("import ipywidgets\nipywidgets.IntSlider()", {}, outputs=[])
    assert seen.order.count("comm_open") == 3
    assert "application/vnd.jupyter.widget-view+json" in seen.outs("execute_result")[0]["data"]


async def test_a_flood_does_not_lose_or_reorder_anything(agent: PlayingAgent) -> None:
    code = "import sys\nfor i in range(200_000): sys.stdout.write(f'{i:09d}\\n')"
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.text() == "".join(f"{i:09d}\n" for i in range(200_000))


async def test_a_huge_display_is_a_notice_and_is_not_copied(agent: PlayingAgent) -> None:
    code = """
import resource
from IPython.display import HTML, display
huge = HTML("z" * 300_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
display(huge)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000)
"\\x01" * 10_000_000
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok
    assert seen.text() == "True\n"
    display, result = (notice["text"] for notice in seen.outs("notice"))
    assert display.startswith("display_data of 286.1 MB is not shown")
    assert result.startswith("execute_result of ")


async def test_a_long_line_comes_in_pieces(agent: PlayingAgent) -> None:
    seen = await agent.cell("print('é' * 5_000_000)", {}, outputs=[])
    assert len(seen.text()) == 5_000_001
    texts = [m.text for m in seen.messages if isinstance(m, channel.Text)]
    assert max(len(text.encode()) for text in texts) <= 1024**2


async def test_many_threads_may_print(agent: PlayingAgent) -> None:
    code = """
import os, threading
def talk(i):
    for k in range(2000):
        print(f"{i}\\n", end="")
        if k % 50 == 0:
            os.write(2, b"raw\\n")
threads = [threading.Thread(target=talk, args=(i,)) for i in range(8)]
threading.excepthook = lambda args: print("broken", args)
for t in threads: t.start()
talk(8)
for t in threads: t.join()
"""
    seen = await agent.cell(code, {}, outputs=[])
    assert seen.done.ok, seen.error
    assert sorted(seen.text().split()) == sorted(str(i) for i in range(9) for _ in range(2000))
    assert seen.text("stderr") == "raw\n" * 40 * 9

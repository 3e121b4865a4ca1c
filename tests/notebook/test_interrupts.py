"""The stop button and the card's Cancel, while a cell of a real kernel waits for its job."""

from __future__ import annotations

import re
import signal
import time

import pytest

from jupyter_remote.notebook.control import MESSAGE, SETTING
from tests.notebook.kernels import (
    LIMIT_S,
    Kernel,
    Message,
    last_card,
    once,
    printed,
    raised,
    started,
)

KILLED_SOON = r"\[cancelled: killed after \d\.\d s\]"  # without a time it would be after 10 s
STUBBORN = (
    "%%remote_run -n job\nimport time\nprint('started')\nwhile True:\n    try:\n"
    "        time.sleep(60)\n    except KeyboardInterrupt:\n        print('no')\n"
)


def test_an_interrupt_lets_the_remote_code_clean_up_and_ends_its_cell(kernel):
    code = (
        "%%remote_run\nimport time\ntry:\n    print('started')\n    time.sleep(60)\n"
        "finally:\n    print('cleaned up')"
    )
    messages = kernel.run(code, once("started", kernel.interrupt))
    assert "cleaned up" in printed(messages)
    assert "KeyboardInterrupt" in "\n".join(raised(messages)["traceback"])
    assert "jupyter_remote" not in "\n".join(raised(messages)["traceback"])
    assert last_card(messages).startswith("[cancelled: stopped by KeyboardInterrupt]")
    assert printed(kernel.run("print('next')")) == "next\n"


def test_a_second_interrupt_kills(kernel):
    messages: list[Message] = []
    first, second = once("started", kernel.interrupt), once("no", kernel.interrupt)

    def seen(message: Message) -> None:
        first(message)
        second(message)

    messages = kernel.run(STUBBORN, seen)
    assert raised(messages)["ename"] == "JobCancelled"
    assert "killed after" in raised(messages)["evalue"]
    assert last_card(messages).startswith("[cancelled: killed after")
    assert printed(kernel.run("print('next')")) == "next\n"


def test_a_third_interrupt_waits_no_more_and_the_job_goes_on(kernel, tmp_path):
    gate = tmp_path / "gate"
    code = (
        "%%remote_run -d patient\nimport os, time\nprint('started')\n"
        f"while not os.path.exists({str(gate)!r}):\n    time.sleep(0.02)\nprint('over')\nend = 1"
    )
    deaf = (
        "from jupyter_remote.client.job import Job\n"
        "real, Job.cancel = Job.cancel, lambda *a, **k: None"
    )
    kernel.run(deaf)  # a backend that is away hears of neither interrupt

    def seen(message: Message) -> None:
        first(message)
        for said, interrupt in (("(again: kill)", second), ("wait no more", third)):
            if said in str(message["content"].get("data", {}).get("text/plain", "")):
                interrupt({"content": {"text": said}})

    first = once("started", kernel.interrupt)
    second = once("again", kernel.interrupt)
    third = once("no more", kernel.interrupt)
    messages = kernel.run(code, seen)
    assert raised(messages)["ename"] == "KeyboardInterrupt"
    assert "no longer waiting for job" in printed(messages)
    gate.touch()
    attached = kernel.run("Job.cancel = real\n%remote attach last")
    assert "over" in printed(attached)
    assert last_card(attached).startswith("[completed] patient")
    assert kernel.run("end")[-2]["content"]["data"]["text/plain"] == "1"


def test_a_killed_kernels_job_is_found_continued_and_comes_home(tmp_path):
    manager, client = started()
    doomed = Kernel(manager, client)
    try:
        doomed.run("%load_ext jupyter_remote")
        code = (
            "import time\nfor i in range(25):\n    print('tick', i)\n    time.sleep(0.1)\nticks = i"
        )
        doomed.run(f"%%remote_run --bg -d orphan\n{code}")
        while "tick 3" not in str(client.get_iopub_msg(timeout=LIMIT_S)["content"]):
            pass
        manager.signal_kernel(signal.SIGKILL)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    manager, client = started()
    later = Kernel(manager, client)
    try:
        later.run("%load_ext jupyter_remote")
        listed = str([m["content"] for m in later.run("%remote jobs")])
        attached = later.run("%remote attach last")
        ticks = later.run("ticks")[-2]["content"]["data"]["text/plain"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
    assert "orphan" in listed
    assert printed(attached) == "".join(f"tick {i}\n" for i in range(25))
    assert ticks == "24"


def test_the_kernel_is_usable_after_interrupts(kernel):
    messages = kernel.run("import signal\nsignal.getsignal(signal.SIGINT)")
    (result,) = [m for m in messages if m["msg_type"] == "execute_result"]
    assert "default_int_handler" in result["content"]["data"]["text/plain"]


def asked(kernel: Kernel, kind: str, content: dict[str, object]) -> None:
    """As a card does in a page; others may have been answered before."""
    message = kernel.client.session.msg(kind, content)
    kernel.client.control_channel.send(message)
    reply = kernel.client.get_control_msg(timeout=LIMIT_S)
    while reply["parent_header"]["msg_id"] != message["header"]["msg_id"]:
        reply = kernel.client.get_control_msg(timeout=LIMIT_S)
    assert reply["content"] == {"status": "ok"}


def test_cancel_over_the_control_channel_works_while_the_cell_waits(kernel):
    def cancel() -> None:
        asked(kernel, MESSAGE, {"job": "last", "force": False})

    code = "%%remote_run\nimport time\nprint('started')\ntime.sleep(60)"
    messages = kernel.run(code, once("started", cancel))
    assert last_card(messages).startswith("[cancelled: stopped by KeyboardInterrupt]")


def test_a_cancel_that_is_ignored_becomes_a_kill_when_it_said(kernel):
    cards: list[str] = []

    def cancel() -> None:
        asked(kernel, MESSAGE, {"job": "last", "force": False, "force_after_s": 0.5})

    def seen(message: Message) -> None:
        cards.append(str(message["content"].get("data", {}).get("text/plain", "")))
        stop(message)

    stop = once("started", cancel)
    messages = kernel.run(STUBBORN, seen)
    assert any(re.match(r"\[cancelling: (killed in 1 s|killing…)\]", card) for card in cards)
    assert re.match(KILLED_SOON, last_card(messages))
    assert "no" in printed(messages)
    assert printed(kernel.run("print('next')")) == "next\n"


def tell(kernel: Kernel, after_s: object) -> None:
    """As a card does in a page with that setting."""
    asked(kernel, SETTING, {"force_after_s": after_s})


def test_the_stop_button_kills_when_the_page_is_set_so(kernel):
    tell(kernel, 0.5)
    messages = kernel.run(STUBBORN, once("started", kernel.interrupt))
    assert re.match(KILLED_SOON, last_card(messages))
    told = "from jupyter_remote.notebook.context import current\nprint(current().force_after)"
    for senseless in (-1, 1e9, "soon", True, None):
        tell(kernel, 0.5)
        tell(kernel, senseless)
        assert printed(kernel.run(told)) == "None\n"


def test_the_stop_button_kills_no_session_by_time(kernel):
    tell(kernel, 0.5)
    cards: list[str] = []
    stop = once("started", kernel.interrupt)

    def seen(message: Message) -> None:
        stop(message)
        card = str(message["content"].get("data", {}).get("text/plain", ""))
        if card.startswith("[cancelling: "):
            cards.append(card)
            if len(cards) == 1:
                kernel.interrupt()

    kernel.run(STUBBORN.replace("-n job", "-s stubborn"), seen)
    tell(kernel, None)
    assert "not killed while its code goes on]" in cards[0]


@pytest.mark.parametrize("way", ["the stop button", "the control channel"])
def test_a_stop_ends_the_question_of_a_job_too(kernel, way):
    code = (
        "%%remote_run -s asks\nkept = 7\ntry:\n    input('who? ')\n"
        "except KeyboardInterrupt:\n    print('stopped')\n    raise"
    )
    client = kernel.client
    id = client.execute(code, allow_stdin=True)
    assert client.get_stdin_msg(timeout=LIMIT_S)["content"]["prompt"] == "who? "
    if way == "the stop button":
        kernel.interrupt()
    else:
        client.control_channel.send(client.session.msg(MESSAGE, {"job": "last"}))
    messages = of_cell(kernel, id)
    assert "stopped" in printed(messages)
    assert last_card(messages).startswith("[cancelled: stopped by KeyboardInterrupt]")
    assert printed(kernel.run("%%remote_run -s asks\nprint(kept + 1)")) == "8\n"


def test_an_answer_is_given_whatever_came_meanwhile(kernel):
    code = (
        "%%remote_run -s asks\nimport threading\nshown = threading.Event()\n"
        "def aside():\n    print('aside')\n    shown.set()\n"
        "threading.Timer(0.2, aside).start()\nname = input('who? ')\nshown.wait()\n"
        "print('hello', name)"
    )
    client = kernel.client
    id = client.execute(code, allow_stdin=True)
    client.get_stdin_msg(timeout=LIMIT_S)
    client.input("Ada")
    assert "hello Ada" in printed(of_cell(kernel, id))


def of_cell(kernel: Kernel, id: str) -> list[Message]:
    messages: list[Message] = []
    while not messages or messages[-1]["content"].get("execution_state") != "idle":
        message = kernel.client.get_iopub_msg(timeout=LIMIT_S)
        if message["parent_header"].get("msg_id") == id:
            messages.append(message)
    return messages


def test_code_that_takes_its_time_is_left_it_and_can_be_killed_by_command(kernel):
    kernel.run(STUBBORN.replace("-n job", "-n job --bg"))
    kernel.run("import time\nwhile 'started' not in job.stdout: time.sleep(0.02)")
    asked = printed(kernel.run("%remote cancel last --after never"))
    assert asked.rstrip().endswith("was asked to stop (not killed while its code goes on)")
    listed = kernel.run("%remote jobs")
    assert "cancelling: not killed while its code goes on" in str([m["content"] for m in listed])
    later = printed(kernel.run("%remote cancel last --after 30m"))
    assert "killed in 30 min 00 s" in later or "killed in 29 min" in later
    shown = str([m["content"] for m in kernel.run("%remote show last")])
    assert "cancelling: killed in" in shown
    kernel.run("%remote cancel last --after 0.2s\njob.wait(60)")
    assert printed(kernel.run("print(job.status, job.view.detail)")).startswith(
        "cancelled killed after"
    )


@pytest.mark.parametrize("content", [{}, {"job": 7}, {"job": "ffffffff"}, {"job": None, "x": [1]}])
def test_a_senseless_cancel_is_answered_and_does_no_harm(kernel, content):
    asked(kernel, MESSAGE, content)
    assert printed(kernel.run("print(1)")) == "1\n"


def test_output_of_a_job_in_the_background_lands_in_its_own_cell(kernel):
    client = kernel.client
    first = client.execute(
        "%%remote_run --bg\nimport time\nfor i in range(4):\n"
        "    print('tick', i)\n    time.sleep(0.2)"
    )
    second = client.execute("import time\nprint('here')\ntime.sleep(1.5)")
    texts = {first: "", second: ""}
    end = time.monotonic() + LIMIT_S
    while ("tick 3" not in texts[first] or not texts[second]) and time.monotonic() < end:
        message = client.get_iopub_msg(timeout=LIMIT_S)
        if message["msg_type"] == "stream" and message["parent_header"]["msg_id"] in texts:
            texts[message["parent_header"]["msg_id"]] += message["content"]["text"]
    assert texts == {first: "tick 0\ntick 1\ntick 2\ntick 3\n", second: "here\n"}

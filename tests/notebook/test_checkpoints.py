"""A cell that is stopped at its cost limit, and goes on."""

from __future__ import annotations

from tests.notebook.kernels import Kernel, last_card, printed, raised

COUNTS = """
import time
import jupyter_remote as jr
state = jr.job.checkpoint or {"step": 0}
begun = state["step"]
@jr.on_checkpoint
def save(): return dict(state)
while state["step"] < 60:
    time.sleep(0.05 if jr.job.checkpoint else 0.2)
    state["step"] += 1
state["step"]
"""


def result_of(messages: list[dict]) -> str:
    (shown,) = [m for m in messages if m["msg_type"] == "execute_result"]
    return shown["content"]["data"]["text/plain"]


def test_a_cell_that_was_stopped_at_its_cost_limit_goes_on(kernel: Kernel) -> None:
    stopped = kernel.run(f"%%remote_run -m g5.xlarge.od --max-cost 0.003 -n job{COUNTS}")
    assert raised(stopped)["ename"] == "BudgetExceeded"
    assert "starts a new job from its checkpoint" in raised(stopped)["evalue"]
    assert "80 % of what it may cost is spent; a checkpoint is saved: 24 B" in printed(stopped)
    card = last_card(stopped)
    assert "[failed: reached its cost limit, which pays for 10.735 s]" in card
    assert "%remote run --resume " in card
    resume = "%remote run --resume last --max-cost 1"
    resumed = kernel.run(f"value = {resume}\nprint(value, 0 < begun < 60)")
    assert "None True" in printed(resumed)  # a cell has no value, but names and output
    assert result_of(resumed) == "60"
    assert "completed" in last_card(resumed)
    alone = kernel.run("%remote run --resume last")
    assert "has no checkpoint: it saved none" in raised(alone)["evalue"]


def test_a_cell_of_another_text_goes_on_from_a_checkpoint(kernel: Kernel) -> None:
    code = "%%remote_run --bg -n going\nimport jupyter_remote as jr, time\n"
    code += "jr.on_checkpoint(lambda: 'what is done')\nprint('begun')\nwhile True: time.sleep(0.01)"
    kernel.run(code)
    kernel.run("import time\nwhile 'begun' not in going.stdout: time.sleep(0.01)")
    said = printed(
        kernel.run("%remote cancel last --checkpoint\ngoing.wait()\nprint(going.status)")
    )
    assert "was asked to save a checkpoint and to stop" in said
    assert "cancelled" in said
    again = printed(kernel.run("%remote cancel last --checkpoint"))
    assert "had ended before: cancelled" in again
    goes_on = kernel.run(
        "%%remote_run --resume last\nimport jupyter_remote as jr\njr.job.checkpoint"
    )
    assert result_of(goes_on) == "'what is done'"


def test_a_call_that_goes_on_gives_its_value(kernel: Kernel) -> None:
    kernel.run(
        "import jupyter_remote as jr\n@jr.remote\ndef f(n):\n    import time\n"
        "    if jr.job.checkpoint: return n, jr.job.checkpoint\n"
        "    jr.on_checkpoint(lambda: 'half')\n    print('begun')\n    time.sleep(60)\n"
    )
    begun = "job = f.submit(7)\nimport time\nwhile 'begun' not in job.stdout: time.sleep(0.01)\n"
    kernel.run(begun + "job.cancel(checkpoint=True)\njob.wait()")
    goes_on = kernel.run("pair = %remote run --resume last --timeout 30\nprint(pair)")
    assert "(7, 'half')" in printed(goes_on)


def test_what_cannot_be_changed_of_a_job_that_goes_on_is_said(kernel: Kernel) -> None:
    refused = raised(kernel.run("%remote run --resume last --retries 2"))
    assert "--retries cannot be changed of a job that is run again" in refused["evalue"]
    assert "--max-cost" in refused["evalue"]
    both = raised(kernel.run("%remote cancel last --force --checkpoint"))
    assert "what is killed at once saves nothing" in both["evalue"]


def test_a_checkpoint_function_outside_a_job_is_an_ordinary_one(kernel: Kernel) -> None:
    code = "@jr.on_checkpoint\ndef save(): return 3\nprint(save(), jr.job.checkpoint)"
    said = kernel.run(f"import jupyter_remote as jr\n{code}")
    assert printed(said) == "3 None\n"

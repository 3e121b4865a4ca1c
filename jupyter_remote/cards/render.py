"""A job's state as static HTML and as text: what a saved notebook shows. Pure; all text escaped."""

from __future__ import annotations

import html
import re
import time
from typing import Any

import msgspec

from jupyter_remote.cards import graphs, words
from jupyter_remote.cards.state import (
    HERE,
    REFUSED,
    CardState,
    allowed_by_fuse,
    at_completion,
    cost_now,
    depth,
    elapsed_s,
    fraction,
    left_s,
    share_of_fuse,
)
from jupyter_remote.model import Reason, Stage, Status
from jupyter_remote.money.fuse import MOST_IS_SPENT
from jupyter_remote.wire import CARD_TYPE, LAST_OUTPUT, Bar, Metrics

COLOURS = {
    "queued": "var(--jp-warn-color0, #b35900)",
    "running": "var(--jp-brand-color1, #1565c0)",
    "completed": "var(--jp-success-color0, #1b7f3b)",
    "failed": "var(--jp-error-color1, #c62828)",
    "cancelling": "var(--jp-warn-color0, #b35900)",
    "cancelled": "var(--jp-ui-font-color2, #616161)",
}
# Towards the colour of text: a theme's own are too dark on dark, too light on light.
_READABLE = "color-mix(in srgb, {} 70%, var(--jp-ui-font-color0, currentColor))"
_BOX = (
    "border:1px solid var(--jp-border-color1, #bdbdbd);border-radius:6px;padding:8px 12px;"
    "margin:2px 0;max-width:720px;box-sizing:border-box;"
    "font:13px/1.5 var(--jp-ui-font-family, system-ui, sans-serif);"
    "color:var(--jp-ui-font-color1, inherit)"
)
_CLASSES = "jupyter-remote-card tex2jax_ignore mathjax_ignore"
_ROW = "display:flex;flex-wrap:wrap;gap:2px 12px;align-items:baseline"
_HEAD = f"{_ROW};min-height:22px"
_LINKS = "font-size:11px"
_COMMAND = "font-family:var(--jp-code-font-family, monospace);user-select:all"
_FAINT = "color:var(--jp-ui-font-color2, #757575)"
_TRACK = (
    "height:6px;border-radius:4px;overflow:hidden;margin:2px 0;"
    "border:1px solid var(--jp-border-color1, #bdbdbd);"
    "background:var(--jp-layout-color2, #eeeeee)"
)
_CONTROL = re.compile(
    r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
MAX_TEXT = 400  # characters of one text of the user


def bundle(state: CardState, now: float, *, host: str = "") -> dict[str, Any]:
    """The static card as one MIME bundle. ``host``: the place, by name, of the live card."""
    page = html_of(state, now)
    return {
        CARD_TYPE: card_json(state, now) | {"host": host},
        "text/html": f'<div class="{host}">{page}</div>' if host else page,
        "text/plain": text_of(state, now),
    }


def card_json(state: CardState, now: float) -> dict[str, Any]:
    """What a renderer of our own, and the live card, draw from."""
    fields: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(state, errors=(), samples=())
    )
    fields.pop("samples")  # `graphs` has what is drawn of them
    fields.pop("receipt")  # it stands in the metadata of the output
    completion = at_completion(state, now)
    return {
        **fields,
        "v": 1,
        "now": now,
        "ticks": state.runs,
        "bars": [_bar_json(state, bar) for bar in state.bars],
        "cost_ucredits": cost_now(state, now),
        "graphs": graphs.json_of(state.samples, final=state.final),
        "completion": msgspec.to_builtins(completion) if completion else None,
        "texts": {
            "title": title_of(state),
            "unpriced": words.unpriced(state.kind, state.session, state.machine),
            "status": status_line(state),
            "load": " · ".join(load_text(state.metrics, final=state.final)),
            "left": " · ".join(notes(state)),
            "of": _of_about(state, now),
            "expected": "" if completion else " · ".join(_in_the_end(state, now)),
            "links": [list(link) for link in links_of(state)],
        },
    }


def _bar_json(state: CardState, bar: Bar) -> dict[str, Any]:
    return {
        "id": bar.id,
        "label": plain(bar.description),
        "depth": depth(state.bars, bar),
        "fraction": fraction(bar),
        "closed": bar.state == "close",
        "text": bar_text(bar),
    }


def plain(text: str) -> str:
    """One line of a user's text without control and direction characters, cut to a length."""
    line = " ".join(_CONTROL.sub("", text).split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def shown(text: str) -> str:
    """Text for HTML. A front end would set ``$0.10 at $0.44`` as a formula: the signs are apart."""
    return html.escape(text).replace("$", "<span>$</span>")


def title_of(state: CardState) -> str:
    """What the job is called."""
    return plain(state.description) or f"{state.kind} {words.short(state.id)}"


def machine_of(state: CardState) -> str:
    """Where it runs: ``g5.xlarge (simulated)``."""
    return plain(state.machine) + (" (simulated)" if state.simulated else "")


def status_line(state: CardState, now: float | None = None) -> str:
    """Status with its stage, what hinders it, or why it ended: ``running: executing``; with ``now``
    also when a job that is to stop is killed."""
    if state.final:
        detail, _, _ = state.detail.partition(LAST_OUTPUT)  # which is shown below
        why = plain(detail) or _WHY.get(state.reason, "")
        return f"{state.status}: {why}" if why and why != state.status else state.status
    cancelling = state.status == Status.CANCELLING and state.stage != Stage.SAVING_RESULT
    says = state.stopping or plain(state.detail) or ("" if cancelling else state.stage)
    killed = words.deadline(state.kill_at, now) if cancelling and now is not None else ""
    told = ", ".join(filter(None, (says, killed)))
    return f"{state.status}: {told}" if told else state.status


_WHY: dict[str, str] = {
    Reason.TIME_LIMIT: "it reached its time limit",
    Reason.COST_LIMIT: "it reached its cost limit",
    Reason.GPU_IDLE: "it used no GPU",
    Reason.LOST: "its worker was lost",
    Reason.NO_MACHINE: "no machine was to be had",
    Reason.OUT_OF_MEMORY: "it ran out of memory",
    Reason.POISON: "it ends its workers",
    Reason.FINISHED_BEFORE_CANCEL: "finished before the cancel",
    Reason.USER_ERROR: "the code raised an exception",
}


def figures(state: CardState, now: float) -> list[str]:
    """Machine, attempt, elapsed, cost, cost at completion."""
    found = [machine_of(state)]
    if state.attempt > 1:
        found.append(f"attempt {state.attempt}")
    if state.started_at is not None and (state.runs or state.final):
        found.append(words.duration(elapsed_s(state, now)) + _of_about(state, now))
    if not state.is_priced:
        return found
    if state.rate_ucredits_per_h or cost_now(state, now):
        found.append(f"{words.money(cost_now(state, now))} at {_price(state)}")
        found += _in_the_end(state, now)
        if (share := share_of_fuse(state, now)) is not None:
            found.append(f"{100 * share:.0f} % of {words.money(allowed_by_fuse(state))}")
    else:
        found.append(words.unpriced(state.kind, state.session, state.machine))
    return found


def _of_about(state: CardState, now: float) -> str:
    """How long it takes in all, where only earlier runs tell: a bar says what is left itself."""
    completion = at_completion(state, now)
    if completion is None or any(b.state != "close" and b.total for b in state.bars):
        return ""
    return f" of ≈ {words.duration(completion.total_s[1])}"


def _in_the_end(state: CardState, now: float) -> list[str]:
    """What it will have cost: from progress and earlier runs, before the start from these alone."""
    if completion := at_completion(state, now):
        return [f"≈ {words.interval(completion.cost_ucredits)} at completion"]
    expected = state.estimate.ucredits if state.estimate is not None else None
    if state.status != Status.QUEUED or expected is None:
        return []
    cost = round(expected.low), round(expected.expected), round(expected.high)
    return [f"≈ {words.interval(cost)} expected"]


def _price(state: CardState) -> str:
    return words.price(state.rate_ucredits_per_h)


def load_text(metrics: Metrics | None, *, final: bool) -> list[str]:
    """CPU, memory, GPUs, and what moves; of an ended job only the peak of its memory."""
    if metrics is None:
        return []
    if final:
        known = metrics.peak_memory_bytes or metrics.memory_bytes
        return graphs.load_parts(metrics, final=True)[1:] if known else []
    found = graphs.load_parts(metrics, final=False)
    if _moves(metrics.read_bytes_per_s + metrics.written_bytes_per_s):
        found.append(graphs.flows(metrics, final=False, disk=True))
    if _moves(metrics.received_bytes_per_s + metrics.sent_bytes_per_s):
        found.append(graphs.flows(metrics, final=False, disk=False))
    for gpu in metrics.gpus:
        memory = f"{words.size(gpu.memory_bytes)} of {words.size(gpu.memory_total_bytes)}"
        found.append(f"{plain(gpu.name)} {graphs.gpu_text(gpu, final=False)} · {memory}")
    return found


def _moves(bytes_per_s: float) -> bool:
    return bytes_per_s >= graphs.LEAST_BYTES_PER_S


def bar_text(bar: Bar) -> str:
    """``3/10 · 30 % · 2.0 it/s · 3.5 s left · loss=0.1``."""
    done = fraction(bar)
    total = f"/{words.count(bar.total)}" if bar.total else f" {plain(bar.unit)}"
    parts = [f"{words.count(bar.n)}{total}"]
    if done is not None:
        parts.append(f"{100 * done:.0f} %")
    parts.append(words.rate(bar.rate, plain(bar.unit)))
    if bar.state == "close":
        parts.append(words.duration(bar.elapsed_s))
    elif (left := left_s(bar)) is not None:
        parts.append(f"{words.duration(left)} left")
    parts.append(plain(bar.postfix))
    return " · ".join(part for part in parts if part)


def text_of(state: CardState, now: float) -> str:
    """The card in a terminal."""
    head = " · ".join([f"[{status_line(state, now)}] {title_of(state)}", *figures(state, now)])
    lines = [head]
    for bar in state.bars:
        label = plain(bar.description)
        indent = "  " * (1 + depth(state.bars, bar))
        lines.append(f"{indent}{label + ': ' if label else ''}{meter(bar)}{bar_text(bar)}")
    if load := load_text(state.metrics, final=state.final):
        lines.append("  " + " · ".join(load))
    lines += [f"  {line}" for line in notes(state)]
    return "\n".join(lines)


def meter(bar: Bar, width: int = 20) -> str:
    """A bar of characters; empty without a total."""
    done = fraction(bar)
    if done is None:
        return ""
    full = int(done * width)
    return f"|{'█' * full}{'·' * (width - full)}| "


def notes(state: CardState) -> list[str]:
    """What else there is to be said of it."""
    return [*_of_fuse(state), *advice_of(state), *left_out(state)]


def _of_fuse(state: CardState) -> list[str]:
    """That most of the money is spent; what is saved, and how to go on from it."""
    found = []
    if state.warned_at is not None and state.runs:
        found.append(MOST_IS_SPENT)
    if state.checkpoint_at is None or state.status == Status.COMPLETED:
        return found
    saved = f"checkpoint of {time.strftime('%H:%M', time.localtime(state.checkpoint_at))}"
    found.append(f"{saved}, {words.size(state.checkpoint_bytes)}")
    if state.final:
        how = "--resume" if state.kind == "session" else "%remote run --resume"
        what = "a cell or a call" if state.kind == "session" else "a new job"
        found.append(f"{how} {words.short(state.id)} starts {what} from its checkpoint")
    return found


def advice_of(state: CardState) -> list[str]:
    """That another machine would have done, if so."""
    advice = state.receipt.advice if state.receipt is not None else None
    return [] if advice is None else [plain(advice.text)]


def left_out(state: CardState) -> list[str]:
    """What of its output is not shown, and where it can be read."""
    found = []
    if state.folded_bytes:
        size = words.size(state.folded_bytes)
        found.append(f"{size} of output left out here: %remote logs {words.short(state.id)}")
    if state.dropped:
        found.append(words.dropped(state.dropped))
    return found


def html_of(state: CardState, now: float) -> str:
    """The card as static HTML: no script, no style sheet, readable without its styles."""
    colour = _coloured(COLOURS.get(state.status, COLOURS["queued"]), "color")
    badge = f"{colour};border:1px solid;border-radius:9px;padding:0 8px"
    title = html.escape(title_of(state))
    parts = [
        f'<div class="{_CLASSES}" role="group" aria-label="Job {title}" style="{_BOX}">',
        f'<div style="{_HEAD}"><b style="overflow-wrap:anywhere">{shown(title_of(state))}</b> '
        f'<span style="{badge}">{shown(status_line(state, now))}</span></div>',
        _line_html(" · ".join(figures(state, now))),
        *(_bar_html(state, bar) for bar in state.bars),
    ]
    if pictures := graphs.html_of(state.samples, final=state.final):
        parts.append(pictures)
    elif load := load_text(state.metrics, final=state.final):
        parts.append(_line_html(" · ".join(load)))
    parts += [_line_html(line) for line in notes(state)]
    below = "".join(_link_html(*link) for link in links_of(state))
    if not state.final:  # it may be read in a file, long after
        below += f"<span>{shown(_as_of(state, now))}</span>"
    return "".join([*parts, f'<div style="{_ROW};{_FAINT};{_LINKS}">{below}</div></div>'])


def _coloured(colour: str, what: str) -> str:
    """One declaration for old browsers, one for others."""
    return f"{what}:{colour};{what}:{_READABLE.format(colour)}"


def _line_html(text: str) -> str:
    return f'<div style="{_FAINT}">{shown(text)}</div>'


def _as_of(state: CardState, now: float) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    return f"as of {at}; to go on: %remote attach {words.short(state.id)}"


def links_of(state: CardState) -> list[tuple[str, str]]:
    """Where more of the job is: a label, and what to type. Nothing of one never taken."""
    if state.reason == REFUSED or state.machine == HERE:
        return []
    short = words.short(state.id)
    return [("logs", f"%remote logs {short}"), ("receipt", f"%remote show {short}")]


def _link_html(label: str, command: str) -> str:
    return (
        f'<details><summary style="cursor:pointer">{label}</summary>'
        f'<code style="{_COMMAND}">{shown(command)}</code></details> '
    )


def _bar_html(state: CardState, bar: Bar) -> str:
    label = plain(bar.description)
    name = f"<span>{shown(label)}</span> " if label else ""
    inset = 16 * depth(state.bars, bar)
    line = (
        f'<div style="margin-left:{inset}px"><div style="{_ROW}">'
        f'{name}<span style="{_FAINT}">{shown(bar_text(bar))}</span></div>'
    )
    return f"{line}{_track_html(bar, label)}</div>"


def _track_html(bar: Bar, label: str) -> str:
    done = fraction(bar)
    if done is None and bar.state == "close":
        return ""
    value = "" if done is None else f' aria-valuenow="{100 * done:.0f}"'
    value += f' aria-valuetext="{html.escape(bar_text(bar))}"'
    colour = _coloured(COLOURS["completed" if done == 1 else "running"], "background")
    width = 0 if done is None else 100 * done
    fill = f'<div style="height:6px;width:{width:.1f}%;{colour}"></div>'
    return (
        f'<div role="progressbar" aria-valuemin="0" aria-valuemax="100"{value} '
        f'aria-label="{html.escape(label or "progress")}" style="{_TRACK}">{fill}</div>'
    )

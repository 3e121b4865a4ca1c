"""A shared result as HTML. Pure.

What it shows was made by somebody else, to be seen by anybody: every text is escaped, without
control characters; pictures are raster images inside the page; HTML goes into a frame that runs no
script, follows no link and loads nothing. The headers of the page say the same once more.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from jupyter_remote import wire
from jupyter_remote.amounts import duration, size
from jupyter_remote.money.meter import UCREDITS_PER_USD, text_of

MOST_CHARS = 200_000  # of one text
MOST_HTML = 2_000_000  # characters of one display
HIGHEST = 24  # rem, of a frame
RASTERS = ("image/png", "image/jpeg", "image/gif", "image/webp")
TEXTS = ("text/plain", "text/markdown", "text/latex", "application/json")

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}
pre{overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem 0}
pre.stderr,pre.error{border-left:3px solid #c62828;padding-left:.7rem}
img{max-width:100%;background:#fff}
iframe{width:100%;border:1px solid #8888;resize:vertical;background:#fff}
.note{opacity:.7;font-size:.9rem}
"""


def plain(text: str) -> str:
    """Without escape sequences, control and direction characters; a lone ``\\r`` ends a line."""
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", lines)


def page_of(results: wire.Results) -> bytes:
    """The page of a result."""
    title = plain(" ".join(results.description.split()))[:300] or f"Result of a {results.kind}"
    return _page(title, "".join(_body(results, title)))


def absent_page() -> bytes:
    """What is seen of an address that was never given, or was taken back."""
    text = "It may have been taken back, or its job has not ended yet."
    return notice_page("There is no such result", text)


def notice_page(title: str, text: str) -> bytes:
    """A page that says one thing."""
    return _page(title, f"<h1>{_shown(title)}</h1><p>{_shown(text)}</p>")


def _page(title: str, body: str) -> bytes:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_shown(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    ).encode(errors="replace")


def _body(results: wire.Results, title: str) -> Iterator[str]:
    yield f"<h1>{_shown(title)}</h1><dl>"
    for name, text in _facts(results):
        yield f"<dt>{name}</dt><dd>{_shown(text)}</dd>"
    yield "</dl>"
    if results.text:
        yield f"<h2>Value</h2>{_pre(results.text)}"
    if results.kind == "notebook" and results.results_uuid:
        yield _notebook_link(results)
    if results.outputs:
        yield "<h2>Output</h2>"
        yield from map(_output, results.outputs)
    if results.cut:
        yield _note("There was more output than is shown here.")
    if results.names:
        names = (f"{n.name}: {n.type}, {size(n.size_bytes)}" for n in results.names)
        yield "<h2>Variables</h2>" + _pre("\n".join(names))
    if results.error is not None and not _tells_error(results):
        yield f"<h2>Error</h2>{_pre(_traceback(results.error), 'error')}"


def _facts(results: wire.Results) -> Iterator[tuple[str, str]]:
    detail = results.detail or results.reason.replace("_", " ")
    yield "Status", f"{results.status}: {detail}" if detail else results.status
    yield "Submitted", _time(results.submitted_at)
    if results.started_at is not None and results.ended_at is not None:
        yield "Started", _time(results.started_at)
        yield "Ended", _time(results.ended_at)
        yield "Ran", duration(max(0.0, results.ended_at - results.started_at))
    yield "Machine", results.machine + (" (simulated)" if results.simulated else "")
    yield "Price", text_of(round(results.price * UCREDITS_PER_USD)) if results.price else "free"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _notebook_link(results: wire.Results) -> str:
    href = html.escape(f"{results.results_uuid}/notebook")
    return f'<p><a href="{href}" download>Download the executed notebook</a></p>'


def _tells_error(results: wire.Results) -> bool:
    return any(output.get("output_type") == "error" for output in results.outputs)


def _traceback(error: wire.RemoteFailure) -> str:
    return "\n".join(error.traceback) or f"{error.ename}: {error.evalue}"


def _shown(text: str) -> str:
    return html.escape(plain(text))


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


def _pre(text: str, kind: str = "") -> str:
    cut = "" if len(text) <= MOST_CHARS else _note("The rest of this text is left out.")
    return f'<pre class="{kind}">{_shown(text[:MOST_CHARS])}</pre>{cut}'


def _output(output: dict[str, Any]) -> str:
    match output.get("output_type"):
        case "stream":
            kind = "stderr" if output.get("name") == "stderr" else "stdout"
            return _pre(_text(output.get("text")), kind)
        case "error":
            return _pre(_text(output.get("traceback"), "\n") or _named(output), "error")
        case _:
            data = output.get("data")
            return _display(data) if isinstance(data, dict) else ""


def _named(output: dict[str, Any]) -> str:
    return f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"


def _text(value: Any, between: str = "") -> str:
    """Notebooks have texts as lists of lines, too."""
    if isinstance(value, list):
        return between.join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _display(data: dict[str, Any]) -> str:
    """The richest of what a display offers that is safe to be seen."""
    for kind in RASTERS:
        if image := _image(kind, _text(data.get(kind)), _text(data.get("text/plain"))):
            return image
    if (page := _text(data.get("text/html"))) and len(page) <= MOST_HTML:
        return _frame(page, _plainest(data))
    return _pre(_plainest(data) or f"({', '.join(map(str, data)) or 'nothing'}: not shown here)")


def _plainest(data: dict[str, Any]) -> str:
    for kind in TEXTS:
        if kind in data:
            value = data[kind]
            text = _text(value) or ("" if isinstance(value, str) else json.dumps(value, indent=1))
            if text:
                return text
    return ""


def _image(kind: str, encoded: str, label: str) -> str:
    """Empty for what is no base64."""
    encoded = "".join(encoded.split())
    try:
        base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return ""
    alt = html.escape(plain(label)[:200], quote=True)
    return f'<p><img src="data:{kind};base64,{encoded}" alt="{alt}"></p>' if encoded else ""


def _frame(page: str, text: str) -> str:
    """``sandbox`` without a word allows nothing. A frame cannot grow with what is in it: its height
    is that of what there is as text, which stands below, too."""
    lines = max(page.lower().count("<tr"), text.count("\n") + 1 if text else HIGHEST)
    height = min(HIGHEST, 3 + 2 * lines)
    source = html.escape(page, quote=True)
    below = f"<details><summary>as text</summary>{_pre(text)}</details>" if text else ""
    scripts = "<script" in page.lower()
    note = _note("Its scripts do not run here.") if scripts else ""
    style = f'style="height:{height}rem"'
    frame = f'<iframe sandbox="" title="HTML output" {style} srcdoc="{source}"></iframe>'
    return f"{frame}{note}{below}"

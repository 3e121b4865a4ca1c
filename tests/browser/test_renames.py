"""A notebook that is renamed in JupyterLab while its kernel and its jobs go on."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser import lab
from tests.browser.extended_fixtures import book, page
from tests.browser.test_extension import row
from tests.browser.test_homecoming import LOAD, reopened, shows, steps, until_shown

__all__ = ["book", "page", "steps"]

RENAME = f"name => {lab.WIDGET}.context.rename(name)"


def test_jobs_of_before_and_after_a_rename_come_home_and_open_the_notebook_by_its_new_name(
    book, steps, extended
):
    cells = (LOAD, steps.cell("--bg -d 'sent before'"), "%%remote_run -d 'sent after'\nprint('x')")
    with book("before.ipynb", *cells) as opened:
        page = opened.page
        opened.run(0)
        opened.run(1)
        steps.go(1)
        until_shown(opened, 1, 1)
        page.evaluate(RENAME, "after.ipynb")
        opened.restart_kernel()
        opened.run(0)
        opened.run(2)
        opened.wait_idle()
        page.evaluate(f"() => {lab.CONTEXT}.shutdown()")
        page.goto("about:blank")  # nothing was saved
        steps.go(4)
        steps.ended()
        lab.write(extended.folder / "before.ipynb", *cells)  # another one
        again = reopened(page, extended, "after.ipynb")
        until_shown(again, 1)
        shows(page, 2, ["x\n"])
        page.evaluate(lab.OPEN, "before.ipynb")
        for title in ("sent before", "sent after"):
            page.wait_for_function(f"() => {lab.WIDGET}.context.path === 'before.ipynb'")
            row(page, title).click()
            page.get_by_role("button", name="Open notebook").click()
            page.wait_for_function(f"() => {lab.WIDGET}.context.path === 'after.ipynb'")
            lab.shot(page, f"renamed-{title.replace(' ', '-')}")
            page.evaluate(lab.OPEN, "before.ipynb")
        expect(again.output(1)).not_to_contain_text("step")
        assert again.errors == []

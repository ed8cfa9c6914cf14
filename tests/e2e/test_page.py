"""The page of the last nights as a browser shows it, on a phone and on a desk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

from tasks.reporting.history_page import to_html
from tests.reporting.test_history_page import GRADED, SIXTY, night
from tests.reporting.test_history_year import LIVE, YEAR
from tests.samples import in_part

pytestmark = pytest.mark.e2e

LONG = "C:" + "\\a_very_long_path_without_a_single_blank" * 20
PAGES = {
    "first night": to_html([night(0, "PROMOTED", "1")], []),
    "sixty nights": to_html(SIXTY, GRADED),
    "a year": to_html(YEAR, LIVE),
    "long words": to_html(
        [*SIXTY[:-1], night(0, "KEPT", LONG, model=LONG, question=LONG, reasons=[LONG])], GRADED
    ),
}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
@pytest.mark.parametrize("name", in_part(PAGES, "sixty nights", "long words"))
def test_the_page_is_never_wider_than_the_screen(
    browser: Browser,
    tmp_path: Path,
    name: str,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    file = tmp_path / "nights.html"
    file.write_text(PAGES[name])
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert asked == [file.as_uri()]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 20, 20)"
    assert dark == (scheme == "dark")
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('text, td, p, i, li')]"
        ".map(each => parseFloat(getComputedStyle(each).fontSize)))"
    )
    assert smallest >= 11
    page.close()

"""The report page in a real browser, on a phone and on a desk, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import COMMAND, Browser, browser
from summaries import hostile_summary, summary

from replicate.reconcile.page import page

pytestmark = pytest.mark.skipif(COMMAND is None, reason="no chromium is installed")

OVERFLOWING = """
[...document.querySelectorAll("body *")]
    .filter(each => each.getBoundingClientRect().right > innerWidth + 0.5)
    .map(each => each.outerHTML.slice(0, 200))
"""

POOR_CONTRAST = """
(() => {
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(each => {
      const c = each / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const back = each => {
    for (; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
  };
  const found = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim()) continue;
    const pair = [light(getComputedStyle(element).color), light(back(element))].sort();
    const ratio = Math.max(...pair) / Math.min(...pair);
    if (ratio < 4.5) found.add(`${element.tagName}.${element.className}: ${ratio}`);
  }
  return [...found];
})()
"""
"""Texts with a contrast below 4.5, the AA level of the Web Content Accessibility Guidelines."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("made", [summary, hostile_summary], ids=["report", "hostile"])
def test_page_fits_is_legible_and_needs_nothing_else(
    running: Browser, tmp_path: Path, made: type[dict[str, object]], scheme: str, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(made()), encoding="utf-8")
    running.requests.clear()
    running.messages.clear()
    running.show(path, width=width, scheme=scheme)
    assert running.evaluate("innerWidth") == width
    assert running.evaluate("document.documentElement.scrollWidth") == width
    assert running.evaluate(OVERFLOWING) == []
    assert running.evaluate(POOR_CONTRAST) == []
    assert running.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (
        scheme == "dark"
    )
    assert running.evaluate("document.title").startswith("Reconcile: ")  # no script changed it
    assert running.requests == [path.as_uri()]
    assert running.messages == []

"""The page as a browser shows it: it asks for nothing, says nothing, runs nothing, fits and prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser import Browser

SECTIONS = ["head", "curves", "actions", "changes", "flips", "samples", "config"]

_WIDER = """[...document.querySelectorAll('body *')].filter(e => {
  for (let p = e; p; p = p.parentElement) if (getComputedStyle(p).overflowX == 'auto') return false;
  return e.getBoundingClientRect().right > innerWidth + 1;
}).map(e => e.outerHTML.slice(0, 200))"""
_SMALL = """[...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect())
  .filter(r => r.width < 200 || r.height < 20).length"""
_OUTSIDE = """[...document.querySelectorAll('figure svg')].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(t => {
    const r = t.getBoundingClientRect();
    return r.left < box.left - 6 || r.right > box.right + 6 || r.top < box.top - 3 || r.bottom > box.bottom + 6;
  }).map(t => svg.getAttribute('aria-label') + ': ' + t.textContent);
})"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_stands_alone_and_fits(width: int, scheme: str, hostile: Path, browser: Browser) -> None:
    browser.open(hostile, width, scheme)
    title = browser.run("document.title")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert "owned" not in title
    assert browser.run("document.title") == title
    assert browser.requests() == [hostile.as_uri()]
    assert browser.console() == []
    assert browser.run("[...document.querySelectorAll('header[id], section[id]')].map(s => s.id)") == SECTIONS
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(_WIDER) == []
    assert browser.run("document.querySelectorAll('figure svg').length") > 15
    assert browser.run(_SMALL) == 0
    assert browser.run("document.querySelectorAll('figure svg text').length") > 100
    assert browser.run(_OUTSIDE) == []
    background = browser.run("getComputedStyle(document.documentElement).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_what_a_model_says_stays_text(hostile: Path, browser: Browser) -> None:
    browser.open(hostile, 1280)
    assert browser.run("document.querySelectorAll('script, img, iframe, object, link[rel=stylesheet]').length") == 0
    assert browser.run("document.querySelectorAll('main').length") == 1
    assert browser.run("document.querySelectorAll('style').length") == 1
    text = browser.run("document.body.textContent")
    assert "<script>document.title='owned'</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert "NUL ⟨U+0000⟩, escape ⟨U+001B⟩[31m" in text
    assert "从北京到上海有多远?" in text


def test_numbers_of_the_marks_do_not_lie_on_each_other(hostile: Path, browser: Browser) -> None:
    browser.open(hostile, 1280)
    overlaps = browser.run(
        """[...document.querySelectorAll('figure.chart svg')].flatMap(svg => {
          const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
          return boxes.flatMap(([a, r], i) => boxes.slice(i + 1).filter(([b, q]) =>
            r.left < q.right - 1 && q.left < r.right - 1 && r.top < q.bottom - 3 && q.top < r.bottom - 3)
            .map(([b]) => svg.getAttribute('aria-label') + ': ' + a + ' on ' + b));
        })"""
    )
    assert overlaps == []


def test_it_prints_with_the_fold_outs_open(hostile: Path, browser: Browser) -> None:
    browser.open(hostile, 1280, "dark")
    closed = "document.querySelectorAll('details:not([open])').length"
    assert browser.run(closed) > 0
    pdf = browser.pdf()
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pages >= 5
    # With every fold-out opened by hand there is little more to print than with them closed.
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    opened = len(re.findall(rb"/Type\s*/Page\b", browser.pdf()))
    assert pages >= 0.7 * opened
    browser.run("document.querySelectorAll('details').forEach(d => d.remove())")
    assert len(re.findall(rb"/Type\s*/Page\b", browser.pdf())) < pages

"""The page of the strategy game in a browser: units are ordered by clicks, nothing is fetched from elsewhere."""

import pytest

from plugins.league.play_page.server import PlayPage
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.strategy.scripted import RUSH, Scripted
from tests.browser import CHROMIUM, Browser, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def opened():
    with PlayPage(Strategy(1), Scripted(RUSH)) as page, browser() as found:
        found.size(1200, 860)
        found.open(page.url)
        yield page, found
        assert [url for url in found.requested if not url.startswith((page.url, "data:"))] == []
        assert found.complaints == []


def text(found: Browser, name: str) -> str:
    words: str = found.value(f"document.querySelector('#{name}').textContent")
    return words


def click(found: Browser, cell: int) -> None:
    """Click a cell of the person's view, which is drawn turned."""
    found.value(
        "(canvas => { const box = canvas.getBoundingClientRect(), side = box.width / 8; canvas.dispatchEvent("
        f"new MouseEvent('click', {{clientX: box.left + ((63 - {cell}) % 8 + 0.5) * side,"
        f" clientY: box.top + (Math.floor((63 - {cell}) / 8) + 0.5) * side}})); }})(document.querySelector('#board'))"
    )


def press(found: Browser, words: str) -> None:
    found.value(
        f"[...document.querySelectorAll('button')].find(one => one.textContent === '{words}').click()"
    )


def cell_of(page: PlayPage, kind: str) -> int:
    return next(
        int(unit["cell"])
        for unit in page.table.shown()["units"]
        if unit["side"] == "own" and unit["kind"] == kind
    )


def test_units_are_chosen_and_ordered_by_clicks(opened):
    page, found = opened
    found.until(
        "document.querySelector('#figures').textContent.startsWith('Step 0 of 200 · ore 5')"
    )
    click(found, cell_of(page, "base"))
    assert text(found, "chosen") == "Chosen: base"
    press(found, "Make worker")
    found.until("document.querySelector('#about').textContent.includes('It makes units')")
    press(found, "Next step")
    found.until(
        "document.querySelector('#figures').textContent.startsWith('Step 1 of 200 · ore 4')"
    )
    click(found, cell_of(page, "worker"))
    ore = next(cell for cell, amount in enumerate(page.table.shown()["ore"]) if amount)
    click(found, ore)
    found.until("document.querySelector('#about').textContent.includes('It gathers ore.')")
    press(found, "Stop")
    found.until("document.querySelector('#about').textContent.includes('It waits.')")


def test_a_match_runs_to_its_end_and_a_new_one_begins(opened):
    page, found = opened
    press(found, "Play")
    for _ in range(200):
        if page.table.over:
            break
        found.value("document.dispatchEvent(new KeyboardEvent('keydown', {key: ' '}))")
        found.value("new Promise(done => setTimeout(done, 20))")
    found.until("document.querySelector('#status').textContent === 'The agent wins.'")
    assert found.value("document.querySelector('#step').disabled")
    press(found, "New match")
    found.until("document.querySelector('#figures').textContent.startsWith('Step 0 of 200')")


@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_is_wider_than_the_window(opened, width):
    _, found = opened
    found.size(width, 860)
    assert found.value("document.documentElement.scrollWidth") == width

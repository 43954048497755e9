"""The demo's page in a browser: everything on it works, nothing is fetched from elsewhere, a phone shows it whole."""

from collections.abc import Iterator

import pytest
from PIL import Image

from plugins.demo.server import Demo
from tests.browser import CHROMIUM, Browser, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with Demo() as demo, browser() as opened:
        opened.size(1280, 900)
        opened.open(demo.url)
        yield opened
        others = [
            url for url in opened.requested if not url.startswith((demo.url, "data:", "blob:"))
        ]
        assert others == []
        assert opened.complaints == []


def status(page: Browser, place: str) -> str:
    text: str = page.value(f"document.querySelector('{place} .status').textContent")
    return text


def put(page: Browser, control: str, value: str, event: str) -> None:
    """Set a control, as a visitor does."""
    page.value(
        f"(one => {{ one.value = '{value}'; one.dispatchEvent(new Event('{event}')); }})"
        f"(document.querySelector('{control}'))"
    )


def test_the_angle_is_thrown_and_descent_arrives_at_45_degrees(page):
    page.until("document.querySelector('#javelin-status').textContent.startsWith('20.0 degrees')")
    assert (
        status(page, "#javelin") == "20.0 degrees: 51.4 metres; the slope is 2.14 metres a degree."
    )
    page.value(
        """(form => {
            form.degrees.value = 70;
            form.degrees.dispatchEvent(new Event("input"));
            form.estimator.value = "exact";
            form.learning_rate.value = "0.001";
            form.requestSubmit();
        })(document.querySelector("#javelin-form"))"""
    )
    page.until("document.querySelector('#javelin-status').textContent.startsWith('Step 60. 45.0')")
    assert "80.0 metres" in page.value(
        "document.querySelector('#flight').getAttribute('aria-label')"
    )


def test_an_agent_plays_and_its_episode_is_played_again(page):
    for _ in range(2):
        page.value("document.querySelector('#agent-status').textContent = ''")
        page.value("document.querySelector('#agent-form').requestSubmit()")
        page.until("/ frames[.]$/.test(document.querySelector('#agent-status').textContent)")
    assert status(page, "#agent").endswith("10.0 seconds, 250 frames.")
    assert page.value("document.querySelectorAll('#episodes option').length") == 2
    shown = "document.querySelector('#frame').src"
    last = page.value(shown)
    put(page, "#episodes", "0", "change")
    page.until("Number(document.querySelector('#scrub').value) >= 3")
    page.value("document.querySelector('#pause').click()")
    assert page.value(shown) != last
    put(page, "#scrub", "200", "input")
    assert page.value("document.querySelector('#frame').alt").endswith("frame 201 of 250")


@pytest.mark.parametrize(("place", "word"), [("#objects", "Found: "), ("#people", "Found: face ")])
def test_what_is_in_an_example_is_marked(page, place, word):
    page.value(f"document.querySelector('{place} .choices button').click()")
    page.until(f"document.querySelector('{place} .status').textContent.startsWith('{word}')")
    page.until(f"document.querySelector('{place} .result').naturalWidth > 0")


def test_a_drawing_of_a_chosen_picture_appears_and_can_be_saved(page, tmp_path):
    Image.radial_gradient("L").resize((120, 90)).save(tmp_path / "mine.jpg")
    page.value("document.querySelector('#drawing-form').steps.value = 40")
    page.choose_file("#drawing input[type=file]", tmp_path / "mine.jpg")
    page.until("document.querySelector('#drawing .status').textContent === 'Done.'")
    # The browser itself reads the SVG.
    page.value(
        "window.saved = Object.assign(new Image(), {src: document.querySelector('#drawing a').href})"
        ".decode().then(() => 1)"
    )
    assert page.value("document.querySelector('#drawing .result').naturalWidth") == 640


def test_what_is_no_picture_is_said_on_the_page(page, tmp_path):
    (tmp_path / "mine.txt").write_text("words")
    page.choose_file("#objects input[type=file]", tmp_path / "mine.txt")
    page.until("document.querySelector('#objects .status').classList.contains('wrong')")
    assert status(page, "#objects") == "the file is no JPEG, PNG or WebP picture"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page, width):
    page.size(width, 900)
    assert page.value("document.documentElement.scrollWidth") == width

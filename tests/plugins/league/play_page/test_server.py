"""The page of the strategy game: its own page only, and nothing that its player does not see."""

import http.client
import json

import pytest
import torch

from plugins.league.opponents import RandomPlayer
from plugins.league.play_page.server import PAGE, PlayPage
from plugins.league.rules.strategy.game import Strategy
from plugins.league.rules.strategy.units import LIGHT


@pytest.fixture(scope="module")
def page():
    with PlayPage(Strategy(1), RandomPlayer()) as served:
        yield served


def ask(page, activity, host=None, token=None):
    """The answer's status and its last JSON object."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    connection.putrequest("POST", f"/do/{activity}", skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{page.port}")
    connection.putheader("X-Page-Token", token or page.token)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    data = answer.read().splitlines()
    connection.close()
    return answer.status, json.loads(data[-1])


def test_only_the_page_itself_on_this_machine_may_ask(page):
    assert page.server.server_address[0] == "127.0.0.1"
    assert ask(page, "look", host="evil.example")[0] == 421
    assert ask(page, "look", token="wrong")[0] == 403
    assert ask(page, "nothing")[0] == 404
    assert ask(page, "look")[0] == 200


def test_no_file_of_the_page_names_another_site():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "http://" not in text
        assert "https://" not in text


@pytest.mark.parametrize("seed", [2, 9])
def test_a_match_begins_is_played_and_shows_only_what_is_seen(page, seed):
    _, shown = ask(page, f"begin?seed={seed}")
    assert shown["step"] == 0
    assert shown["stock"] == 5
    assert [(unit["side"], unit["kind"]) for unit in shown["units"]] == [
        ("own", "base"),
        ("own", "worker"),
        ("own", "worker"),
    ]
    # A fighter of the other side, far away and then in sight.
    state, side = page.table.rules.state, page.table.side
    far = int(state["cell"][0, 1 - side, 0])
    state["kind"][0, 1 - side, 3], state["health"][0, 1 - side, 3] = LIGHT, 4
    state["cell"][0, 1 - side, 3] = far + (1 if far % 10 < 5 else -1)
    page.table.rules.state = dict(state)
    _, shown = ask(page, "look")
    assert len(shown["units"]) == 3
    base = int(state["cell"][0, side, 0])
    state["cell"][0, 1 - side, 3] = base + (10 if side else -10)
    page.table.rules.state = dict(state)
    _, shown = ask(page, "look")
    (fighter,) = (unit for unit in shown["units"] if unit["side"] == "other")
    assert fighter["kind"] == "light"
    assert "slot" not in fighter
    assert ask(page, "step")[1]["step"] == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("order?slot=1&task=go&cell=64", "order.cell = 64: expected at most 63"),
        ("order?slot=1&task=fly", "order.task = 'fly': expected 'go', 'gather', 'make' or 'wait'"),
        ("order?slot=x&task=go", "order.slot = 'x': expected a valid integer"),
        ("begin?seed=-1", "begin.seed = '-1': expected greater than or equal to 0"),
        ("order?slot=9&task=go", "order.slot = 9: no unit of yours is there"),
    ],
)
def test_options_are_checked(page, asked, said):
    ask(page, "begin?seed=0")
    status, answer = ask(page, asked)
    assert status == 200
    assert said in answer["error"]
    assert "\n" not in answer["error"]


def test_the_same_seed_and_orders_give_the_same_match(page):
    def played():
        ask(page, "begin?seed=5")
        ask(page, "order?slot=1&task=go&cell=30")
        return [ask(page, "step")[1] for _ in range(6)]

    first = played()
    torch.rand(3)
    assert played() == first

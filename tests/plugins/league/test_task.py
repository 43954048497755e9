"""The task: what is refused in one line, and what its measures are called."""

from typing import Any

import pytest
import torch

import framework
from framework import UserError
from framework.sweeping import judged_by
from plugins.league.exact import ExactLeague
from plugins.league.measures.judge import Judge
from plugins.league.opponents import AgentPlayer
from plugins.league.task import League

SMALL: dict[str, Any] = {"boards": 8, "hidden": [8], "tournament_matches": 0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"game": "kuhm"}, "task.game = 'kuhm': unknown; did you mean 'kuhn'"),
        ({"game": "kuhn", "game_options": {"rounds": 2}}, "unknown key 'task.game_options.rounds'"),
        (
            {"game": "matrix", "game_options": {"payoffs": [[1.0, 2.0], [1.0]]}},
            "task.game_options.payoffs = .* as many columns as rows",
        ),
        (
            {"game": "matrix", "game_options": {"payoffs": [[1e39, 0.0], [0.0, 0.0]]}},
            "expected numbers that a 32-bit float holds",
        ),
        ({"game": "kuhn", "anchors": []}, "task.anchors = \\[\\]: expected one player"),
        ({"game": "kuhn", "mode": "exploiter"}, "task.rivals = \\[\\]: expected whom to exploit"),
        ({"game": "kuhn", "mode": "self_play", "rivals": ["random"]}, "which meets itself alone"),
        ({"game": "kuhn", "anchors": ["minimax_2"]}, "players do not see"),
        ({"game": "kuhn", "anchors": ["mini"]}, "task.anchors = 'mini': unknown; choices: random$"),
        ({"game": "kuhn", "anchors": ["random", "random"]}, "'random' .* as another player is"),
        (
            {"game": "kuhn", "anchors": ["run:nowhere"]},
            "task.anchors = 'run:nowhere': nowhere is no",
        ),
        (
            {"game": None},
            "task.game: something of type NoneType given; expected a name, or a class",
        ),
        ({"game": "kuhn", "mode": "leage"}, "task.mode = 'leage': expected 'self_play'"),
        ({"game": "kuhn", "boards": 0}, "task.boards = 0: expected greater than or equal to 1"),
        ({"game": "kuhn", "regularisation": float("nan")}, "task.regularisation = nan: expected"),
        ({"game": "kuhn", "teacher_weight": 0.1}, "a task.teacher whose habits are kept"),
        ({"game": "kuhn", "mode": "regularised", "memory": "gru"}, "whose reference has no memory"),
    ],
)
def test_mistakes_are_refused_in_one_line(options, said):
    with pytest.raises(UserError, match=said) as refused:
        League(**{**SMALL, **options})
    assert "\n" not in str(refused.value)


def test_a_run_that_is_called_as_a_learner_is_refused(tmp_path):
    small = [f"task.{key}={value}" for key, value in SMALL.items()]
    framework.train("kuhn", steps=1, folder=tmp_path / "main-0", overrides=small)
    with pytest.raises(UserError, match=r"would be called 'main-0' as another player is"):
        League(**SMALL, game="kuhn", rivals=[f"run:{tmp_path / 'main-0'}"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"game": "connect_four"}, "it cannot be dealt in all ways"),
        ({"game": "kuhn", "memory": "gru"}, "task.memory: expected none with task=exact_league"),
    ],
)
def test_what_cannot_be_judged_exactly_is_refused_before_it_is_trained(tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        framework.train(
            ExactLeague(**{**SMALL, **options}), estimator="ppo", steps=1, folder=tmp_path / "run"
        )


def test_an_exploiter_learns_against_a_runs_main_agent(tmp_path):
    options = {**SMALL, "game": "tic_tac_toe", "evaluation_matches": 4}
    rival = framework.train(
        "connect_four",
        steps=2,
        folder=tmp_path / "rival",
        overrides=[
            *("task.game=tic_tac_toe", "task.boards=8", "task.hidden=[8]", "task.anchors=[random]"),
            *("task.tournament_matches=0", "task.evaluation_matches=4", "trainer.threads=1"),
            *("estimator.epochs=1", "estimator.minibatches=1"),
            *("task.teacher=null", "task.teacher_weight=0"),
        ],
    )
    task = League(**options, mode="exploiter", rivals=[f"run:{rival.folder}"], anchors=[])
    assert isinstance(rival.task, League)
    main = rival.task.agent("main")
    opponent = task.players["rival"]
    assert isinstance(opponent, AgentPlayer)
    for name, value in opponent.agent.state_dict().items():
        assert torch.equal(value, main.state_dict()[name])
    run = framework.train(
        task,
        estimator="ppo",
        steps=2,
        folder=tmp_path / "exploiter",
        overrides=["estimator.epochs=1", "estimator.minibatches=1"],
    )
    assert run.metrics["anchor_score"] == run.metrics["score/rival"]
    assert set(task.learners[0].matches.match.names) == {"rival"}


def test_an_exploiter_is_judged_by_what_it_wins_also_where_the_game_is_judged_exactly():
    task = ExactLeague(**SMALL, game="kuhn", mode="exploiter", rivals=["random"], anchors=[])
    assert (task.primary_metric, task.metric_mode) == ("anchor_score", "max")
    assert "anchor_score" in task.evaluate(0, "validation")
    assert (ExactLeague.primary_metric, ExactLeague.metric_mode) == ("nash_conv", "min")


def test_a_table_of_nobody_is_refused():
    with pytest.raises(UserError, match="no player 'mein'; did you mean 'main'"):
        ExactLeague(**SMALL, game="kuhn", anchors=[]).table("mein")


def test_a_search_for_an_exploiters_settings_goes_by_what_it_wins():
    words = ["experiment=kuhn", "task.mode=exploiter", "task.rivals=[random]"]
    assert judged_by(framework.compose(*words)) == ("anchor_score", "max")
    assert judged_by(framework.compose("experiment=kuhn")) == ("nash_conv", "min")


@pytest.mark.parametrize("greedy", [False, True])
def test_anchors_meet_the_agent_greedy_or_drawn_and_a_tournament_drawn(greedy, monkeypatch):
    met: list[AgentPlayer] = []

    def scores(judge: Judge, player: AgentPlayer, seed: int) -> dict[str, float]:
        met.append(player)
        return {}

    monkeypatch.setattr(Judge, "scores", scores)
    task = League(**SMALL, game="tic_tac_toe", greedy=greedy)
    task.evaluate(0, "validation")
    assert [player.greedy for player in met] == [greedy]
    drawn = task.entrants()["main"]
    assert isinstance(drawn, AgentPlayer)
    assert not drawn.greedy


@pytest.mark.slow
def test_a_tournament_rates_anchors_snapshots_and_the_main_agent(tmp_path):
    task = League(
        **{**SMALL, "tournament_matches": 4},
        game="tic_tac_toe",
        evaluation_matches=4,
        snapshot_every=1,
    )
    run = framework.train(task, estimator="rloo", steps=9, folder=tmp_path / "run")
    rated = {name for name in run.metrics if name.startswith("elo/")}
    assert {"elo/random", "elo/main", "elo/main-0"} <= rated
    assert run.metrics["elo_rise"] == pytest.approx(
        run.metrics["elo/main"] - run.metrics["elo/main-0"], abs=1e-3
    )
    assert sum(run.metrics[name] for name in rated) == pytest.approx(0, abs=1e-2)
    shown = {media.name for media in task.show(0)}
    assert shown == {"payoffs", "elo", "match"}


def test_the_averaged_policy_weighs_later_responses_more():
    task = ExactLeague(**SMALL, game="matrix", mode="fictitious", anchors=[])
    torch.manual_seed(0)
    agents = [ExactLeague(**SMALL, game="matrix").agent("main") for _ in range(3)]
    for number, agent in enumerate(agents):
        task.population.snapshots["main"].append(f"main-{number}")
        task.population.enter(f"main-{number}", agent)
    tables = [task.tree.table(agent) for agent in agents]
    expected = (tables[0] + 2 * tables[1] + 3 * tables[2]) / 6
    torch.testing.assert_close(task.average(), expected)
    task.mode = "regularised"
    torch.testing.assert_close(task.average(), sum(tables) / 3)

"""The agent as a file: the same actions as the agent's on 1,000 observations, and everything it needs inside."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import pytest
import torch

from framework.errors import UserError
from framework.plugin import ROOT
from plugins.games.exporting import METADATA, check
from plugins.games.task import Game
from tests.pages import snippets
from tests.plugins.games.counter import SPACES, Choosy, Counter, decided, game_of

ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
SUFFIXES = [
    ".pt2",
    pytest.param(".onnx", marks=pytest.mark.skipif(not ONNX, reason="needs the extra [export]")),
]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("space", "choices", "options"),
    [
        ("discrete", 4, {}),
        ("multi-discrete", 9, {"memory": "lstm"}),
        ("squashed", 0, {"memory": "gru", "normalise_observations": True}),
        ("beta", 0, {"shared": True}),
    ],
)
def test_a_file_plays_as_the_agent_does(tmp_path, space, choices, options, suffix):
    """`export` compares both on 1,000 observations, and refuses to leave a file that differs."""
    actions, continuous = SPACES[space]
    game = game_of(lambda i: Choosy(actions, choices), 2, continuous=continuous, **options)
    if game.model.normaliser is not None:
        game.model.normaliser.update(torch.randn(50, 1) * 30 + 40, torch.ones(50, dtype=torch.bool))  # type: ignore[arg-type]
        game.model.normaliser.commit()
    path = game.export(tmp_path / f"policy{suffix}")
    assert path.stat().st_size > 1000


def test_a_file_carries_its_inputs_memory_and_metadata_and_takes_any_number_of_games(tmp_path):
    torch.manual_seed(0)
    game = Game(environment="CartPole-v1", hidden=[8], memory="gru", memory_width=5)
    decided(game.model)
    path = game.export(str(tmp_path / "policy.pt2"))
    files = {METADATA: ""}
    program = torch.export.load(path, extra_files=files)
    described = json.loads(files[METADATA])
    assert described["inputs"] == {
        "observation": {"shape": [4], "type": "float32"},
        "memory": {"shape": [1, 5], "type": "float32"},
        "episode_start": {"shape": [], "type": "bool"},
    }
    assert described["action_space"] == "Discrete(2)"
    policy, env = program.module(), gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=3)
    memory, start = torch.zeros(1, 1, 5), torch.tensor([True])
    actions, ours = [], []
    game.reset_memory()
    for _ in range(30):
        seen = torch.as_tensor(numpy.asarray(observation)).unsqueeze(0)
        action, memory = policy(seen, memory, start)
        ours.append(int(game.act(observation)))
        actions.append(int(action))
        observation, _, ended, *_ = env.step(int(action))
        start = torch.tensor([bool(ended)])
        if ended:
            observation, _ = env.reset()
            game.reset_memory()
    assert actions == ours
    seven = policy(torch.randn(7, 4), torch.zeros(7, 1, 5), torch.ones(7, dtype=torch.bool))
    assert seven[0].shape == (7,)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("policy.pt", {}, "expected a name that ends in .onnx or .pt2"),
        ("policy.pt2", {"opset": 17}, "unknown key 'export.opset'"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path: Path, name, options, message):
    game = game_of(lambda i: Counter(), 2)
    with pytest.raises(UserError, match=message):
        game.export(tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_difference_is_refused():
    one: Any = (torch.tensor([0, 1]),)
    check(one, one)
    with pytest.raises(UserError, match="differs from the agent by 1"):
        check(one, (torch.tensor([0, 2]),))
    with pytest.raises(UserError, match="differs from the agent by nan"):
        check((torch.tensor([0.5]),), (torch.tensor([numpy.nan]),))


def test_the_runner_in_the_readme_plays_without_this_package(tmp_path, monkeypatch, capsys):
    """Its 20 lines, of agents with and without a memory."""
    readme = ROOT / "plugins" / "games" / "README.md"
    runner = next(code for code in snippets(readme) if "torch.export.load" in code)
    assert "framework" not in runner
    assert len(runner.splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    for memory in ("none", "lstm"):
        torch.manual_seed(0)
        game = Game(environment="CartPole-v1", hidden=[8], memory=memory)
        decided(game.model)
        game.export("policy.pt2")
        exec(compile(runner, "runner", "exec"), {})
        env, earned = gymnasium.make("CartPole-v1"), 0.0
        observation, ended = env.reset(seed=0)[0], False
        while not ended:
            observation, reward, *ends, _ = env.step(game.act(observation))
            earned, ended = earned + float(reward), any(ends)
        assert float(capsys.readouterr().out) == earned

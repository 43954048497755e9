"""The greedy agent as one file that runs without this framework: ONNX or torch.export, compared with the agent.

Inputs have a leading axis of N games: `observation`, or each part of a named one by its name, among them `action_mask`;
an agent with a memory also takes `memory` `[N, parts, width]`, zeros at first, and `episode_start` `[N]`. Outputs are
`action`, as the environment takes it, and the next `memory`. Normalisation is inside. The metadata `agent` of the file
says names, shapes and types as JSON.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor, nn

from framework.errors import UserError
from framework.extras import import_extra
from plugins.games.player import Player
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import MASK

# Observations on which the file is compared with the agent, and how far continuous actions may differ.
COMPARED, TOLERANCE = 1000, 1e-4
METADATA = "agent"


class Deployed(nn.Module):
    """The agent as a function of tensors.

    Args:
        names: of the observation's parts; empty: it has none.
    """

    def __init__(self, agent: Agent, names: list[str], actions: Space[Any]) -> None:
        super().__init__()
        self.agent = agent
        self.names = names
        self.bounds = (actions.low, actions.high) if isinstance(actions, Box) else None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        parts = inputs[: max(len(self.names), 1)]
        seen: Any = dict(zip(self.names, parts, strict=True)) if self.names else parts[0]
        if self.agent.memory is None:
            # `len` would fix the number of games.
            start = parts[0].new_zeros(parts[0].shape[0], dtype=torch.bool)
            actions, _ = self.agent.greedy_actions(seen, None, start)
            return (self.agent.to_environment(actions),)
        memory, start = inputs[-2:]
        actions, after = self.agent.greedy_actions(seen, memory.transpose(0, 1), start)
        assert after is not None
        return self.agent.to_environment(actions), after.transpose(0, 1)


def export_agent(agent: Agent, player: Player, path: Path) -> Path:
    """Write the agent and compare the file with it; returns its path.

    Raises:
        UserError: a suffix that is no format, a package that is missing, or a file that differs from the agent.
    """
    if path.suffix not in (".onnx", ".pt2"):
        raise UserError(f"'{path}': expected a name that ends in .onnx or .pt2")
    if path.suffix == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            needed(package)
    agent = copy.deepcopy(agent).cpu().eval()
    space = player.observation_space
    names = list(space.spaces) if isinstance(space, Dict) else []
    deployed = Deployed(agent, names, player.action_space).eval()
    inputs = examples(space, agent, COMPARED)
    described = json.dumps(description(space, player.action_space, inputs))
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter's own deprecations.
        warnings.simplefilter("ignore")
        path.parent.mkdir(parents=True, exist_ok=True)
        expected = deployed(*inputs.values())
        write = write_onnx if path.suffix == ".onnx" else write_torch
        found = write(deployed, inputs, path, described)
    try:
        check(expected, found)
    except UserError as error:
        path.unlink()
        raise UserError(f"{path}: {error}; nothing was written") from None
    return path


def needed(package: str) -> Any:
    return import_extra(package, "export", f"a policy in ONNX needs {package}")


def examples(space: Space[Any], agent: Agent, count: int) -> dict[str, Tensor]:
    """Random inputs of the file, by name."""
    parts = space.spaces if isinstance(space, Dict) else {"observation": space}
    inputs = {name: sampled(part, count, name) for name, part in parts.items()}
    if agent.memory is not None:
        memory = agent.memory
        random = torch.Generator().manual_seed(0)
        inputs["memory"] = torch.rand(count, memory.parts, memory.width, generator=random) - 0.5
        inputs["episode_start"] = torch.arange(count) % 7 == 0
    return inputs


def sampled(space: Space[Any], count: int, name: str) -> Tensor:
    """Observations `[count, ...]`; a mask allows everything in the first of them."""
    space.seed(0)
    values = numpy.stack([numpy.asarray(space.sample()) for _ in range(count)])
    if name == MASK:
        values = numpy.maximum(values, numpy.arange(count).reshape(-1, 1) % 2 == 0)
    whole = isinstance(space, Discrete | MultiDiscrete | MultiBinary)
    kind = numpy.int64 if whole else values.dtype if values.dtype == numpy.uint8 else numpy.float32
    return torch.from_numpy(values.astype(kind))


def description(
    observations: Space[Any], actions: Space[Any], inputs: dict[str, Tensor]
) -> dict[str, Any]:
    """What a user of the file must know."""
    shapes = {
        name: {"shape": list(value.shape[1:]), "type": str(value.dtype).removeprefix("torch.")}
        for name, value in inputs.items()
    }
    return {
        "inputs": shapes,
        "observation_space": str(observations),
        "action_space": str(actions),
        "memory": "zeros at first" if "memory" in inputs else "none",
    }


def write_torch(
    deployed: Deployed, inputs: dict[str, Tensor], path: Path, described: str
) -> tuple[Tensor, ...]:
    """Write with torch.export, read it back and run it."""
    program = exported(deployed, inputs)
    torch.export.save(program, path, extra_files={METADATA: described})
    found: tuple[Tensor, ...] = torch.export.load(path).module()(*inputs.values())
    return found


def write_onnx(
    deployed: Deployed, inputs: dict[str, Tensor], path: Path, described: str
) -> tuple[Tensor, ...]:
    """Write ONNX, read it back and run it."""
    onnx, onnxruntime = (needed(package) for package in ("onnx", "onnxruntime"))
    outputs = ["action", *(["next_memory"] if "memory" in inputs else [])]
    torch.onnx.export(
        exported(deployed, inputs),
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=outputs,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA: described})
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    taken = {item.name for item in session.get_inputs()}
    given = {name: value.numpy() for name, value in inputs.items() if name in taken}
    return tuple(torch.from_numpy(value) for value in session.run(None, given))


def exported(deployed: Deployed, inputs: dict[str, Tensor]) -> Any:
    """The agent's graph for any number of games."""
    batch = torch.export.Dim("games", min=1)
    shapes = (tuple({0: batch} for _ in inputs),)
    return torch.export.export(deployed, tuple(inputs.values()), dynamic_shapes=shapes)


def check(expected: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> None:
    """Compare what the file returns with what the agent does.

    Raises:
        UserError: they differ.
    """
    for one, other in zip(expected, found, strict=True):
        difference = (one.double() - other.double()).abs().max()
        if not difference <= (TOLERANCE if one.is_floating_point() else 0):
            raise UserError(f"it differs from the agent by {difference:.3g}")

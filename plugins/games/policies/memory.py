"""Memory: a recurrent layer whose state is cleared wherever an episode begins, also inside a rollout."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

MemoryKind = Literal["none", "gru", "lstm"]


class RecurrentMemory(nn.Module):
    """A GRU or an LSTM; its state is `[parts, N, width]`, one part for a GRU, two for an LSTM."""

    def __init__(self, kind: MemoryKind, inputs: int, width: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(inputs, width) if kind == "gru" else nn.LSTMCell(inputs, width)
        self.parts = 1 if kind == "gru" else 2
        self.width = width
        for name, parameter in self.cell.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def initial_state(self, count: int, device: torch.device) -> Tensor:
        """Zeros `[parts, N, width]` for `count` games."""
        return torch.zeros(self.parts, count, self.width, device=device)

    def step(self, features: Tensor, state: Tensor, episode_start: Tensor) -> Tensor:
        """The state after one step; its first part is the output.

        Args:
            features: `[N, F]`.
            state: `[parts, N, width]`.
            episode_start: `[N]`, an episode begins with this step.
        """
        state = state.masked_fill(episode_start.unsqueeze(-1), 0.0)
        if self.parts == 1:
            return self.cell(features, state[0]).unsqueeze(0)  # type: ignore[no-any-return]
        return torch.stack(self.cell(features, (state[0], state[1])))

    def forward(self, features: Tensor, state: Tensor, episode_start: Tensor) -> Tensor:
        """Outputs `[T, N, width]` of a sequence.

        Args:
            features: `[T, N, F]`.
            state: `[parts, N, width]`, before the sequence.
            episode_start: `[T, N]`.
        """
        outputs = []
        for now, begins in zip(features.unbind(), episode_start.unbind(), strict=True):
            state = self.step(now, state, begins)
            outputs.append(state[0])
        return torch.stack(outputs)

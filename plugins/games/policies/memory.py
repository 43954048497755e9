"""Memory: a recurrent layer whose state is cleared wherever an episode begins, also inside a record."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Kind = Literal["none", "gru", "lstm"]


class Memory(nn.Module):
    """A GRU or an LSTM; its state is `[parts, N, width]`, one part for a GRU, two for an LSTM."""

    def __init__(self, kind: Kind, inputs: int, width: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(inputs, width) if kind == "gru" else nn.LSTMCell(inputs, width)
        self.parts = 1 if kind == "gru" else 2
        self.width = width
        for name, parameter in self.cell.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def empty(self, count: int, device: torch.device) -> Tensor:
        return torch.zeros(self.parts, count, self.width, device=device)

    def step(self, features: Tensor, state: Tensor, fresh: Tensor) -> Tensor:
        """The state behind one step; its first part is the output.

        Args:
            features: `[N, F]`.
            state: `[parts, N, width]`.
            fresh: `[N]`, an episode begins with this step.
        """
        state = state.masked_fill(fresh.unsqueeze(-1), 0.0)
        if self.parts == 1:
            return self.cell(features, state[0]).unsqueeze(0)  # type: ignore[no-any-return]
        return torch.stack(self.cell(features, (state[0], state[1])))

    def forward(self, features: Tensor, state: Tensor, fresh: Tensor) -> Tensor:
        """Outputs `[T, N, width]` of a sequence, `features [T, N, F]` and `fresh [T, N]`, from the state before it."""
        outputs = []
        for seen, begins in zip(features.unbind(), fresh.unbind(), strict=True):
            state = self.step(seen, state, begins)
            outputs.append(state[0])
        return torch.stack(outputs)

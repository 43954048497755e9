"""What comes out of the replay buffer: rewards of several steps, ends of every kind, rings that were overwritten."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from framework.errors import UserError
from plugins.games.replay_buffer import GameSteps, ReplayBuffer

CPU = torch.device("cpu")


def fill(
    buffer: ReplayBuffer, times: range, ends: dict[int, str], games: int = 1, at_a_time: int = 1
) -> None:
    """At time t: the observation t, the action 10 t, the reward t + 1; `ends` says how episodes end, or "reset"."""
    for first in range(times.start, times.stop, at_a_time):
        some = range(first, min(first + at_a_time, times.stop))

        def every(holds: Any, some: range = some) -> torch.Tensor:
            return torch.tensor([[holds(t)] * games for t in some])

        rewards = every(lambda t: t + 1.0)
        seen = (rewards - 1 + 100 * torch.arange(games)).unsqueeze(-1)
        buffer.add(
            GameSteps(
                observations=seen,
                actions=10 * seen,
                rewards=rewards,
                next_observations=seen + 1,
                terminated=every(lambda t: ends.get(t) == "terminated"),
            ),
            valid=every(lambda t: ends.get(t) != "reset"),
            episode_start=every(lambda t: ends.get(t - 1) == "reset" or t == 0),
            ended=every(lambda t: ends.get(t) in ("terminated", "truncated")),
        )


def drawn(buffer: ReplayBuffer, row: int, n_step: int) -> tuple[float, float, float]:
    """Reward, next observation and discount of a row."""
    steps = buffer.from_rows(torch.tensor([row]), n_step, 0.5)
    return float(steps.rewards), float(steps.next_observations), float(steps.discounts)


def test_a_step_is_what_was_seen_done_earned_and_led_to():
    buffer = ReplayBuffer(8, 1, CPU)
    fill(buffer, range(5), {})
    steps = buffer.from_rows(torch.tensor([3, 0]), 1, 0.9)
    assert steps.observations.squeeze(-1).tolist() == [3, 0]
    assert steps.actions.squeeze(-1).tolist() == [30, 0]
    assert steps.rewards.tolist() == [4, 1]
    assert steps.next_observations.squeeze(-1).tolist() == [4, 1]
    torch.testing.assert_close(steps.discounts, torch.tensor([0.9, 0.9]))


def test_rewards_of_several_steps_are_discounted_and_stop_at_the_newest_one():
    buffer = ReplayBuffer(8, 1, CPU)
    fill(buffer, range(5), {})
    assert drawn(buffer, 0, 3) == (1 + 0.5 * 2 + 0.25 * 3, 3, 0.125)
    assert drawn(buffer, 3, 3) == (4 + 0.5 * 5, 5, 0.25)
    assert drawn(buffer, 4, 3) == (5, 5, 0.5)


@pytest.mark.parametrize(("kind", "discount"), [("terminated", 0.0), ("truncated", 0.25)])
def test_an_end_within_the_rewards_stops_them_and_only_termination_ends_the_return(kind, discount):
    buffer = ReplayBuffer(8, 1, CPU)
    fill(buffer, range(6), {2: kind, 3: "reset"})
    # The reset is no row: those of times 0, 1, 2, 4, 5.
    assert buffer.size == 5
    assert drawn(buffer, 1, 4) == (2 + 0.5 * 3, 3, discount)
    assert drawn(buffer, 3, 4) == (5 + 0.5 * 6, 6, 0.25)


def test_a_game_that_failed_and_began_again_does_not_go_on_from_before():
    """Its failed step is none; nothing says that the episode before it ended."""
    buffer = ReplayBuffer(8, 1, CPU)
    fill(buffer, range(5), {2: "reset"})
    assert drawn(buffer, 1, 3) == (2, 2, 0.5)
    assert drawn(buffer, 2, 3) == (4 + 0.5 * 5, 5, 0.25)


def test_games_do_not_mix_and_old_rows_are_overwritten():
    buffer = ReplayBuffer(6, 2, CPU)
    fill(buffer, range(7), {}, games=2)
    rows = buffer.from_rows(torch.arange(6), 2, 0.5)
    # Times 4, 5, 6 of both games, in a ring that has gone round twice and once more by two rows.
    assert buffer.head == 14 % 6
    assert rows.observations.squeeze(-1).tolist() == [6, 106, 4, 104, 5, 105][:6]
    assert rows.rewards.tolist() == [7, 7, 5 + 3, 5 + 3, 6 + 3.5, 6 + 3.5]
    assert rows.next_observations.squeeze(-1).tolist() == [7, 107, 6, 106, 7, 107]


@pytest.mark.parametrize("games", [1, 2])
@pytest.mark.parametrize("at_a_time", [2, 3, 11])
def test_several_steps_at_a_time_are_kept_as_one_after_the_other(games, at_a_time):
    """In a ring of fewer steps than are written at once, too."""
    ends = {3: "terminated", 4: "reset", 7: "truncated", 8: "reset"}
    single, several = ReplayBuffer(6, games, CPU), ReplayBuffer(6, games, CPU)
    fill(single, range(11), ends, games)
    fill(several, range(11), ends, games, at_a_time)
    torch.testing.assert_close(several.state_dict(), single.state_dict(), rtol=0, atol=0)


def test_walks_stay_within_an_episode_whatever_was_overwritten():
    """Episodes of random lengths in a small ring, each row's reward the episode's number: none adds up two of them.

    After a step that is none, such as a reset, another episode begins.
    """
    random = torch.Generator().manual_seed(0)
    buffer = ReplayBuffer(50, 3, CPU)
    episode, start = torch.arange(3.0), torch.ones(3, dtype=torch.bool)
    for _ in range(400):
        ended = torch.rand(3, generator=random) < 0.2
        valid = torch.rand(3, generator=random) < 0.9
        steps = GameSteps(
            *(episode.unsqueeze(-1), episode, episode, episode.unsqueeze(-1), ended & valid)
        )
        buffer.add(
            GameSteps(*(part.unsqueeze(0) for part in vars(steps).values())),
            valid=valid.unsqueeze(0),
            episode_start=start.unsqueeze(0),
            ended=ended.unsqueeze(0),
        )
        start = ended | ~valid
        episode = torch.where(start, episode + 3, episode)
    drawn = buffer.from_rows(torch.arange(50), 5, 1.0)
    count = drawn.rewards / drawn.actions
    assert torch.equal(count, count.round())
    assert set(count.tolist()) >= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert torch.equal(drawn.next_observations.squeeze(-1), drawn.actions)


def test_every_row_is_drawn_equally_often():
    buffer = ReplayBuffer(16, 1, CPU)
    fill(buffer, range(10), {})
    steps = buffer.sample(20_000, 1, 0.9, torch.Generator().manual_seed(0))
    counts = steps.observations.squeeze(-1).long().bincount(minlength=16)
    assert counts[10:].sum() == 0
    # 4 standard deviations of a count of 20,000 / 10.
    assert ((counts[:10] - 2000).abs() < 4 * (2000 * 0.9) ** 0.5).all()


def test_a_restored_buffer_goes_on_as_the_saved_one():
    whole, first = ReplayBuffer(6, 1, CPU), ReplayBuffer(6, 1, CPU)
    fill(whole, range(11), {7: "terminated", 8: "reset"})
    fill(first, range(8), {7: "terminated", 8: "reset"})
    second = ReplayBuffer(6, 1, CPU)
    second.load_state_dict(first.state_dict())
    fill(second, range(8, 11), {7: "terminated", 8: "reset"})
    for n_step in (1, 4):
        torch.testing.assert_close(
            vars(second.from_rows(torch.arange(6), n_step, 0.9)),
            vars(whole.from_rows(torch.arange(6), n_step, 0.9)),
        )
    assert second.head == whole.head


def test_a_saved_buffer_that_does_not_fit_is_refused():
    buffer = ReplayBuffer(6, 1, CPU)
    fill(buffer, range(4), {})
    state: dict[str, Any] = buffer.state_dict()
    with pytest.raises(UserError, match=r"keeps 6 steps of 1 games; expected 8 .*of 1"):
        ReplayBuffer(8, 1, CPU).load_state_dict(state)
    with pytest.raises(UserError, match="the replay buffer's 'latest' is 3"):
        ReplayBuffer(6, 1, CPU).load_state_dict({**state, "latest": 3})
    with pytest.raises(UserError, match=r"estimator.capacity = 5: expected at least two"):
        ReplayBuffer(5, 3, CPU)

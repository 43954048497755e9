"""diffobj check environment=ID: try an environment before an agent is trained in it.

    diffobj check environment=ID [trust=true] [environment_options={...}] [wrappers=[...]] [KEY=VALUE ...]

ID is whatever `task.environment` takes, and every key is an option of the task `game`. It is played by random actions:
its spaces, what it returns, seeds, ends of episodes, rewards, masks of actions, autoreset, and what a step costs. Each
misfit is named with its remedy. In Python: `check_environment(lambda: MyEnv())`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode, VectorEnv

from framework.commands.check import Finding, report
from framework.errors import UserError
from framework.run import compose
from plugins.games.commands.generators import GlobalGenerators
from plugins.games.commands.walk import Walk, random_actions, vector_behind, walk
from plugins.games.environments.foreign.checking import whole_numbers
from plugins.games.environments.foreign.games import single
from plugins.games.environments.foreign.guarding import FAILED
from plugins.games.environments.foreign.reading import followed, leaves, named
from plugins.games.environments.making import make_games
from plugins.games.policies.layout import is_picture, scale_of
from plugins.games.task import Game

GAMES, STEPS, SEED = 4, 500, 1
# Whole numbers up to this one are exact in single precision.
EXACT = 2**24
# Larger numbers saturate the units of a network.
LARGE = 100
# A step that costs more microseconds is worth a process of its own.
SLOW = 1000


def run(arguments: Sequence[str]) -> int:
    """Print what was found; returns 1 where something must be fixed."""
    given = [f"task.{argument.removeprefix('task.')}" for argument in arguments]
    options = compose("task=game", *given).task.options
    return report(str(options["environment"]), environment_findings(**options))


def check_environment(environment: Any, **options: Any) -> list[Finding]:
    """What is right and wrong with an environment; `fix` is empty where nothing is to be done.

    Args:
        environment: as of the task `game`: a name, an environment, a function, a vector class.
        options: the task's others.
    """
    return list(environment_findings(environment=environment, **options))


def environment_findings(**options: Any) -> Iterator[Finding]:
    """The findings in order; an environment that cannot be made or stepped is tried no further."""
    try:
        game = Game(**options)
    except UserError as error:
        yield Finding("made", "", str(error))
        return
    games = make_games(game.environment, GAMES)
    vector = vector_behind(games)
    yield Finding("made", f"{type(vector).__name__} of {GAMES}, {limit(games.time_limit)}")
    yield Finding(
        "spaces",
        f"{games.observation_space} seen by {type(game.model.body).__name__}, {games.action_space} chosen",
    )
    actions = random_actions(vector, STEPS, SEED)
    with GlobalGenerators() as generators:
        first, again, other = (walk(vector, seed, actions) for seed in (SEED, SEED, SEED + 1))
        touched = generators.touched()
    if wrong := first.error or failures(first):
        fix = f"the environment must play {STEPS} random actions of its own action space"
        yield Finding("steps", wrong, fix)
        return
    checks: list[Callable[[], Finding]] = [
        lambda: observations(
            first, vector.single_observation_space, bool(options.get("normalise_observations"))
        ),
        lambda: rewards(first),
        lambda: episodes(first, games.time_limit),
        lambda: seeds(first, again, other, touched if isinstance(vector, VectorEnv) else []),
        lambda: replay(first, again),
        lambda: masks(first, vector.single_observation_space),
        lambda: autoreset(first, vector.metadata.get("autoreset_mode")),
        lambda: cost(first),
    ]
    for check in checks:
        yield check()
    games.close()


def failures(found: Walk) -> str:
    """Why games have failed that began again, in words; empty where none has."""
    reasons = [
        str(why)
        for info in found.infos
        if FAILED in info
        for why in numpy.asarray(info[FAILED])[numpy.asarray(info[f"_{FAILED}"], dtype=bool)]
    ]
    return f"{reasons[0]}: {len(reasons)} times in {len(found.rewards)} steps" if reasons else ""


def limit(steps: int | None) -> str:
    return "no time limit" if steps is None else f"at most {steps:,} steps an episode"


def observations(found: Walk, space: Any, normalised: bool) -> Finding:
    """What is returned is what the space declares, and of a size that can be learned from."""
    ranges, wrong = [], []
    for way, part in leaves(space):
        rows = [numpy.asarray(followed(row, way)) for row in found.observations]
        label = f"'{named(way)}' " if way else ""
        shapes = {row.shape[1:] for row in rows}
        if isinstance(part, Box) and shapes != {part.shape}:
            wrong.append(f"{label}has the shape {sorted(shapes)}, declared {part.shape}")
            continue
        values = numpy.stack(rows)
        if values.dtype.kind not in "biuf" or not values.size:
            continue
        spoilt = int((~numpy.isfinite(single(values))).sum())
        if spoilt:
            wrong.append(f"{label}is not finite, in single precision, in {spoilt} numbers")
        ranges.append(f"{label}{values.min():g} to {values.max():g}")
        if values.dtype.kind in "iu" and isinstance(part, Box) and numpy.abs(values).max() > EXACT:
            ranges[-1] += f"; whole numbers above {EXACT:,} lose digits in single precision"
        if not normalised and numbers(part) and numpy.abs(values).max() > LARGE:
            ranges[-1] += "; large: task.normalise_observations=true"
        low, high = (part.low, part.high) if isinstance(part, Box) else whole_numbers(part)
        if low is not None and ((values < low) | (values > high)).any():
            wrong.append(f"{label}leaves its bounds {numpy.min(low):g} to {numpy.max(high):g}")
    detail = "; ".join([*wrong, *ranges])
    fix = "declare in observation_space what reset and step return" if wrong else ""
    return Finding("observations", detail, fix)


def numbers(space: Any) -> bool:
    """Whether a part is read as numbers as they are, which can be normalised."""
    few_axes = isinstance(space, Box) and len(space.shape) <= 2
    return few_axes and not is_picture(space) and scale_of(space) == 1


def rewards(found: Walk) -> Finding:
    """Finite, and of a size that can be learned from."""
    values = numpy.stack(found.rewards)
    detail = f"{values.min():g} to {values.max():g}, mean {values.mean():.4g}"
    if not numpy.isfinite(single(values)).all():
        fix = "a reward must be a finite number, in single precision: what divides by zero?"
        return Finding("rewards", detail, fix)
    if not values.any():
        return Finding("rewards", f"all {values.size:,} were 0: chance finds nothing to learn from")
    largest = numpy.abs(values).max()
    if largest > LARGE:
        detail += f"; large: task.reward_scale={1 / largest:.1g} or task.normalise_returns=true"
    return Finding("rewards", detail)


def episodes(found: Walk, time_limit: int | None) -> Finding:
    """Episodes end."""
    ended = found.ended
    terminated, truncated = numpy.array(found.terminated), numpy.array(found.truncated)
    if ended.any():
        return Finding(
            "episodes",
            f"{ended.sum()} ended: {terminated.sum()} terminated, {truncated.sum()} truncated",
        )
    detail = f"none ended in {len(ended)} steps"
    if time_limit is not None and time_limit <= len(ended):
        return Finding("episodes", detail, f"the time limit of {time_limit} steps is not kept")
    return Finding(
        "episodes", f"{detail}, {limit(time_limit)}: is that meant? task.max_episode_steps=N"
    )


def seeds(found: Walk, again: Walk, other: Walk, touched: Sequence[str]) -> Finding:
    """The same seed begins the same episodes, and no other random numbers are changed.

    Args:
        touched: whose global generator was drawn from or seeds again.
    """
    if not same(found.observations[0], again.observations[0]):
        fix = "begin reset(self, *, seed=None, options=None) with super().reset(seed=seed) and draw from self.np_random"
        return Finding("seeds", "two resets with one seed differ", fix)
    if touched:
        fix = "draw from self.np_random only: the agent's own draws would be changed"
        return Finding("seeds", f"{touched[0]}'s global generator is drawn from or seeded", fix)
    alike = same(found.observations[0], other.observations[0])
    return Finding("seeds", "each seed begins alike" if alike else "one seed, one beginning")


def replay(found: Walk, again: Walk) -> Finding:
    """The same seed and actions lead to the same place."""
    pairs = zip(found.observations, again.observations, strict=False)
    differs = next((t for t, (a, b) in enumerate(pairs) if not same(a, b)), None)
    if differs is None and same(numpy.array(found.rewards), numpy.array(again.rewards)):
        return Finding("replay", f"{len(found.rewards)} steps are the same again")
    fix = "draw from self.np_random only, and set everything in reset; else a resumed run begins new episodes"
    where = "the rewards differ" if differs is None else f"step {differs} differs"
    return Finding("replay", f"one seed and the same actions: {where}", fix)


def masks(found: Walk, space: Any) -> Finding:
    """A mask of actions allows one at least, wherever an episode goes on."""
    if not isinstance(space, Dict) or "action_mask" not in space.spaces:
        if "action_mask" in found.infos[0]:
            return Finding(
                "masks",
                "info['action_mask'] of a vector is not read",
                "put it into a dict observation as 'action_mask'",
            )
        return Finding("masks", "none")
    allowed = numpy.stack([row["action_mask"] for row in found.observations])
    if found.ended.any():
        # What is allowed after an end does not matter.
        allowed = allowed[:-1][~found.ended]
    empty = ~allowed.reshape(-1, allowed.shape[-1]).any(-1)
    if empty.any():
        return Finding(
            "masks",
            f"{empty.sum()} observations allow no action",
            "end the episode where no action is left",
        )
    return Finding("masks", f"{allowed.mean():.0%} of the actions are allowed")


def autoreset(found: Walk, mode: Any) -> Finding:
    """The next episode begins as the vector says that it does."""
    mode = AutoresetMode(mode) if mode in set(AutoresetMode) else AutoresetMode.NEXT_STEP
    ended = found.ended
    if not ended.any():
        return Finding("autoreset", f"{mode.value}: no episode ended")
    if mode == AutoresetMode.NEXT_STEP:
        paid = numpy.stack(found.rewards)[1:][ended[:-1]]
        if paid.any() or ended[1:][ended[:-1]].any():
            fix = "the step after an end only resets, with reward 0; or metadata['autoreset_mode'] is another one"
            return Finding("autoreset", f"{mode.value}: the step after an end plays", fix)
    if mode == AutoresetMode.SAME_STEP:
        lacks = [
            t for t in range(len(ended)) if ended[t].any() and "final_obs" not in found.infos[t + 1]
        ]
        if lacks:
            fix = "return the ended episode's last observation in info['final_obs'], its games in info['_final_obs']"
            return Finding("autoreset", f"{mode.value}: step {lacks[0] + 1} has no final_obs", fix)
    return Finding("autoreset", mode.value)


def cost(found: Walk) -> Finding:
    """What a step of one game costs."""
    steps = len(found.rewards) * len(found.rewards[0])
    each = 1e6 * found.seconds / steps
    hint = "; slow: task.processes=true gives each game a process" if each > SLOW else ""
    return Finding("cost", f"{each:.3g} microseconds a step, {1e6 / each:,.0f} steps/s{hint}")


def same(a: Any, b: Any) -> bool:
    """Whether two observations of any structure are equal."""
    if isinstance(a, Mapping):
        return all(same(a[name], b[name]) for name in a)
    if isinstance(a, tuple):
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    a, b = numpy.asarray(a), numpy.asarray(b)
    return bool(a.shape == b.shape and numpy.array_equal(a, b, equal_nan=a.dtype.kind == "f"))

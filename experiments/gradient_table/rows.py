"""The table's rows, one problem each, measured by several processes on one thread each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from experiments.gradient_table.cell import Cell, judge
from experiments.problems import PROBLEMS


def rows(problems: Sequence[str], estimators: Sequence[str], workers: int) -> Iterator[list[Cell]]:
    """The cells of each problem, in the problems' order."""
    tasks = [(name, tuple(estimators)) for name in problems]
    if workers < 2:
        torch.set_num_threads(1)
        yield from map(row, tasks)
        return
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        yield from pool.map(row, tasks)


def row(task: tuple[str, Sequence[str]]) -> list[Cell]:
    problem, estimators = task
    return [judge(PROBLEMS[problem], estimator) for estimator in estimators]

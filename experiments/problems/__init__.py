"""Objectives whose gradient is known exactly, a module for each kind of difficulty: every estimator must give that
gradient, refuse in one line, or say that it is biased. The tests and `experiments.gradient_table` share them.
"""

from experiments.problems import (
    axes,
    closed_forms,
    composition,
    families,
    in_place,
    jumps,
    layers,
    lost_paths,
    masks,
    mixing,
    number_kinds,
    random_places,
    recorded,
    reports,
    supports,
)
from experiments.problems.problem import PROBLEMS, Problem, problem

__all__ = [
    "PROBLEMS",
    "Problem",
    "axes",
    "closed_forms",
    "composition",
    "families",
    "in_place",
    "jumps",
    "layers",
    "lost_paths",
    "masks",
    "mixing",
    "number_kinds",
    "problem",
    "random_places",
    "recorded",
    "reports",
    "supports",
]

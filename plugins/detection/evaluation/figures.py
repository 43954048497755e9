"""Figures: precision over recall, the confusion matrix and the kinds of errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from matplotlib import colormaps
from matplotlib.figure import Figure

from plugins.detection.evaluation.error_analysis import ERRORS, Analysis
from plugins.detection.evaluation.metrics import Precision

# With more, a figure shows no numbers and no further curves.
MAX_CLASSES = 30


def precision_over_recall(precision: Precision, categories: Sequence[str]) -> Figure:
    """The curve of each class at IoU .50, and the mean of the classes at .50, .75 and .90."""
    figure = Figure(figsize=(10, 4.2), layout="constrained", dpi=100)
    left, right = figure.subplots(1, 2)
    recall = numpy.linspace(0, 1, precision.curves.shape[1])
    # The second one has pairs of a dark and a light colour.
    colour = colormaps["tab10" if len(categories) <= 10 else "tab20"]
    for label, name in enumerate(categories[:MAX_CLASSES]):
        curve = precision.curves[0, :, label]
        if (curve > -1).any():
            text = f"{name} {precision.classes[name][1]:.2f}"
            left.plot(recall, curve, color=colour(label % colour.N), lw=1.4, label=text)
    left.set(title="Each class at IoU .50 (AP50)", xlabel="recall", ylabel="precision")
    for index, iou in ((0, 0.50), (5, 0.75), (8, 0.90)):
        known = precision.curves[index][:, (precision.curves[index] > -1).any(0)]
        if known.size:
            right.plot(recall, known.mean(1), lw=2, label=f"IoU {iou:.2f}")
    right.set(title="Mean of the classes", xlabel="recall")
    for axes, corner in ((left, "lower left"), (right, "upper right")):
        axes.set(xlim=(0, 1.01), ylim=(0, 1.03))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False, loc=corner)
    return figure


def confusion(analysis: Analysis, categories: Sequence[str]) -> Figure:
    """The confusion matrix: each row one true class, as fractions of its objects."""
    names = [*categories, "background"]
    counts = analysis.confusion
    shares = counts / numpy.maximum(1, counts.sum(1, keepdims=True))
    side = max(4.5, 1.5 + 0.5 * len(names))
    figure = Figure(figsize=(side + 0.5, side), layout="constrained", dpi=100)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="detected as", ylabel="ground truth", title="Displayed detections")
    if len(names) <= MAX_CLASSES:
        for (row, column), count in numpy.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=8)
    return figure


def errors(analysis: Analysis) -> Figure:
    """The numbers of errors of each kind, and of correct detections."""
    figure = Figure(figsize=(6, 3), layout="constrained", dpi=100)
    axes = figure.subplots()
    kinds = ["correct", *ERRORS]
    counts = [analysis.correct, *(analysis.errors[kind] for kind in ERRORS)]
    bars = axes.barh(kinds, counts, color=["tab:green", *["tab:red"] * len(ERRORS)])
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.set(title=f"{analysis.objects:,} objects", xlabel="detections, or missed objects")
    axes.spines[["top", "right"]].set_visible(False)
    return figure

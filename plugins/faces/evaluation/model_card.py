"""The model card that a training writes: data, network, results and out-of-scope uses."""

from __future__ import annotations

from collections.abc import Mapping

SYNTHETIC_NOTICE = "trained on synthetic faces: do not use on people"
# Of a run on photographs.
PRIVACY_NOTICE = (
    "this folder holds photographs of people: contact sheets in media/ and in TensorBoard's files show whom the "
    "model was trained and tested on, by the names of their folders. Its checkpoints hold no pictures, but signatures "
    "of those that were trained on (a few grey blots each), a mean face and its components. Before the folder is "
    "passed on, delete media/, the events.out.tfevents files and the projector's"
)


def model_card(about: Mapping[str, str], results: str) -> str:
    """The card in Markdown.

    Args:
        about: lines on the data and the network, by title; "Notice", where it is not empty, becomes the banner, and
            "Privacy" says what of people's photographs the run's folder holds.
        results: tables and sentences.
    """
    lines = [f"- **{name}**: {value}" for name, value in about.items() if name != "Notice"]
    banner = f"**{about['Notice'].upper()}**\n\n" if about.get("Notice") else ""
    return (
        f"# Model card\n\n{banner}" + "\n".join(lines) + f"\n\n## Results\n\n{results}\n\n"
        "The rows of pixels and of the random network are baselines without training, those of whitened components "
        "are computed in a second: what they reach needs no network.\n\n"
        "## Threshold\n\nNone is built in: the best one differs between data sets. `diffobj calibrate run=RUN far=0.01 "
        "input=FOLDER` measures one on your own pictures at a stated false acceptance rate and writes it into this "
        "run's folder. A similarity is a cosine, not a probability.\n\n"
        "## Not for\n\nIdentifying people without their consent, surveillance, decisions about people without a person "
        "who answers for them, and anything about age, sex, mood or origin: nothing of that kind is trained or "
        "predicted. Results differ between groups of people, and were not measured by group here.\n"
    )

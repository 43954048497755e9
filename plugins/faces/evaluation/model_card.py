"""The model card that training writes: what a network was made of, what it can do, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping

DRAWINGS = "trained on drawings: do not use on people"


def card(about: Mapping[str, str], results: str) -> str:
    """Markdown. `about` says what was learned and from what; the line "Drawn", where it is not empty, is the banner."""
    lines = [f"- **{name}**: {value}" for name, value in about.items() if name != "Drawn"]
    banner = f"**{about['Drawn'].upper()}**\n\n" if about.get("Drawn") else ""
    return (
        f"# Model card\n\n{banner}" + "\n".join(lines) + f"\n\n## Results\n\n{results}\n\n"
        'The rows "raw pixels", "even pixels" and "random network" learned nothing: what they reach is what the '
        "pictures give away by themselves.\n\n"
        "## Threshold\n\nNone is built in: the best one moves from data to data. `diffobj calibrate run=RUN far=0.01 "
        "input=FOLDER` finds one on your own pictures at a stated share of false acceptances and writes it beside this "
        "run. A similarity is a cosine; it is no probability.\n\n"
        "## Not for\n\nIdentifying people without their consent, surveillance, decisions about people without a person "
        "who answers for them, and anything about age, sex, mood or origin: nothing of that kind is learned or given. "
        "Results differ between groups of people, and none were measured here.\n"
    )

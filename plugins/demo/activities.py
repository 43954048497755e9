"""What a visitor can do: descend the javelin's hill, watch an agent, detect, find faces, draw.

An activity is a function `(runs, send, picture, *, options)`. It calls `send` with one JSON object after the other;
`send` returns False once the visitor has gone, and the activity then stops. Options arrive as text and are checked
against the signature, as everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

import framework
from framework import Image, Text, UserError, Video
from plugins.demo.pictures import boxed, data_url
from plugins.demo.runs import Runs, new_task

Send = Callable[[dict[str, Any]], bool]
Degrees = Annotated[float, Field(gt=0, lt=90)]
Estimator = Literal["exact", "reparameterisation", "rloo", "reinforce", "spsa"]
Style = Literal["sketch", "sketch_minimal", "sketch_pencil", "sketch_brush", "sketch_shapes"]
# Pixels of the longer side of a film's frames.
FRAME = 480
# Boxes whose IoU is above it surround one object.
SAME_PLACE = 0.5


def hill(runs: Runs, send: Send, picture: Path | None) -> None:
    """The range of a steady throw at every half degree: `degrees` and `metres`."""
    import torch

    task: Any = new_task(framework.compose("experiment=javelin"))
    degrees = torch.linspace(0, 90, 181)
    metres = task.fly(torch.deg2rad(degrees), torch.zeros(()))
    send({"degrees": degrees.tolist(), "metres": metres.tolist()})


def descend(
    runs: Runs,
    send: Send,
    picture: Path | None,
    *,
    degrees: Degrees = 20.0,
    estimator: Estimator = "rloo",
    learning_rate: Annotated[float, Field(gt=0, le=0.02)] = 0.001,
    steps: Annotated[int, Field(ge=1, le=500)] = 60,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> None:
    """Plain gradient descent on minus the metres: after each step `degrees`, `metres` and their objective."""
    import torch

    task: Any = new_task(framework.compose("experiment=javelin"), start_degrees=degrees)

    def report(step: int, estimate: Any) -> bool:
        angle = task.model.angle.detach()
        return send(
            {
                "step": step,
                "degrees": math.degrees(float(angle)),
                "metres": float(task.fly(angle, torch.zeros(()))),
                "objective": estimate.value,
            }
        )

    framework.fit(
        task,
        estimator=estimator,
        optimizer="sgd",
        scheduler="constant",
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        on_step=report,
    )


def play(
    runs: Runs,
    send: Send,
    picture: Path | None,
    *,
    game: Literal["cartpole", "acrobot"] = "cartpole",
    trained: bool = True,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> None:
    """One episode: its `frame`s, then their `rate` per second."""
    run = runs.trained(game) if trained else runs.untrained(game)
    films = run.predict(seed=seed)
    film = next((media for media in films if isinstance(media, Video)), None)
    films.close()  # type: ignore[attr-defined]
    if film is None:
        raise UserError(f"{game}: there is no film; pygame draws it")
    for frame in film.frames:
        if not send({"frame": data_url(frame, FRAME)}):
            return
    send({"rate": film.frames_per_second, "frames": len(film.frames)})


def detect(runs: Runs, send: Send, picture: Path | None) -> None:
    """Objects: the `picture` with their boxes, and `found`, the label and score of each, the best of each place."""
    from torchvision.ops import nms

    picture = chosen(picture)
    there = runs.trained("detection").task.detect(picture)  # type: ignore[attr-defined]
    # The network's own suppression is by label, so that an object that it is unsure of has several.
    best = nms(there.boxes, there.scores, SAME_PLACE).tolist()
    found = [{"label": there.names[i], "score": float(there.scores[i])} for i in best]
    words = [f"{one['label']} {100 * one['score']:.0f} %" for one in found]
    send({"picture": data_url(boxed(picture, there.boxes[best].tolist(), words)), "found": found})


def faces(runs: Runs, send: Send, picture: Path | None) -> None:
    """Faces: the `picture` with boxes and landmarks, and `found`, the score of each."""
    shown, content = predicted(runs, "faces", picture)
    found = [{"label": "face", "score": one["scores"]} for one in content["faces"]]
    send({"picture": shown, "found": found})


def chosen(picture: Path | None) -> Path:
    """The picture.

    Raises:
        UserError: there is none.
    """
    if picture is None:
        raise UserError("which picture? drop one, or take an example")
    return picture


def predicted(runs: Runs, name: str, picture: Path | None) -> tuple[str, Any]:
    """A run's picture of a picture, and its JSON."""
    media = list(runs.trained(name).predict(chosen(picture)))
    (shown,) = (one for one in media if isinstance(one, Image))
    (text,) = (one for one in media if isinstance(one, Text) and one.suffix == ".json")
    return data_url(shown.pixels), json.loads(text.text)


def draw(
    runs: Runs,
    send: Send,
    picture: Path | None,
    *,
    style: Style = "sketch",
    steps: Annotated[int, Field(ge=10, le=500)] = 200,
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0,
) -> None:
    """A drawing while it is fitted (`step`, `steps`, `loss`, `picture`), then the last `picture` and its `svg`.

    Without a picture, that of the experiment is drawn.
    """
    settings = framework.compose(f"experiment={style}", "task.output_size=640")
    task: Any = new_task(settings, input=None if picture is None else str(picture))
    shown = 0

    def report(step: int, estimate: Any) -> bool:
        nonlocal shown
        if len(task.frames) == shown and step < steps:
            return True
        shown = len(task.frames)
        frame = data_url(task.frames[-1].numpy())
        return send({"step": step, "steps": steps, "loss": estimate.value, "picture": frame})

    framework.fit(
        task,
        estimator="exact",
        optimizer="adam",
        scheduler="cosine",
        steps=steps,
        learning_rate=settings.optimizer.options["learning_rate"],
        seed=seed,
        overrides=["scheduler.final=0.1", "trainer.threads=1"],
        on_step=report,
    )
    task.prune()
    send({"picture": data_url(task.pixels()), "svg": task.svg()})


ACTIVITIES: Mapping[str, Callable[..., None]] = {
    "hill": hill,
    "descend": descend,
    "play": play,
    "detect": detect,
    "faces": faces,
    "draw": draw,
}

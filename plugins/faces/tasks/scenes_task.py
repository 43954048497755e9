"""Faces in whole images: one function from an image to boxes, scores, landmarks and features.

minimise  centres + 5 boxes + 5 landmarks + w identity      (see finding.py and losses.py)

It is judged on scenes with people who were never learned from: by the detection's average precision, and by how well
the features of the faces that it found itself tell people apart (the EER), which counts as chance, 0.5, as long as it
finds fewer than half of the faces or fewer than a hundred pairs of one person's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor, nn

from framework import Context, Image, Program, Text, UserError
from framework.config.schema import Section
from framework.data import Order
from framework.media import Media, Projection
from framework.randomness import generator, seeded
from framework.task import Split
from plugins.detection.evaluation.metrics import require_coco_evaluation
from plugins.faces.data.photographs import as_pixels, pictures_in, read_photograph, within
from plugins.faces.evaluation.figures import (
    contact_sheet,
    marked,
    marked_photograph,
    pairs_sheet,
    roc_picture,
    table_of,
)
from plugins.faces.evaluation.model_card import DRAWINGS, card
from plugins.faces.evaluation.scene_metrics import (
    CLEAR,
    FLOOR,
    LARGE,
    Judged,
    above,
    comparable,
    crops_of,
    detection_metrics,
    enough,
    heights,
    matches,
)
from plugins.faces.evaluation.verification import all_pairs, verification
from plugins.faces.losses.identity_loss import IdentityLoss, make_loss
from plugins.faces.losses.margins import ramp
from plugins.faces.models.alignment import mirrored
from plugins.faces.models.face_finder import FaceFinder, Located, Route, SceneBatch, Shared
from plugins.faces.models.networks import unit
from plugins.faces.synthetic.drawn_crops import FIRST_UNSEEN
from plugins.faces.synthetic.scenes import Scenes, drawn_scenes
from plugins.faces.tasks.face_task import FaceTask

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
AT_ONCE = 16  # scenes looked at together
PIXELS = 32  # side of the crops that stand for raw pixels


class SceneData(Section):
    """Where scenes come from.

    Attributes:
        side: pixels of a scene's side.
        scenes, people: to learn from; most: people in a scene at most.
        tested_scenes, tested_people: likewise, to test on; nobody is in both.
        seed: of the drawn people and scenes.
    """

    side: Annotated[int, Field(ge=96, le=512, multiple_of=32)] = 160
    scenes: Count = 2500
    people: Annotated[int, Field(ge=2)] = 800
    most: Annotated[int, Field(ge=1, le=30)] = 8
    tested_scenes: Count = 200
    tested_people: Annotated[int, Field(ge=2)] = 60
    seed: Annotated[int, Field(ge=0)] = 0


class FaceModel(nn.Module):
    """The function of the lecture, `model(images)`, and the identity loss it is trained with."""

    def __init__(self, finder: FaceFinder, identity: IdentityLoss) -> None:
        super().__init__()
        self.finder, self.identity = finder, identity

    def forward(
        self, images: Tensor, most: int = 50, floor: float = CLEAR
    ) -> list[dict[str, Tensor]]:
        """See `FaceFinder.forward`."""
        found: list[dict[str, Tensor]] = self.finder(images, most, floor)
        return found


class Faces(FaceTask):
    """Find faces in images and describe each."""

    model: FaceModel
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "eer"

    def __init__(
        self,
        *,
        route: Route = "joint",
        shared: Shared = "early",
        data: SceneData | None = None,
        size: Annotated[int, Field(ge=2, le=1024)] = 128,
        patch: Annotated[int, Field(ge=8, le=64)] = 24,
        loss: dict[str, Any] | None = None,
        identity_weight: Weight = 1.0,
        box_weight: Weight = 5.0,
        landmark_weight: Weight = 5.0,
        margin_from: Annotated[int, Field(ge=0)] = 0,
        ramp: Annotated[int, Field(ge=0)] = 0,
        aim: Annotated[float, Field(ge=0, le=0.3)] = 0.04,
        batch_size: Count = 16,
    ) -> None:
        require_coco_evaluation()
        self.data = data or SceneData()
        self.route: Route = route
        self.loss_options = loss or {"name": "cosface"}
        self.weights = {
            "centre": 1.0,
            "box": box_weight,
            "landmarks": landmark_weight,
            "identity": identity_weight,
        }
        self.margin_from, self.ramp_steps, self.aim = margin_from, ramp, aim
        self.batch_size = batch_size
        self.finder = partial(FaceFinder, route, shared=shared, size=size, patch=patch)
        identity = make_loss(self.loss_options, size, self.data.people, "task.loss")
        self.model = FaceModel(self.finder(), identity)
        self.latest: dict[str, float] = {}

    @cached_property
    def learned(self) -> Scenes:
        """Scenes to learn from; drawn when they are first asked for."""
        data = self.data
        return drawn_scenes(data.seed, 0, data.scenes, data.side, 0, data.people, data.most)

    def tested(self, seed: int) -> Scenes:
        """Other scenes, with people who are not learned from; which ones follows the seed."""
        data = self.data
        block = 1 + seed % 1000
        first_person = FIRST_UNSEEN + block * data.tested_people
        return drawn_scenes(
            data.seed,
            FIRST_UNSEEN + block * data.tested_scenes,
            data.tested_scenes,
            data.side,
            first_person,
            data.tested_people,
            data.most,
        )

    @property
    def drawn(self) -> bool:
        """It learns from drawings."""
        return True

    def batches(self, program: Program, seed: int, start: int) -> Iterator[SceneBatch]:
        """Scenes, some of them mirrored and relit; batch number k is the same wherever a run begins."""
        size = min(self.batch_size, len(self.learned))
        for number, places in enumerate(Order(len(self.learned), size, seed, start), start):
            chosen = self.learned.chosen(torch.tensor([index for _, index in places]))
            yield self.varied(chosen, number, generator(seed, "augmentation", number))

    def varied(self, scenes: Scenes, number: int, draw: torch.Generator) -> SceneBatch:
        """A batch of scenes with mirror images, other light, and an aim that is a little off."""
        count, side = len(scenes), scenes.images.shape[-1]
        flip = torch.rand(count, generator=draw) < 0.5
        x = torch.where(flip[:, None, None, None], scenes.images.flip(3), scenes.images).float()
        gain = (0.12 * torch.randn(count, 3, 1, 1, generator=draw).clamp(-2, 2)).exp()
        images = (x * gain).clamp(0, 255)
        turned = flip[scenes.owner]
        left, top, right, bottom = scenes.boxes.unbind(1)
        other_way = torch.stack([side - right, top, side - left, bottom], 1)
        boxes = torch.where(turned[:, None], other_way, scenes.boxes)
        landmarks = torch.where(
            turned[:, None, None], mirrored(scenes.landmarks, side), scenes.landmarks
        )
        true, ignored = ~scenes.ignored, scenes.ignored
        boxes, out, landmarks = boxes[true], boxes[ignored], landmarks[true]
        size = self.aim * (bottom - top)[true][:, None]
        aim = Located(
            boxes + size * torch.randn(boxes.shape, generator=draw),
            landmarks + size[..., None] * torch.randn(landmarks.shape, generator=draw),
            scenes.owner[true],
        )
        return SceneBatch(
            images,
            boxes,
            landmarks,
            scenes.people[true],
            scenes.owner[true],
            aim,
            number,
            out,
            scenes.owner[ignored],
        )

    def objective(self, context: Context, batch: SceneBatch) -> None:
        """Finding and telling apart, of the same images at once."""
        said = self.model.finder.said(batch.images)
        terms = self.model.finder.losses(said, batch)
        share = ramp(batch.number - self.margin_from, self.ramp_steps)
        known = int((batch.people >= 0).sum())
        if known > 1 and self.weights["identity"]:  # batch norm needs two
            features = self.model.finder.features(said, batch.images, batch.aim)
            terms["identity"] = self.model.identity(features, batch.people, share)
            chance = self.model.identity.chance(batch.people, share)
            self.latest["identity_over_chance"] = float(terms["identity"].detach()) / chance
        for name, term in terms.items():
            self.latest[name] = float(term.detach())
            context.cost(self.weights[name] * term, name)

    def scalars(self) -> dict[str, float]:
        """Each part of the loss before weighting, and identity as a share of what chance would have."""
        return {f"train/{name}": value for name, value in self.latest.items()}

    def judge(self, scenes: Scenes, model: nn.Module) -> Judged:
        """Find faces in scenes; each is the face of the scene that it agrees with most, the surest first."""
        found: list[dict[str, Tensor]] = []
        for part in scenes.images.split(AT_ONCE):
            some = model(part.to(self.device), floor=FLOOR)
            found += [{name: value.cpu() for name, value in one.items()} for one in some]
        faces: list[Tensor] = []
        kept: list[dict[str, Tensor]] = []
        for number, one in enumerate(found):
            mine = ((scenes.owner == number) & ~scenes.ignored).nonzero()[:, 0]
            sure = one["scores"] >= CLEAR
            pairs = matches(one["boxes"][sure], scenes.boxes[mine])
            detections = torch.tensor([detection for detection, _ in pairs], dtype=torch.long)
            faces.append(mine[torch.tensor([face for _, face in pairs], dtype=torch.long)])
            kept.append({name: value[detections] for name, value in one.items()})
        face = torch.cat(faces)
        embeddings, boxes, landmarks = (
            torch.cat([one[name] for one in kept]) for name in ("embeddings", "boxes", "landmarks")
        )
        return Judged(found, face, embeddings, Located(boxes, landmarks, scenes.owner[face]))

    def rows(self, scenes: Scenes, judged: Judged, seed: int) -> dict[str, Tensor]:
        """Embeddings `[F, D]` of the found faces by the network, and by what learned nothing."""
        with seeded(seed):
            untrained = self.finder().to(self.device).eval()
        raw = crops_of(scenes, judged, PIXELS).images.float().flatten(1) / 255
        features = []
        for first in range(0, len(scenes), AT_ONCE):
            images = scenes.images[first : first + AT_ONCE].to(self.device)
            owner = judged.where.owner - first
            mine = (owner >= 0) & (owner < AT_ONCE)
            if mine.any():
                boxes, landmarks = judged.where.boxes[mine], judged.where.landmarks[mine]
                located = Located(*(x.to(self.device) for x in (boxes, landmarks, owner[mine])))
                said = untrained.said(images)
                features.append(untrained.features(said, images, located).cpu())
        return {
            "this network": judged.embeddings,
            "raw pixels": unit(raw - raw.mean(0)),
            "random network": unit(torch.cat(features)),
        }

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Average precision, and verification by the features of found faces, beside what learned nothing."""
        scenes = self.tested(seed)
        judged = self.judge(scenes, self.model)
        metrics = detection_metrics(scenes, judged)
        people = scenes.people[judged.face]
        if not enough(people, len(scenes.people)):
            return metrics | {"eer": 0.5}  # else a network that finds three faces could be the best
        rows = self.rows(scenes, judged, seed)
        metrics |= verification(rows.pop("this network"), people, seed)
        for name, embeddings in rows.items():
            curve = all_pairs(embeddings, people).roc()
            metrics[f"{name.replace(' ', '_')}_eer"] = curve.eer()
        large = heights(scenes)[judged.face] >= LARGE
        if comparable(people[large]):
            metrics["large_eer"] = verification(judged.embeddings[large], people[large])["eer"]
        return metrics

    def show(self, seed: int) -> Iterator[Media]:
        """Scenes with what was found, who is told apart and who is mixed up, the curves, the table, the model card."""
        scenes = self.tested(seed)
        judged = self.judge(scenes, self.model)
        yield Image("scenes", marked(scenes, [above(one, CLEAR) for one in judged.found]))
        numbers = detection_metrics(scenes, judged)
        told = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        if not comparable(scenes.people[judged.face]):
            yield Text("verification", f"Too little was found to compare. {told}\n")
            return
        crops = crops_of(scenes, judged, 48)
        yield Image("found", contact_sheet(crops))
        rows = self.rows(scenes, judged, seed)
        curves = {name: all_pairs(e, crops.people) for name, e in rows.items()}
        yield roc_picture("roc", {name: pairs.roc() for name, pairs in curves.items()})
        yield Image("pairs", pairs_sheet(crops, judged.embeddings))
        table = table_of(curves, seed)
        told = f"Detection at {self.data.side} pixels: {told}."
        yield Text("verification", f"{table}\n\n{told}\n")
        yield Text("model_card", card(self.about(), f"{table}\n\n{told}"))
        names = [f"person {p}" for p in crops.people.tolist()]
        yield Projection("embeddings", judged.embeddings, names, crops.images)

    def about(self) -> dict[str, str]:
        """What the model card says of the data and the network."""
        data = self.data
        count = sum(p.numel() for p in self.model.finder.parameters())
        return {
            "What it does": "boxes, scores, five landmarks and a feature for each face in an image",
            "Learned from": f"{data.scenes:,} drawn scenes with {data.people} invented people",
            "Route": self.route,
            "Loss": str(self.loss_options["name"]),
            "Network": f"{count:,} parameters, {self.model.finder.size} numbers per face",
            "Input": f"RGB images; faces of 10 to 60 pixels in {data.side} x {data.side}",
            "Drawn": DRAWINGS,
        }

    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """Faces of a photograph, looked at with its longer side as long as a scene's, in its own pixels."""
        factor = self.data.side / max(photograph.size)
        width, height = (max(1, round(n * factor)) for n in photograph.size)
        small = as_pixels(photograph.resize((width, height), Pillow.Resampling.BILINEAR))
        found = {k: v.cpu() for k, v in self.model(small[None].to(self.device))[0].items()}
        found["boxes"], found["landmarks"] = found["boxes"] / factor, found["landmarks"] / factor
        return found

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """For each picture the faces as JSON, and the picture with them drawn in."""
        yield from predicted(self, source)


def predicted(task: FaceTask, source: Path | None) -> Iterator[Media]:
    """What a task finds in a picture or in each picture of a folder."""
    if source is None:
        raise UserError("which picture? input=PICTURE or input=FOLDER")
    task.warn()
    for file, name in pictures_in(source):
        try:
            photograph = read_photograph(file)
        except UserError as error:
            if not source.is_dir():
                raise
            print(f"left out: {error}", file=sys.stderr)
            continue
        found = task.faces_in(photograph)
        faces = [
            {name: value[k].tolist() for name, value in found.items()}
            for k in range(len(found["boxes"]))
        ]
        told = {"file": within(file, source), "drawn": task.drawn, "faces": faces}
        yield Text(name, json.dumps(told), ".json")
        yield Image(name, marked_photograph(photograph, found))

"""Objects followed through a video: a detection belongs to the track whose box, moved on, overlaps it most.

Each track moves on by the speed of its last two boxes; detections and tracks of one label are paired in the order of
their IoU, and a track without a detection waits for `patience` frames. (SORT, Bewley et al. 2016, with constant speed
in place of a Kalman filter and greedy pairs in place of the Hungarian matching.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.detection.boxes import pairwise_iou
from plugins.detection.sample import Detections

# The lowest IoU of a detection with its track's box.
MIN_IOU = 0.3


@dataclass
class Track:
    """An object: its number from 1, label, last box `[4]` and speed `[4]` in pixels a frame, and the frame of it."""

    number: int
    label: int
    box: Tensor
    speed: Tensor
    frame: int

    def at(self, frame: int) -> Tensor:
        """Where its box should be."""
        return self.box + self.speed * (frame - self.frame)

    def follow(self, box: Tensor, frame: int) -> None:
        """Take the box of a frame."""
        latest = (box - self.box) / (frame - self.frame)
        # Half the old speed: a single box may be off.
        self.speed = (self.speed + latest) / 2 if bool(self.speed.any()) else latest
        self.box, self.frame = box, frame


class Tracker:
    """Gives the detections of one frame after another the numbers of their tracks."""

    def __init__(self, patience: int = 10) -> None:
        self.patience = patience
        self.tracks: list[Track] = []
        self.frame = self.count = 0

    def numbers(self, found: Detections) -> list[int]:
        """The track of each detection in the next frame."""
        self.frame += 1
        self.tracks = [t for t in self.tracks if self.frame - t.frame <= self.patience + 1]
        numbers = [0] * len(found)
        for place, track in self.pairs(found):
            track.follow(found.boxes[place], self.frame)
            numbers[place] = track.number
        for place, number in enumerate(numbers):
            if not number:
                self.count += 1
                box = found.boxes[place]
                new = Track(
                    self.count, int(found.labels[place]), box, torch.zeros_like(box), self.frame
                )
                self.tracks.append(new)
                numbers[place] = new.number
        return numbers

    def pairs(self, found: Detections) -> list[tuple[int, Track]]:
        """Detections and their tracks, the highest IoU first, each once."""
        if not self.tracks or not len(found):
            return []
        boxes = torch.stack([track.at(self.frame) for track in self.tracks])
        labels = torch.tensor([track.label for track in self.tracks])
        iou = pairwise_iou(found.boxes, boxes) * (found.labels.unsqueeze(1) == labels)
        paired: list[tuple[int, Track]] = []
        while float(iou.max()) >= MIN_IOU:
            place, which = divmod(int(iou.argmax()), len(self.tracks))
            paired.append((place, self.tracks[which]))
            iou[place], iou[:, which] = 0, 0
        return paired

"""After any variation a box is still where its object is; images keep their form; randomness is the item's own."""

import pytest
import torch

from framework.randomness import generator
from plugins.detection.data.augmentation import Augmentation, Augmented
from plugins.detection.data.resizing import resized, stretched
from plugins.detection.sample import PADDING, Sample, collate, scaled

COLOURS = [(250, 20, 30), (30, 240, 40), (20, 60, 250)]
OFF = 2.5  # pixels: half a pixel and the blur of resizing on either side
ALONE = {"flip": 0.0}
EACH = {
    "flip": {"flip": 1.0},
    "vertical_flip": ALONE | {"vertical_flip": 1.0},
    "rotate": ALONE | {"rotate": 1.0, "degrees": 10.0},
    "blur": ALONE | {"blur": 1.0},
    "zoom_out": ALONE | {"zoom_out": 1.0},
    "crop": ALONE | {"crop": 1.0},
    "scale_jitter": ALONE | {"scale_jitter": 1.0, "zoom": 2.0},
    "mosaic": ALONE | {"mosaic": 1.0},
}


class Coloured:
    """Black images, each with three rectangles of a colour of their own; the label is the colour."""

    def __init__(self, height=90, width=120):
        self.categories = ["red", "green", "blue"]
        self.height, self.width = height, width

    def __len__(self):
        return 8

    def sample(self, index):
        draw = torch.Generator().manual_seed(index)
        image = torch.zeros(3, self.height, self.width, dtype=torch.uint8)
        boxes = []
        for place, colour in enumerate(COLOURS):
            left = 40 * place + int(torch.randint(0, 12, (), generator=draw))
            top = int(torch.randint(0, 50, (), generator=draw))
            wide, tall = torch.randint(14, 28, (2,), generator=draw).tolist()
            image[:, top : top + tall, left : left + wide] = torch.tensor(colour).view(3, 1, 1)
            boxes.append([left, top, left + wide, top + tall])
        box = torch.tensor(boxes, dtype=torch.float32)
        none = torch.zeros(3, dtype=torch.bool)
        size = (self.height, self.width)
        return Sample(
            image, box, torch.arange(3), none, (box[:, 2:] - box[:, :2]).prod(1), index, size
        )


def seen(image: torch.Tensor, label: int) -> torch.Tensor:
    """Where the colour of a label is."""
    colour = torch.tensor(COLOURS[label]).view(3, 1, 1)
    return (image.int() - colour).abs().sum(0) < 150


def surroundings(mask: torch.Tensor) -> torch.Tensor:
    rows, columns = mask.nonzero(as_tuple=True)
    return torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()


@pytest.mark.parametrize("name", list(EACH))
def test_boxes_stay_with_their_objects(name):
    augmented = Augmented(Coloured(), Augmentation(**EACH[name]), 120, plain=False)
    compared = 0
    for index in range(8):
        for epoch in range(4):
            made = augmented.item(index, generator(0, "test", epoch, index))
            assert made.image.dtype == torch.uint8
            height, width = made.image.shape[-2:]
            assert ((made.boxes >= 0) & (made.boxes <= torch.tensor([width, height] * 2))).all()
            for label in range(3):
                mine = made.boxes[made.labels == label]
                if name != "mosaic" and len(mine) == 1:
                    found = surroundings(seen(made.image, label))
                    assert (found - mine[0]).abs().max() < OFF, (name, found, mine)
                    compared += 1
                for box in mine:  # most of every box has its colour
                    x0, y0, x1, y1 = box.round().int().tolist()
                    inside = seen(made.image, label)[y0:y1, x0:x1].float()
                    assert inside.mean() > 0.6, (name, box)
    assert name == "mosaic" or compared > 30


@pytest.mark.parametrize(
    ("name", "smallest", "largest"),
    [("zoom_out", 0.25, 1.0), ("crop", 1.0, 4.0), ("scale_jitter", 0.5, 2.0)],
)
def test_objects_change_their_size_and_images_do_not(name, smallest, largest):
    """What is cut out or put on a larger ground is an image of the usual size again, and its objects are scaled."""
    source, how = (
        Coloured(),
        Augmentation(**EACH[name] | {"zoom": 4.0 if name == "zoom_out" else 2.0}),
    )
    augmented = Augmented(source, how, 120, plain=False)
    scales: list[float] = []
    for index in range(8):
        for epoch in range(4):
            made = augmented.item(index, generator(0, "test", epoch, index))
            assert max(made.image.shape[-2:]) == 120
            before = source.sample(index).boxes[made.labels]
            inside = ((made.boxes[:, :2] > 0) & (made.boxes[:, 2:] < 119)).all(1)  # none cut off
            whole = [x[inside, 2:] - x[inside, :2] for x in (made.boxes, before)]
            scales += (whole[0] / whole[1]).flatten().tolist()
    assert len(scales) > 30
    assert smallest * 0.95 < min(scales)
    assert max(scales) < largest * 1.05
    assert max(scales) / min(scales) > 1.5


def test_a_crop_leaves_out_what_is_outside():
    augmented = Augmented(Coloured(), Augmentation(flip=0.0, crop=1.0), 120, plain=False)
    counts = [
        len(augmented.item(i, generator(0, "test", e, i)).boxes) for i in range(8) for e in range(4)
    ]
    assert min(counts) < 3
    assert max(counts) == 3


def test_colours_change_and_boxes_do_not():
    source = Coloured()
    augmented = Augmented(source, Augmentation(flip=0.0, photometric=1.0), 120, plain=False)
    changed = 0
    for index in range(8):
        made = augmented.item(index, generator(0, "test", 0, index))
        assert torch.equal(made.boxes, source.sample(index).boxes)
        changed += not torch.equal(made.image, source.sample(index).image)
    assert changed >= 6


def test_a_mixture_has_the_objects_of_both():
    augmented = Augmented(Coloured(), Augmentation(flip=0.0, mixup=1.0), 120, plain=False)
    for index in range(8):
        made = augmented.item(index, generator(0, "test", 0, index))
        assert made.labels.tolist() == [0, 1, 2, 0, 1, 2]
        for box, label in zip(made.boxes, made.labels.tolist(), strict=True):
            x0, y0, x1, y1 = box.int().tolist()
            strongest = made.image[:, y0:y1, x0:x1].float().mean((1, 2)).argmax()
            assert strongest == label  # half as strong, the colour is still seen in every box


def test_pasted_objects_are_where_their_boxes_are_and_hide_none():
    source = Coloured()
    augmented = Augmented(source, Augmentation(flip=0.0, copy_paste=1.0), 120, plain=True)
    counts = []
    for index in range(8):
        made = augmented.item(index, generator(0, "test", index))
        before = source.sample(index)
        assert torch.equal(made.boxes[:3], before.boxes)
        assert len(made.boxes) == len(made.labels) == len(made.crowd) == len(made.area)
        counts.append(len(made.boxes) - 3)
        for box, label in zip(made.boxes.int().tolist(), made.labels.tolist(), strict=True):
            cut = seen(made.image, label)[box[1] : box[3], box[0] : box[2]]
            assert cut.float().mean() > 0.85
    assert 0 < sum(counts) <= 32
    assert max(counts) <= 4


def test_an_option_that_is_off_draws_nothing():
    """The items are those without the option, bit for bit."""
    plain = Augmented(Coloured(), Augmentation(scale_jitter=0.5), 120, plain=True)
    items = [plain.item(n, generator(0, "test", n)).image for n in range(4)]
    off = Augmentation(scale_jitter=0.5, copy_paste=0.0, blur=0.0, rotate=0.0, vertical_flip=0.0)
    again = Augmented(Coloured(), off, 120, plain=True)
    for n, image in enumerate(items):
        assert torch.equal(again.item(n, generator(0, "test", n)).image, image)


def test_plain_items_have_no_mosaic():
    how = Augmentation(flip=0.0, mosaic=1.0, mixup=1.0)
    made = Augmented(Coloured(), how, 120, plain=True).item(3, generator(0, "test"))
    assert torch.equal(made.image, Coloured().sample(3).image)


def test_an_item_is_the_same_whatever_was_drawn_before():
    every = Augmentation(
        flip=0.5, photometric=0.5, zoom_out=0.3, crop=0.3, scale_jitter=0.5, mosaic=0.5, mixup=0.3
    )
    one, other = (Augmented(Coloured(), every, 120, plain=False) for _ in range(2))
    torch.rand(7)
    other.item(5, generator(0, "test", 0, 5))
    for index in range(8):
        a = one.item(index, generator(3, "test", 1, index))
        torch.rand(3)
        b = other.item(index, generator(3, "test", 1, index))
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.boxes, b.boxes)


def test_an_image_without_objects_passes_through_everything():
    class Empty(Coloured):
        def sample(self, index):
            return super().sample(index).chosen(torch.zeros(3, dtype=torch.bool))

    every = Augmentation(
        flip=1.0, photometric=1.0, zoom_out=1.0, crop=1.0, scale_jitter=1.0, mosaic=1.0, mixup=1.0
    )
    made = Augmented(Empty(), every, 120, plain=False).item(0, generator(0, "test"))
    assert made.boxes.shape == (0, 4)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (33, 500), (7, 7)])
def test_boxes_come_back_from_a_resized_image(height, width):
    draw = torch.Generator().manual_seed(0)
    low = torch.rand(20, 2, generator=draw) * torch.tensor([width, height]) * 0.5
    boxes = torch.cat([low, low + torch.rand(20, 2, generator=draw) * low], 1)
    none = torch.zeros(20)
    sample = Sample(
        torch.zeros(3, height, width).byte(),
        boxes,
        none.long(),
        none.bool(),
        none,
        1,
        (height, width),
    )
    small = resized(sample, 320)
    assert max(small.image.shape[-2:]) == 320
    back = scaled(small.boxes, small.scale)
    torch.testing.assert_close(back, boxes, atol=1e-3, rtol=0)


def test_what_is_drawn_in_a_resized_image_is_where_its_box_is():
    sample = stretched(Coloured().sample(1), 180, 200)
    for label in range(3):
        found = surroundings(seen(sample.image, label))
        assert (found - sample.boxes[label]).abs().max() < OFF


def test_a_batch_is_padded_to_a_multiple_and_counts_every_object_but_crowds():
    one = Coloured().sample(0)
    other = Coloured(60, 100).sample(1).chosen(torch.tensor([True, False, True]))
    crowd = Sample(
        one.image, one.boxes, one.labels, torch.tensor([False, True, False]), one.area, 2, one.size
    )
    made = collate([one, other, crowd])
    assert tuple(made.images.shape) == (3, 3, 96, 128)
    assert made.image_index.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert (made.images[1, :, 60:] == PADDING).all()
    assert (made.images[1, :, :, 100:] == PADDING).all()
    assert torch.equal(made.images[0, :, :90, :120], one.image)
    boxes, labels = made.objects_of(1)
    assert labels.tolist() == [0, 2]
    assert torch.equal(boxes, other.boxes)

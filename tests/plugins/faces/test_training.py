"""Training, resuming and using: small runs of both tasks from the command line."""

import json
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from framework.commands import train
from plugins.faces.card import DRAWINGS
from plugins.faces.listed import scenes_of
from plugins.faces.photographs import Listed
from plugins.faces.recognition import Data, Recognition, some_of_each
from plugins.faces.scenes import drawn_scenes
from tests.plugins.faces.stand_in import write_stand_in
from tests.runs import Diffobj, newest, records, result

SMALL = (
    "experiment=faces_recognition",
    "task.data.people=12",
    "task.data.pictures=4",
    "task.data.tested_people=6",
    "task.data.tested_pictures=4",
    "task.data.side=24",
    "task.network.widths=[8,16]",
    "task.network.blocks=0",
    "task.batch_size=16",
    "trainer.steps=6",
    "trainer.log_every=2",
    "monitor.progress=none",
)
SCENES = (
    "experiment=faces",
    "task.data.side=96",
    "task.data.scenes=8",
    "task.data.people=6",
    "task.data.tested_scenes=4",
    "task.data.tested_people=3",
    "task.batch_size=4",
    "trainer.steps=3",
    "trainer.log_every=1",
    "monitor.progress=none",
)


def run(folder: Path, *arguments: str) -> Path:
    assert train.run([*arguments, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("photographs") / "people", people=8, pictures=5)


@pytest.fixture(scope="module")
def recognition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs") / "recognition", *SMALL)


def test_a_run_reports_what_learned_nothing_beside_the_network(recognition):
    metrics = result(recognition)["metrics"]
    for name in ("eer", "raw_pixels_eer", "even_pixels_eer", "random_network_eer", "seen_eer"):
        assert 0 <= metrics[name] <= 1, name
    assert metrics["impostor_pairs"] == (24 * 23 - 6 * 4 * 3) / 2
    assert all(
        "train/identity_over_chance" in r for r in records(recognition) if "train/objective" in r
    )


def test_the_identity_loss_begins_near_chance(tmp_path):
    folder = run(tmp_path / "run", *SMALL, "trainer.steps=1", "trainer.log_every=1")
    (first,) = [r for r in records(folder) if "train/objective" in r]
    assert 0.6 < first["train/identity_over_chance"] < 1.6


def test_pictures_table_and_model_card_are_written(recognition):
    names = {p.name for p in (recognition / "media").iterdir()}
    assert {
        "learned.png",
        "tested.png",
        "roc.png",
        "pairs.png",
        "verification.md",
        "model_card.md",
    } <= names
    text = (recognition / "media" / "model_card.md").read_text()
    assert DRAWINGS.upper() in text
    for wanted in (
        "12 people, 48 pictures",
        "RGB, 24 x 24",
        "random network",
        "95 % interval",
        "Not for",
    ):
        assert wanted in text
    assert (recognition / "projector_config.pbtxt").exists()


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(recognition, tmp_path):
    folder = run(tmp_path / "run", *SMALL, "trainer.stop_at=3")
    assert train.run([f"resume={folder}", "trainer.stop_at=null"]) == 0
    whole, resumed = newest(recognition), newest(folder)
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name


def test_people_who_are_tested_are_never_learned_from_and_follow_the_seed():
    task = Recognition(data=Data(people=5, pictures=2, tested_people=4, tested_pictures=2, side=16))
    first, second = task.tested(1), task.tested(2)
    everyone = [set(c.names) for c in (task.learned, first, second)]
    assert everyone[0].isdisjoint(everyone[1] | everyone[2])
    assert everyone[1].isdisjoint(everyone[2])
    assert torch.equal(task.tested(1).images, first.images)


def test_a_folder_of_people_is_learned_from_with_nothing_but_its_name(people, tmp_path):
    folder = run(tmp_path / "run", *SMALL, f"task.data.root={people}")
    metrics = result(folder)["metrics"]
    assert "seen_eer" not in metrics
    assert metrics["genuine_pairs"] == 3 * 10  # three of eight people held out
    text = (folder / "media" / "model_card.md").read_text()
    assert DRAWINGS.upper() not in text
    assert "5 people, 25 pictures" in text


def test_pairs_need_several_pictures_of_a_person(tmp_path, diffobj: Diffobj):
    outcome = diffobj(
        "train", *SMALL, "task.loss={name: supcon}", f"hydra.run.dir={tmp_path / 'a'}"
    )
    assert outcome.status == 2
    assert "task.pictures_per_person = 1: the loss 'supcon' compares" in outcome.err
    run(tmp_path / "b", *SMALL, "task.loss={name: supcon}", "task.pictures_per_person=2")


def test_some_of_each_gives_so_many_different_pictures_of_so_many_people():
    task = Recognition(data=Data(people=7, pictures=5, side=16, tested_people=2))
    draw = torch.Generator().manual_seed(0)
    chosen = some_of_each(task.learned, 4, 3, draw)
    people = task.learned.people[chosen].reshape(4, 3)
    assert (people == people[:, :1]).all()
    assert len(people[:, 0].unique()) == 4
    assert len(chosen.unique()) == 12
    more = some_of_each(task.learned, 2, 8, draw).reshape(2, 8)
    assert all(len(row.unique()) == 5 for row in more)


@pytest.mark.parametrize("route", ["joint", "aligned_features", "two_stage", "centre"])
def test_scenes_are_learned_from_by_every_route(route, tmp_path):
    folder = run(tmp_path / "run", *SCENES, f"task.route={route}")
    metrics = result(folder)["metrics"]
    assert {"AP50", "AP", "recall", "precision", "eer"} <= set(metrics)
    logged = [r for r in records(folder) if "train/objective" in r]
    assert all(0.3 < r["train/identity_over_chance"] < 3 for r in logged)
    assert (folder / "media" / "scenes.png").exists()


def test_the_commands_from_calibration_to_forgetting(
    recognition, people, tmp_path, diffobj: Diffobj
):
    a, b = people / "s1" / "1.pgm", people / "s2" / "1.pgm"
    blind = diffobj("verify", f"run={recognition}", str(a), str(b))
    assert blind.status == 0
    assert DRAWINGS in blind.err
    assert json.loads(blind.out)["same_person"] is None

    gallery = tmp_path / "people.json"
    needs = diffobj("cluster", f"run={recognition}", f"input={people / 's1'}")
    assert needs.status == 2
    assert "no threshold without data" in needs.err

    refused = diffobj("calibrate", f"run={recognition}", f"input={people}", "far=0.0001")
    assert refused.status == 2
    assert "far = 0.0001 needs at least 10,000 impostor pairs, there are 700" in refused.err

    done = diffobj("calibrate", f"run={recognition}", f"input={people}", "far=0.1")
    assert done.status == 0, done.err
    kept = json.loads((recognition / "calibration.json").read_text())
    assert kept["far"] == 0.1
    assert kept["people"] == 8
    assert kept["impostor_pairs"] == 700

    same = diffobj("verify", f"run={recognition}", str(a), str(a))
    told = json.loads(same.out)
    assert same.status == 0
    assert told["same_person"] is True
    assert abs(told["cosine"] - 1) < 1e-3
    assert told["far"] == 0.1

    enrol = ("enrol", f"run={recognition}", f"gallery={gallery}")
    unasked = diffobj(*enrol, "Ann", str(a))
    assert unasked.status == 2
    assert "consent" in unasked.err
    assert diffobj(*enrol, "consent=form of May", "Ann", str(a)).status == 0
    assert diffobj(*enrol, "consent=form of June", "Bo", str(b)).status == 0
    found = diffobj("identify", f"run={recognition}", f"gallery={gallery}", str(a))
    assert json.loads(found.out)["person"] == "Ann"

    assert diffobj("forget", f"gallery={gallery}", "Ann").status == 0
    assert "Ann" not in gallery.read_text()
    grouped = diffobj("cluster", f"run={recognition}", f"input={people / 's1'}")
    faces = [face for line in grouped.out.splitlines() for face in json.loads(line)["faces"]]
    assert sorted(faces) == [f"{k}.pgm" for k in range(1, 6)]


def test_calibration_by_a_list_of_pairs(recognition, tmp_path, diffobj: Diffobj):
    root = tmp_path / "lfw"
    random = numpy.random.default_rng(0)
    for name in ("Ann_Lee", "Bo"):
        (root / name).mkdir(parents=True)
        for number in (1, 2):
            pixels = random.integers(0, 255, (30, 30, 3)).astype(numpy.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{number:04d}.png")
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("1 2\nAnn_Lee 1 2\nBo 1 2\nAnn_Lee 1 Bo 1\nAnn_Lee 2 Bo 2\n")
    outcome = diffobj(
        "calibrate", f"run={recognition}", f"input={root}", f"pairs={pairs}", "far=0.5"
    )
    assert outcome.status == 0, outcome.err
    kept = json.loads((recognition / "calibration.json").read_text())
    assert (kept["genuine_pairs"], kept["impostor_pairs"], kept["pictures"]) == (2, 2, 4)


def test_commands_refuse_a_run_that_knows_no_faces(tmp_path, diffobj: Diffobj):
    folder = run(tmp_path / "run", "experiment=javelin", "trainer.steps=2", "monitor.progress=none")
    outcome = diffobj("verify", f"run={folder}", "a.jpg", "b.jpg")
    assert outcome.status == 2
    assert "task javelin knows no faces" in outcome.err


def test_predictions_are_a_row_of_numbers_for_each_picture(recognition, people, diffobj: Diffobj):
    outcome = diffobj("predict", f"run={recognition}", f"input={people / 's3'}")
    assert outcome.status == 0, outcome.err
    rows = (recognition / "predictions" / "embeddings.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == [f"{k}.pgm" for k in range(1, 6)]
    numbers = numpy.array([[float(n) for n in row.split(",")[1:]] for row in rows])
    assert numpy.allclose((numbers**2).sum(1), 1, atol=1e-4)


def test_predictions_for_photographs_are_json_and_a_picture_in_the_photographs_own_pixels(
    tmp_path, diffobj: Diffobj
):
    folder = run(tmp_path / "run", *SCENES)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    scenes = drawn_scenes(0, 0, 1, 192, 0, 8, 6)
    Image.fromarray(scenes.images[0].permute(1, 2, 0).numpy()).resize((400, 400)).save(
        photographs / "a.jpg"
    )
    Image.new("L", (50, 300)).save(photographs / "narrow.png")
    (photographs / "torn.png").write_bytes(b"torn")
    outcome = diffobj("predict", f"run={folder}", f"input={photographs}")
    assert outcome.status == 0, outcome.err
    assert DRAWINGS in outcome.err
    assert outcome.err.count("torn.png") == 2  # in one line: the file, and what Pillow says of it
    for name, size in (("a", (400, 400)), ("narrow", (50, 300))):
        told = json.loads((folder / "predictions" / f"{name}.json").read_text())
        assert told["drawn"] is True
        for face in told["faces"]:
            assert 0 <= face["boxes"][0] <= face["boxes"][2] <= size[0] + 1e-3
            assert 0 <= face["boxes"][1] <= face["boxes"][3] <= size[1] + 1e-3
            assert abs(sum(n * n for n in face["embeddings"]) - 1) < 1e-4
        assert (folder / "predictions" / f"{name}.png").exists()
    alone = diffobj("predict", f"run={folder}", f"input={photographs / 'torn.png'}")
    assert alone.status == 2
    nothing = diffobj("predict", f"run={folder}")
    assert nothing.status == 2
    assert "which picture?" in nothing.err


@pytest.mark.parametrize("form", ["wider", "retinaface"])
def test_faces_in_ones_own_photographs_are_learned_from_a_list(form, tmp_path):
    scenes = drawn_scenes(0, 0, 6, 96, 0, 8, 3)
    lines = []
    for k in range(6):
        file = f"{k}.png"
        Image.fromarray(scenes.images[k].permute(1, 2, 0).numpy()).save(tmp_path / file)
        mine = scenes.owner == k
        rows = [
            " ".join(f"{n:.1f}" for n in (*box[:2], *(box[2:] - box[:2])))
            for box in scenes.boxes[mine]
        ]
        if form == "wider":
            lines += [file, str(len(rows)), *(rows or ["0 0 0 0"])]
        else:
            marks = [" ".join(f"{x:.1f} {y:.1f} 0.0" for x, y in m) for m in scenes.landmarks[mine]]
            lines += [f"# {file}", *(f"{a} {b}" for a, b in zip(rows, marks, strict=True))]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    told = [
        "experiment=face_detection",
        f"task.list={tmp_path / 'list.txt'}",
        f"task.images={tmp_path}",
    ]
    small = ["task.side=192", "task.held_out=0.3", "task.batch_size=2", "trainer.steps=2"]
    folder = run(tmp_path / "run", *told, *small, "monitor.progress=none", "trainer.log_every=1")
    assert result(folder)["metrics"]["AP50"] >= 0
    logged = [r for r in records(folder) if "train/objective" in r]
    assert all("train/identity" not in r for r in logged)
    assert any(r["train/landmarks"] > 0 for r in logged) == (form == "retinaface")


def test_photographs_are_shrunk_with_their_boxes(tmp_path):
    pixels = numpy.full((200, 200, 3), 30, numpy.uint8)
    pixels[40:120, 50:90] = 220
    Image.fromarray(pixels).save(tmp_path / "a.png")
    box = torch.tensor([[50.0, 40, 90, 120], [0, 0, 5, 5]])
    unknown = torch.full((2, 5, 2), torch.nan)
    listed = [
        Listed("a.png", box, unknown, torch.tensor([False, True])),
        Listed("b.png", box[:0], unknown[:0], torch.zeros(0, dtype=torch.bool)),
    ]
    scenes = scenes_of(listed, tmp_path, 96)
    assert torch.allclose(scenes.boxes, torch.tensor([[24.0, 19.2, 43.2, 57.6]]))
    bright = scenes.images[0, 0].float() - 30
    place = torch.arange(96) + 0.5  # the square's middle, from how bright each row and column is
    across, down = ((bright.sum(axis) * place).sum() / bright.sum() for axis in (0, 1))
    left, top, right, bottom = scenes.boxes[0].tolist()
    assert abs(across - (left + right) / 2) < 0.1
    assert abs(down - (top + bottom) / 2) < 0.1
    assert scenes.people.tolist() == [-1]
    assert (scenes.images[1] == 127).all()

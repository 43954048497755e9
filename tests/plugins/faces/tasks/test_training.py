"""Training, resuming and using: small runs of both tasks from the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from framework import UserError
from framework.commands import train
from framework.commands.run_arguments import load_run
from plugins.faces.data import photographs
from plugins.faces.data.lists import AnnotatedPhotograph
from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE
from plugins.faces.evaluation.scene_evaluator import SceneEvaluator
from plugins.faces.evaluation.scene_metrics import EvaluatedScenes, detection_metrics, enough
from plugins.faces.models.face_finder import Located
from plugins.faces.synthetic.scenes import Scenes, synthetic_scenes
from plugins.faces.tasks.annotated_scenes import scenes_of
from plugins.faces.tasks.face_detection import FaceDetection
from plugins.faces.tasks.faces import Faces, SceneData
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition, sample_per_person
from tests.plugins.faces.stand_in import write_stand_in
from tests.runs import Diffobj, newest, records, result

SMALL = (
    "experiment=faces_recognition",
    "task.data.people=12",
    "task.data.pictures=4",
    "task.data.test_people=6",
    "task.data.test_pictures=4",
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
    "task.data.test_scenes=4",
    "task.data.test_people=3",
    "task.batch_size=4",
    "trainer.steps=3",
    "trainer.log_every=1",
    "monitor.progress=none",
)


FINDING = (
    "experiment=face_detection",
    "task.side=192",
    "task.test_fraction=0.3",
    "task.batch_size=2",
    "trainer.steps=2",
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


@pytest.mark.slow
def test_a_run_is_exported_by_the_command_beside_its_checkpoints(recognition, diffobj: Diffobj):
    said = diffobj("export", f"run={recognition}", "format=torch_export")
    assert said.status == 0, said.err
    assert json.loads(said.out) == {"file": str(recognition / "model.pt2")}
    assert (recognition / "model.pt2.json").is_file()


def test_what_an_export_of_faces_does_not_take_is_refused_in_one_line(
    recognition, diffobj: Diffobj
):
    for option, message in (
        ("height=64", "height = '64': task 'faces_recognition' is exported with output= alone"),
        ("format=tflite", "format = 'tflite'"),
        ("output=model.bin", "expected a name that ends in .onnx or .pt2"),
    ):
        refused = diffobj("export", f"run={recognition}", option)
        assert (refused.status, refused.err.count("\n")) == (2, 1)
        assert message in refused.err


def test_a_run_reports_untrained_baselines_beside_the_network(recognition):
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
    assert SYNTHETIC_NOTICE.upper() in text
    assert "PRIVACY.md" not in names
    for phrase in (
        "12 people, 48 pictures",
        "RGB, 24 x 24",
        "random network",
        "95 % interval",
        "Not for",
    ):
        assert phrase in text
    assert (recognition / "projector_config.pbtxt").exists()


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(recognition, tmp_path):
    folder = run(tmp_path / "run", *SMALL, "trainer.stop_at=3")
    assert train.run([f"resume={folder}", "trainer.stop_at=null"]) == 0
    whole, resumed = newest(recognition), newest(folder)
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name


def test_people_who_are_tested_are_never_learned_from_and_follow_the_seed():
    task = Recognition(data=Data(people=5, pictures=2, test_people=4, test_pictures=2, side=16))
    first, second = task.people.evaluated(1, "test"), task.people.evaluated(2, "test")
    everyone = [set(c.names) for c in (task.people.training, first, second)]
    assert everyone[0].isdisjoint(everyone[1] | everyone[2])
    assert everyone[1].isdisjoint(everyone[2])
    assert torch.equal(task.people.evaluated(1, "test").images, first.images)


def test_a_folder_of_people_is_learned_from_with_nothing_but_its_name(people, tmp_path):
    folder = run(tmp_path / "run", *SMALL, f"task.data.root={people}")
    metrics = result(folder)["metrics"]
    assert "seen_eer" not in metrics
    # Three of eight people held out.
    assert metrics["genuine_pairs"] == 3 * 10
    text = (folder / "media" / "model_card.md").read_text()
    assert SYNTHETIC_NOTICE.upper() not in text
    assert "5 people, 25 pictures" in text
    assert "this folder holds photographs of people" in text
    assert "folder holds photographs" in (folder / "media" / "PRIVACY.md").read_text()
    for name in ("network_alone", "whitened_pixels", "whitened_gradients"):
        assert 0 <= metrics[f"{name}_eer"] <= 1


@pytest.fixture(scope="module")
def own_photographs(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photographs, which are taken away afterwards."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(people, folder / "people")
    run(folder / "run", *SMALL, f"task.data.root={folder / 'people'}")
    shutil.rmtree(folder / "people")
    return folder / "run"


def test_a_run_is_used_without_its_photographs(own_photographs, people, diffobj: Diffobj):
    a, b = str(people / "s1" / "1.pgm"), str(people / "s2" / "1.pgm")
    answers = [
        diffobj("verify", f"run={own_photographs}", a, b, *more)
        for more in ((), (f"task.data.root={people}",), ("task.data.root=null",))
    ]
    assert [a.status for a in answers] == [0, 0, 0], answers
    assert answers[0].out == answers[1].out == answers[2].out
    assert SYNTHETIC_NOTICE not in answers[2].err


def test_a_folder_is_read_no_sooner_than_its_pictures_are_needed(people):
    task = Recognition(data=Data(root=str(people), side=16))
    assert "everyone" not in vars(task.people)
    assert task.model.embedder.grey
    assert (task.training_data.people, len(task.people.training.names)) == (5, 5)
    assert "everyone" in vars(task.people)


def test_a_run_is_judged_on_any_folder_by_the_people_of_whom_it_saw_none(
    own_photographs, people, tmp_path, diffobj: Diffobj
):
    def metrics(root: Path) -> dict[str, float]:
        outcome = diffobj("evaluate", f"run={own_photographs}", f"task.data.root={root}")
        assert outcome.status == 0, outcome.err
        found: dict[str, float] = json.loads(outcome.out)["metrics"]
        return found

    before = result(own_photographs)["metrics"]
    # Three people make no folds.
    before.pop("accuracy")
    assert metrics(people).items() >= before.items()
    more = tmp_path / "more"
    shutil.copytree(people, more)
    new = write_stand_in(tmp_path / "other", people=10, pictures=5)
    # Who takes everybody's place in the order.
    shutil.copytree(new / "s10", more / "a")
    assert metrics(more)["genuine_pairs"] == 4 * 10
    for k in range(1, 9):
        # The same people again.
        shutil.rmtree(new / f"s{k}")
    assert metrics(new)["genuine_pairs"] == 2 * 10
    shutil.rmtree(more)
    for name in Recognition(data=Data(root=str(people), side=24)).people.training.names:
        shutil.copytree(people / name, more / name)
    refused = diffobj("evaluate", f"run={own_photographs}", f"task.data.root={more}")
    assert refused.status == 2
    assert "0 people who were not trained on" in refused.err


def test_people_who_were_learned_from_are_left_out_of_a_calibration(
    own_photographs, people, tmp_path, diffobj: Diffobj
):
    arguments = ("calibrate", f"run={own_photographs}", "far=0.2")
    # Copies of the same people's pictures, and four more people.
    more = write_stand_in(tmp_path / "more", people=12, pictures=5)
    for file in sorted(more.rglob("*.pgm")):
        Image.open(file).save(file.with_suffix(".jpg"), quality=80)
        file.unlink()
    done = diffobj(*arguments, f"input={more}")
    assert done.status == 0, done.err
    assert "left out: 5 people who were trained on" in done.err
    kept = json.loads((own_photographs / "calibration.json").read_text())
    assert (kept["people"], kept["person_pairs"]) == (7, 21)
    assert (kept["genuine_pairs"], kept["impostor_pairs"]) == (70, 525)
    training = Recognition(data=Data(root=str(people), side=24)).people.training.names
    for name in training:
        shutil.copytree(people / name, tmp_path / "training" / name)
    refused = diffobj(*arguments, f"input={tmp_path / 'training'}")
    assert refused.status == 2
    assert "5 of 5 people were trained on" in refused.err


@pytest.mark.parametrize("count", [2, 3])
def test_a_folder_of_too_few_people_is_refused_before_training(
    count, people, tmp_path, diffobj: Diffobj
):
    for k in range(1, count + 1):
        shutil.copytree(people / f"s{k}", tmp_path / "few" / f"s{k}")
    arguments = (f"task.data.root={tmp_path / 'few'}", f"hydra.run.dir={tmp_path / 'run'}")
    outcome = diffobj("train", *SMALL, *arguments)
    assert outcome.status == 2
    assert f"{count} people; expected four or more" in outcome.err


def test_validation_and_test_ask_for_different_people(people, monkeypatch):
    monkeypatch.setattr(photographs, "ENOUGH", 5)
    monkeypatch.setattr(photographs, "VALIDATION", 0.4)
    task = Recognition(data=Data(root=str(people), side=16))
    tested = set(task.people.evaluated(0, "test").names)
    validated = set(task.people.evaluated(0, "validation").names)
    assert (len(tested), len(validated), len(task.people.training.names)) == (3, 2, 3)
    assert not tested & validated
    assert not (tested | validated) & set(task.people.training.names)


def test_more_pictures_of_a_person_than_a_batch_holds_are_refused():
    with pytest.raises(
        UserError, match=r"task\.pictures_per_person = 32: .* task\.batch_size = 16"
    ):
        Recognition(batch_size=16, pictures_per_person=32)


def test_pairs_need_several_pictures_of_a_person(tmp_path, diffobj: Diffobj):
    outcome = diffobj(
        "train", *SMALL, "task.loss={name: supcon}", f"hydra.run.dir={tmp_path / 'a'}"
    )
    assert outcome.status == 2
    assert "task.pictures_per_person = 1: the loss 'supcon' compares" in outcome.err
    run(tmp_path / "b", *SMALL, "task.loss={name: supcon}", "task.pictures_per_person=2")


def test_some_of_each_gives_so_many_different_pictures_of_so_many_people():
    task = Recognition(data=Data(people=7, pictures=5, side=16, test_people=2))
    training = task.people.training
    random = torch.Generator().manual_seed(0)
    chosen = sample_per_person(training, 4, 3, random)
    people = training.people[chosen].reshape(4, 3)
    assert (people == people[:, :1]).all()
    assert len(people[:, 0].unique()) == 4
    assert len(chosen.unique()) == 12
    more = sample_per_person(training, 2, 8, random).reshape(2, 8)
    assert all(len(row.unique()) == 5 for row in more)


@pytest.mark.parametrize(
    "feature_source",
    [
        "joint",
        "centre",
        pytest.param("aligned_features", marks=pytest.mark.slow),
        pytest.param("two_stage", marks=pytest.mark.slow),
    ],
)
def test_scenes_are_learned_from_from_every_feature_source(feature_source, tmp_path):
    folder = run(tmp_path / "run", *SCENES, f"task.feature_source={feature_source}")
    metrics = result(folder)["metrics"]
    assert {"AP50", "AP", "recall", "precision", "eer"} <= set(metrics)
    logged = [r for r in records(folder) if "train/objective" in r]
    assert all(0.3 < r["train/identity_over_chance"] < 3 for r in logged)
    assert (folder / "media" / "scenes.png").exists()


def test_an_eer_of_hardly_any_faces_is_chance(monkeypatch):
    data = SceneData(side=96, scenes=2, people=2, test_scenes=40, test_people=4)
    task = Faces(data=data, embedding_size=8)
    task.model.eval()
    scenes = task.evaluated(0, "test")

    def finding(faces: torch.Tensor) -> dict[str, float]:
        """Metrics of a network that detects these faces only, and distinguishes everyone."""
        where = Located(scenes.boxes[faces], scenes.landmarks[faces], scenes.image_index[faces])
        embeddings = torch.eye(8)[scenes.people[faces]]
        nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}
        evaluated = EvaluatedScenes(scenes, [nothing] * len(scenes), faces, embeddings, where)
        monkeypatch.setattr(SceneEvaluator, "evaluated", lambda self, scenes: evaluated)
        return task.evaluate(0)

    everything = torch.arange(len(scenes.people))
    assert len(everything) > 60
    assert finding(everything)["eer"] == 0
    half = -(-len(everything) // 2)
    assert finding(everything[:half])["eer"] == 0
    assert finding(everything[: half - 1])["eer"] == 0.5
    assert finding(everything[:3])["eer"] == 0.5
    # Six people, 15 pairs each.
    few = torch.arange(6).repeat_interleave(6)
    assert not enough(few, len(few))
    assert enough(torch.cat([few, few]), 72)


def test_the_commands_from_calibration_to_forgetting(
    recognition, people, tmp_path, diffobj: Diffobj
):
    a, b = people / "s1" / "1.pgm", people / "s2" / "1.pgm"
    blind = diffobj("verify", f"run={recognition}", str(a), str(b))
    assert blind.status == 0
    assert SYNTHETIC_NOTICE in blind.err
    assert json.loads(blind.out)["same_person"] is None

    gallery = tmp_path / "people.json"
    needs = diffobj("cluster", f"run={recognition}", f"input={people / 's1'}")
    assert needs.status == 2
    assert "no threshold without data" in needs.err

    refused = diffobj("calibrate", f"run={recognition}", f"input={people}", "far=0.0001")
    assert refused.status == 2
    assert "far = 0.0001 needs 10,000 pairs of people, so 142 people; there are 8" in refused.err

    done = diffobj("calibrate", f"run={recognition}", f"input={people}", "far=0.3")
    assert done.status == 0, done.err
    kept = json.loads((recognition / "calibration.json").read_text())
    assert kept["far"] == 0.3
    assert kept["people"] == 8
    assert kept["impostor_pairs"] == 700

    same = diffobj("verify", f"run={recognition}", str(a), str(a))
    answer = json.loads(same.out)
    assert same.status == 0
    assert answer["same_person"] is True
    assert abs(answer["cosine"] - 1) < 1e-3
    assert answer["far"] == 0.3

    enrol = ("enrol", f"run={recognition}", f"gallery={gallery}")
    unasked = diffobj(*enrol, "Ann", str(a))
    assert unasked.status == 2
    assert "consent" in unasked.err
    assert diffobj(*enrol, "consent=form of May", "Ann", str(a)).status == 0
    odd = tmp_path / "k=1.pgm"
    shutil.copy(b, odd)
    assert diffobj(*enrol, "consent=form of June", "Bo", str(odd)).status == 0
    nameless = diffobj(*enrol, "consent=form of June", str(a), str(b))
    assert nameless.status == 2
    assert f"NAME = '{a}' is a picture" in nameless.err
    nowhere = diffobj(enrol[0], enrol[1], "gallery=no/such/g.json", "consent=form", "Cy", str(a))
    assert nowhere.status == 2
    assert "gallery = 'no/such/g.json'" in nowhere.err
    identify = ("identify", f"run={recognition}", f"gallery={gallery}", str(a))
    small = diffobj(*identify, "fpir=0.05")
    assert small.status == 2
    assert (
        "fpir = 0.05 in a gallery of 2 needs a calibration on 10 people, it was on 8" in small.err
    )
    found = diffobj(*identify)
    assert json.loads(found.out)["person"] == "Ann", found.err
    listed = diffobj("list", f"gallery={gallery}")
    people_listed = [json.loads(line) for line in listed.out.splitlines()]
    assert [person["person"] for person in people_listed] == ["Ann", "Bo"]
    assert people_listed[0]["consents"][0]["consent"] == "form of May"
    assert "0 people had expired embeddings" in diffobj("purge", f"gallery={gallery}").out

    assert diffobj("forget", f"gallery={gallery}", "Ann").status == 0
    assert "Ann" not in gallery.read_text()
    grouped = diffobj("cluster", f"run={recognition}", f"input={people / 's1'}")
    faces = [face for line in grouped.out.splitlines() for face in json.loads(line)["faces"]]
    assert sorted(faces) == [f"{k}.pgm" for k in range(1, 6)]


def test_calibration_by_a_list_of_pairs(recognition, tmp_path, diffobj: Diffobj):
    root = tmp_path / "lfw"
    random = numpy.random.default_rng(0)
    names = ("Ann_Lee", "Bo", "Cy", "Di", "Eve", "Flo")
    for name in names:
        (root / name).mkdir(parents=True)
        for number in (1, 2):
            pixels = random.integers(0, 255, (30, 30, 3)).astype(numpy.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{number:04d}.png")
    pairs = tmp_path / "pairs.txt"
    same = [f"{name} 1 2" for name in names]
    others = [f"{name} 1 {names[k - 1]} 2" for k, name in enumerate(names)]
    pairs.write_text("\n".join(["1 6", *same, *others]) + "\n")
    outcome = diffobj(
        "calibrate", f"run={recognition}", f"input={root}", f"pairs={pairs}", "far=0.5"
    )
    assert outcome.status == 0, outcome.err
    kept = json.loads((recognition / "calibration.json").read_text())
    assert (kept["genuine_pairs"], kept["impostor_pairs"], kept["pictures"]) == (6, 6, 12)
    assert (kept["people"], kept["person_pairs"]) == (6, 6)


def test_commands_refuse_a_run_that_is_no_face_task(tmp_path, diffobj: Diffobj):
    folder = run(tmp_path / "run", "experiment=javelin", "trainer.steps=2", "monitor.progress=none")
    outcome = diffobj("verify", f"run={folder}", "a.jpg", "b.jpg")
    assert outcome.status == 2
    assert "task javelin is not a face task" in outcome.err


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
    scenes = synthetic_scenes(0, 0, 1, 192, 0, 8, 6)
    Image.fromarray(scenes.images[0].permute(1, 2, 0).numpy()).resize((400, 400)).save(
        photographs / "a.jpg"
    )
    Image.new("L", (50, 300)).save(photographs / "narrow.png")
    (photographs / "torn.png").write_bytes(b"torn")
    # Another one than a.jpg.
    Image.new("RGB", (80, 80)).save(photographs / "a.png")
    (photographs / "more").mkdir()
    Image.new("RGB", (60, 50)).save(photographs / "more" / "a.png")
    outcome = diffobj("predict", f"run={folder}", f"input={photographs}")
    assert outcome.status == 0, outcome.err
    assert SYNTHETIC_NOTICE in outcome.err
    assert "torn.png: no readable picture (no image of a known kind)" in outcome.err
    for name, size in (("a.jpg", (400, 400)), ("narrow.png", (50, 300)), ("more/a.png", (60, 50))):
        answer = json.loads((folder / "predictions" / f"{name}.json").read_text())
        assert answer["trained_on_synthetic_faces"] is True
        assert answer["file"] == name
        for face in answer["faces"]:
            assert 0 <= face["boxes"][0] <= face["boxes"][2] <= size[0] + 1e-3
            assert 0 <= face["boxes"][1] <= face["boxes"][3] <= size[1] + 1e-3
            assert abs(sum(n * n for n in face["embeddings"]) - 1) < 1e-4
            assert 0 <= face["qualities"] <= 1
        assert (folder / "predictions" / f"{name}.png").exists()
    alone = diffobj("predict", f"run={folder}", f"input={photographs / 'torn.png'}")
    assert alone.status == 2
    nothing = diffobj("predict", f"run={folder}")
    assert nothing.status == 2
    assert "which picture?" in nothing.err


@pytest.mark.parametrize("form", ["wider", "retinaface"])
def test_faces_in_ones_own_photographs_are_learned_from_a_list(form, tmp_path):
    scenes = synthetic_scenes(0, 0, 6, 96, 0, 8, 3)
    lines = []
    for k in range(6):
        file = f"{k}.png"
        Image.fromarray(scenes.images[k].permute(1, 2, 0).numpy()).save(tmp_path / file)
        mine = scenes.image_index == k
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
    arguments = [f"task.annotations={tmp_path / 'list.txt'}", f"task.images={tmp_path}"]
    folder = run(tmp_path / "run", *FINDING, *arguments)
    assert result(folder)["metrics"]["AP50"] >= 0
    logged = [r for r in records(folder) if "train/objective" in r]
    assert all("train/identity" not in r for r in logged)
    assert any(r["train/landmarks"] > 0 for r in logged) == (form == "retinaface")


def listed_photographs(folder: Path, count: int) -> list[str]:
    """Photographs with a face each and their list, as options of a run."""
    folder.mkdir(exist_ok=True)
    random, lines = numpy.random.default_rng(count), []
    for k in range(count):
        pixels = random.integers(0, 255, (100, 100, 3)).astype(numpy.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
        lines += [f"{k}.png", "1", "10 10 60 60"]
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    return [f"task.annotations={folder / 'list.txt'}", f"task.images={folder}"]


def test_a_run_of_finding_is_used_without_its_list_and_judged_on_another(
    tmp_path, diffobj: Diffobj
):
    own = listed_photographs(tmp_path / "own", 6)
    folder = run(tmp_path / "run", *FINDING, *own)
    again = diffobj("evaluate", f"run={folder}")
    assert json.loads(again.out)["metrics"] == result(folder)["metrics"]
    shutil.move(tmp_path / "own", tmp_path / "moved")
    picture = tmp_path / "moved" / "0.png"
    answer = diffobj("predict", f"run={folder}", f"input={picture}")
    assert answer.status == 0, answer.err
    refused = diffobj("verify", f"run={folder}", str(picture), str(picture))
    assert refused.status == 2
    assert "task face_detection detects faces and does not distinguish people" in refused.err
    other = listed_photographs(tmp_path / "other", 7)
    with (tmp_path / "other" / "list.txt").open("a") as listing:
        for k in range(6):
            copy = Image.open(tmp_path / "moved" / f"{k}.png")
            copy.save(tmp_path / "other" / f"copy{k}.jpg", quality=80)
            listing.write(f"copy{k}.jpg\n1\n10 10 60 60\n")
    task = load_run("evaluate", [f"run={folder}", *other]).run.task
    assert isinstance(task, FaceDetection)
    # Four of the copies are of photographs that were trained on.
    assert len(task.evaluated(0, "test")) == 7 + 2
    seen = [task.has_seen(Image.open(tmp_path / "other" / f"copy{k}.jpg")) for k in range(6)]
    assert sum(seen) == 4
    assert not task.has_seen(Image.open(tmp_path / "other" / "0.png"))


def test_one_photograph_to_learn_from_and_to_judge_by_is_refused(tmp_path, diffobj: Diffobj):
    own = listed_photographs(tmp_path / "own", 6)
    for k in range(1, 6):
        # Copies with other bytes and another contrast.
        picture = Image.open(tmp_path / "own" / "0.png").point(
            lambda grey, k=k: grey * (1 - k / 20)
        )
        picture.resize((90, 90)).save(tmp_path / "own" / f"{k}.png")
    outcome = diffobj("train", *FINDING, *own, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.status == 2
    assert "2 photographs to test on are copies of others to train on, the first '" in outcome.err


def test_many_photographs_choose_the_checkpoint_by_others_than_those_it_is_judged_by(tmp_path):
    listed_photographs(tmp_path, 60)
    task = FaceDetection(annotations=str(tmp_path / "list.txt"), images=str(tmp_path), side=96)
    assert (len(task.training), len(task.evaluated(0, "test"))) == (49, 6)
    assert len(task.evaluated(0, "validation")) == 5


def test_who_finds_an_ignored_face_is_neither_right_nor_wrong():
    boxes = torch.tensor([[10.0, 10, 60, 60], [150, 150, 210, 210]])
    scenes = Scenes(
        torch.zeros(1, 3, 320, 320, dtype=torch.uint8),
        boxes,
        torch.zeros(2, 5, 2),
        torch.tensor([-1, -1]),
        torch.tensor([0, 0]),
        torch.tensor([False, True]),
    )

    def numbers(found: list[list[float]]) -> dict[str, float]:
        boxes = torch.tensor(found)
        one = {"boxes": boxes, "scores": torch.linspace(0.9, 0.8, len(boxes))}
        one |= {
            "embeddings": torch.zeros(len(boxes), 4),
            "landmarks": torch.zeros(len(boxes), 5, 2),
        }
        network: Any = lambda images, score_threshold: [one]  # noqa: E731
        evaluator = SceneEvaluator(network, torch.device("cpu"))
        return detection_metrics(evaluator.evaluated(scenes))

    right, ignored, wrong = boxes[0].tolist(), [152.0, 152, 208, 208], [220.0, 10, 260, 60]
    assert numbers([ignored, right]) == {"AP50": 1, "AP": 1, "recall": 1, "precision": 1}
    half = numbers([wrong, right])
    assert (half["recall"], half["precision"]) == (1, 0.5)
    assert half["AP50"] < 0.6


def test_photographs_are_shrunk_with_their_boxes(tmp_path):
    pixels = numpy.full((200, 200, 3), 30, numpy.uint8)
    pixels[40:120, 50:90] = 220
    Image.fromarray(pixels).save(tmp_path / "a.png")
    box = torch.tensor([[50.0, 40, 90, 120], [100, 100, 150, 150], [0, 0, 5, 5]])
    unknown = torch.full((3, 5, 2), torch.nan)
    listed = [
        AnnotatedPhotograph("a.png", box, unknown, torch.tensor([False, True, False])),
        AnnotatedPhotograph("b.png", box[:0], unknown[:0], torch.zeros(0, dtype=torch.bool)),
    ]
    scenes = scenes_of(listed, tmp_path, 96)
    # The last one is 2.4 pixels high here.
    assert scenes.ignored.tolist() == [False, True, True]
    assert torch.allclose(scenes.boxes[0], torch.tensor([24.0, 19.2, 43.2, 57.6]))
    bright = scenes.images[0, 0].float() - 30
    # The square's middle, from how bright each row and column is.
    place = torch.arange(96) + 0.5
    across, down = ((bright.sum(axis) * place).sum() / bright.sum() for axis in (0, 1))
    left, top, right, bottom = scenes.boxes[0].tolist()
    assert abs(across - (left + right) / 2) < 0.1
    assert abs(down - (top + bottom) / 2) < 0.1
    assert scenes.people.tolist() == [-1, -1, -1]
    assert (scenes.images[1] == 127).all()

"""Training of recognition: from synthetic people and from a folder, resumed, and how its batches are made."""

import shutil

import pytest
import torch

from framework import UserError
from framework.commands import train
from plugins.faces.data import photographs
from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition, sample_per_person
from tests.plugins.faces.tasks.small_runs import SMALL
from tests.runs import Diffobj, newest, records, result


def test_a_run_reports_untrained_baselines_beside_the_network(recognition):
    metrics = result(recognition)["metrics"]
    for name in ("eer", "raw_pixels_eer", "even_pixels_eer", "random_network_eer", "seen_eer"):
        assert 0 <= metrics[name] <= 1, name
    assert metrics["impostor_pairs"] == (15 * 14 - 5 * 3 * 2) / 2
    assert all(
        "train/identity_over_chance" in r for r in records(recognition) if "train/objective" in r
    )


def test_the_identity_loss_begins_near_chance(recognition):
    first = next(r for r in records(recognition) if "train/objective" in r)
    assert first["step"] == 1
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
        "8 people, 24 pictures",
        "RGB, 24 x 24",
        "random network",
        "95 % interval",
        "Not for",
    ):
        assert phrase in text
    assert (recognition / "projector_config.pbtxt").exists()


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(recognition, own_copy):
    # Of the six steps three are saved, as after an interruption.
    last = max((own_copy / "checkpoints").glob("step_*.pt"))
    last.unlink()
    assert newest(own_copy)["step"] == 3
    assert train.run([f"resume={own_copy}"]) == 0
    whole, resumed = newest(recognition), newest(own_copy)
    assert whole["step"] == resumed["step"] == 6
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name


def test_people_who_are_tested_are_never_learned_from_and_follow_the_seed():
    task = Recognition(data=Data(people=5, pictures=2, test_people=4, test_pictures=2, side=16))
    first, second = task.people.evaluated(1, "test"), task.people.evaluated(2, "test")
    everyone = [set(c.names) for c in (task.people.training, first, second)]
    assert everyone[0].isdisjoint(everyone[1] | everyone[2])
    assert everyone[1].isdisjoint(everyone[2])
    assert torch.equal(task.people.evaluated(1, "test").images, first.images)


def test_a_folder_of_people_is_learned_from_with_nothing_but_its_name(own_photographs):
    folder = own_photographs
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


def test_a_folder_is_read_no_sooner_than_its_pictures_are_needed(people):
    task = Recognition(data=Data(root=str(people), side=16))
    assert "everyone" not in vars(task.people)
    assert task.model.embedder.grey
    assert (task.training_data.people, len(task.people.training.names)) == (5, 5)
    assert "everyone" in vars(task.people)


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
    data = Data(people=4, pictures=3, side=16, test_people=2)
    task = Recognition(data=data, loss={"name": "supcon"}, batch_size=6, pictures_per_person=2)
    batch = next(task.batches(task.as_program(task.objective), 0, 0))
    assert batch.people.unique(return_counts=True)[1].tolist() == [2, 2, 2]
    loss = task.model.identity(task.model.embedder(batch.images), batch.people)
    assert 0 < float(loss.detach()) < float("inf")


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

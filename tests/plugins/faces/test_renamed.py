"""Options under their earlier names are refused in one line with the present name."""

import pytest

import framework
from framework import UserError


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("experiment", "old", "new"),
    [
        ("faces", "task.route=joint", "task.feature_source"),
        ("faces", "task.aim=0.1", "task.box_jitter"),
        ("faces", "task.data.most=4", "task.data.max_faces"),
        ("faces_recognition", "task.ramp=3", "task.margin_warmup"),
        ("faces_recognition", "task.network.size=64", "task.network.embedding_size"),
        ("faces_recognition", "task.augmentation={mirror: 0.5}", "task.augmentation.flip"),
        ("face_detection", "task.list=label.txt", "task.annotations"),
    ],
)
def test_an_earlier_name_is_refused_with_the_present_one(experiment, old, new):
    with pytest.raises(UserError) as refused:
        framework.compose(f"experiment={experiment}", old)
    assert f"it is called '{new}' now" in str(refused.value)
    assert "\n" not in str(refused.value)

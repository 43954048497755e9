"""Options of small runs of the three tasks, and running one."""

from pathlib import Path

from framework.commands import train

SMALL = (
    "experiment=faces_recognition",
    "task.data.people=8",
    "task.data.pictures=3",
    "task.data.test_people=5",
    "task.data.test_pictures=3",
    "task.data.side=24",
    "task.network.widths=[8,16]",
    "task.network.blocks=0",
    "task.batch_size=16",
    "trainer.steps=6",
    "trainer.log_every=1",
    "trainer.checkpoint_every=3",
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
    "task.side=96",
    "task.test_fraction=0.3",
    "task.batch_size=2",
    "trainer.steps=2",
    "trainer.log_every=1",
    "monitor.progress=none",
)


def run(folder: Path, *arguments: str) -> Path:
    assert train.run([*arguments, f"hydra.run.dir={folder}"]) == 0
    return folder

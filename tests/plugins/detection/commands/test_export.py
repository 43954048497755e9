"""diffobj export: it writes what `run.export` writes, and its mistakes are refused in one line."""

import json
import shutil

import pytest
import torch

from plugins.detection import export


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a run, for files to be written into."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def written(monkeypatch):
    """Replaces the writers: a file of a few bytes that computes what the model does; returns the formats written."""
    formats: list[str] = []

    def writer(name):
        def write(module, path, sides, metadata):
            formats.append(name)
            path.write_bytes(b"weights")
            return module

        return write

    monkeypatch.setattr(export, "write_onnx", writer("onnx"))
    monkeypatch.setattr(export, "write_exported", writer("torch_export"))
    return formats


def test_the_format_is_the_one_given_else_the_suffix_else_onnx(diffobj, tmp_path, run, written):
    for options, name, expected in (
        ([], "run/model.onnx", "onnx"),
        (["format=torch_export"], "run/model.pt2", "torch_export"),
        ([f"output={tmp_path}/a.pt2"], "a.pt2", "torch_export"),
        ([f"output={tmp_path}/a"], "a", "onnx"),
        ([f"output={tmp_path}/b", "format=torch_export", "height=50"], "b", "torch_export"),
    ):
        done = diffobj("export", f"run={run}", "images=3", *options)
        assert done.status == 0, done.err
        report = json.loads(done.out.splitlines()[-1])
        assert written.pop() == report["format"] == expected
        assert report["file"] == str(tmp_path / name)
        assert (tmp_path / name).is_file()
        height = 64 if "height=50" in options else "height"
        assert report["input"] == ["batch", 3, height, "width"]
        assert (report["images compared"], report["largest difference in pixels"]) == (3, 0)
        assert "circle" in report["categories"]


def test_a_refused_file_does_not_stay(diffobj, tmp_path, run, monkeypatch):
    """The boxes of this file are a fiftieth of a pixel too low."""

    def tampered(module, path, sides, metadata):
        path.write_bytes(b"weights")
        down = torch.tensor([0.0, 0.02, 0.0, 0.0])
        return lambda images: (lambda boxes, *rest: (boxes + down, *rest))(*module(images))

    monkeypatch.setattr(export, "write_exported", tampered)
    file = tmp_path / "model.pt2"
    done = diffobj("export", f"run={run}", "format=torch_export", f"output={file}")
    assert done.status == 2
    assert "a box is off by 0.02 pixels" in done.err
    assert not file.exists()


def test_an_exports_mistakes_are_refused_in_one_line(diffobj, run):
    for wrong, expected in (("format=onx", "did you mean 'onnx'"), ("height=0", "height = '0'")):
        done = diffobj("export", f"run={run}", wrong)
        assert done.status == 2
        assert expected in done.err
        assert done.err.strip().count("\n") == 0

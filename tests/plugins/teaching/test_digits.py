"""Digits are read from scikit-learn or from a folder, as bits; what cannot be read is refused in one line."""

from __future__ import annotations

import gzip
import sys

import numpy
import pytest
import torch

from framework import UserError
from plugins.teaching.digits import load_digits
from tests.plugins.teaching.conftest import strokes


def idx(images):
    sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
    return b"\x00\x00\x08\x03" + sizes + images.tobytes()


def test_scikit_learns_digits_are_bits_and_a_fifth_is_held_out():
    pytest.importorskip("sklearn")
    digits = load_digits(None)
    assert digits.train.shape == (1438, 64)
    assert digits.held_out.shape == (359, 64)
    assert set(digits.train.unique().tolist()) == {0.0, 1.0}
    assert digits.train.mean().item() == pytest.approx(digits.held_out.mean().item(), abs=0.01)
    assert torch.equal(digits.train, load_digits(None).train)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"make install EXTRAS=teaching"):
        load_digits(None)


def test_npz_and_idx_and_gzipped_idx_hold_the_same_digits(folder, tmp_path):
    train, test = strokes(256, 0), strokes(64, 1)
    from_npz = load_digits(folder)
    other = tmp_path / "idx"
    other.mkdir()
    (other / "train-images-idx3-ubyte").write_bytes(idx(train))
    (other / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(test)))
    from_idx = load_digits(other)
    assert (from_idx.height, from_idx.width) == (4, 4)
    assert torch.equal(from_idx.train, from_npz.train)
    assert torch.equal(from_idx.held_out, torch.from_numpy(test > 127).reshape(64, 16).float())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"\x00\x00\x08\x01" + bytes(12), "an idx file of images"),
        ("train-images-idx3-ubyte", b"", "an idx file of images"),
        ("train-images-idx3-ubyte", idx(strokes(3, 0))[:-1], "an idx file of images"),
        ("train-images-idx3-ubyte.gz", b"not gzipped", "gzip"),
        ("mnist.npz", b"not an archive", "an npz file with 'x_train'"),
        ("labels.txt", b"", "expected train-images"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_digits(tmp_path)


def test_arrays_of_another_kind_and_missing_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_digits(tmp_path / "nowhere")
    numpy.savez(tmp_path / "a.npz", x_train=numpy.zeros((3, 4)), x_test=strokes(2, 0))
    with pytest.raises(UserError, match=r"'x_train' is float64 \[3, 4\]"):
        load_digits(tmp_path)


def test_digits_of_two_sizes_are_refused(tmp_path):
    numpy.savez(tmp_path / "a.npz", x_train=strokes(3, 0), x_test=strokes(2, 0)[:, :3])
    with pytest.raises(UserError, match="training digits are"):
        load_digits(tmp_path)

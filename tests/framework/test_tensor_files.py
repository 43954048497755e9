"""Tensors of a file come by name, whatever wraps them; what holds none is refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.errors import UserError
from framework.tensor_files import read_tensors

ONES = {"a": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        ONES,
        {"state_dict": ONES, "epoch": 3},
        {"model": {"ema": ONES}},
        {"a": torch.ones(2), "version": "2"},
    ],
)
def test_tensors_are_found_in_what_wraps_them(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    found = read_tensors(tmp_path / "a.pth", "key")
    assert list(found) == ["a"]
    assert torch.equal(found["a"], torch.ones(2))


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(ONES, tmp_path / "a.safetensors")
    assert torch.equal(read_tensors(tmp_path / "a.safetensors", "key")["a"], torch.ones(2))
    (tmp_path / "b.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"key: .*b.safetensors is no safetensors"):
        read_tensors(tmp_path / "b.safetensors", "key")


def test_what_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"a": "text"}, tmp_path / "text.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    (tmp_path / "junk.pth").write_bytes(b"nothing")
    with zipfile.ZipFile(tmp_path / "program.pth", "w") as archive:
        archive.writestr("clip/code/model.py", "")
    for name, said in {
        "absent": "key = '.*absent.pth': there is no such file",
        "text": "holds no plain parameters; expected tensors by name",
        "list": "holds no plain parameters; expected tensors by name",
        "junk": "holds no plain parameters",
        "program": "is a TorchScript program; save its weights with torch.save",
    }.items():
        with pytest.raises(UserError, match=said) as mistake:
            read_tensors(tmp_path / f"{name}.pth", "key")
        assert "\n" not in str(mistake.value)

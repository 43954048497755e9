"""The protocols of published face data sets, on your own copy of them: nothing is downloaded.

lfw     ten folds of pairs (Huang et al. 2007)
cfp     ten splits of frontal-frontal and of frontal-profile pairs (Sengupta et al. 2016)
ijb     verification of templates, sets of pictures of one person (Whitelam et al. 2017; Maze et al. 2018)
wider   average precision on WIDER FACE's easy, medium and hard faces (Yang et al. 2016)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from framework import UserError
from framework.errors import suggestion

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis

Protocol = Callable[["FaceAnalysis", Path], dict[str, float]]


def protocols() -> Mapping[str, Protocol]:
    """The protocols by name."""
    from plugins.faces.evaluation.protocols import cfp, ijb, lfw, wider

    return {"lfw": lfw.measured, "cfp": cfp.measured, "ijb": ijb.measured, "wider": wider.measured}


def measured(faces: FaceAnalysis, name: str, folder: Path) -> dict[str, float]:
    """The numbers of a protocol on a data set's folder.

    Raises:
        UserError: no such protocol, a folder of another layout, or pictures that were trained on.
    """
    known = protocols()
    if name not in known:
        raise UserError(f"protocol = {name!r}; {suggestion(str(name), known)}")
    if not folder.is_dir():
        raise UserError(f"input = '{folder}': expected the folder of a data set")
    return known[name](faces, folder)

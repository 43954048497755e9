"""The rasteriser renders what the dense reference renders, with its gradients, and survives degenerate strokes."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from framework.errors import ProgramError
from plugins.sketching.raster import tiles
from plugins.sketching.raster.render import render
from plugins.sketching.raster.request import CUT, PEN_WIDTH
from tests.plugins.sketching.dense import dense

BACKENDS = ["torch", *(["numba"] if find_spec("numba") else [])]
COMPOSITIONS: list[Any] = ["soft_or", "max", "smooth_max", "over"]


def strokes(
    count: int, vertices: int, size: tuple[int, int], dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Strokes all over a canvas and some way beyond its edges."""
    draw = torch.Generator().manual_seed(vertices)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    middle = uniform(count, 1, 2) * torch.tensor([size[1], size[0]])
    points = middle + 8 * torch.randn(count, vertices, 2, generator=draw, dtype=torch.float64)
    inputs = {
        "points": points,
        "width": 0.6 + 2 * uniform(count),
        "opacity": 0.3 + 0.7 * uniform(count),
        "colour": uniform(count, 3),
    }
    return {name: value.to(dtype).requires_grad_() for name, value in inputs.items()}


def gradients(picture: Tensor, inputs: dict[str, Tensor]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(5)
    mixed = torch.randn(picture.shape, generator=draw, dtype=torch.float64)
    return list(
        torch.autograd.grad(
            (picture * mixed.to(picture)).sum(),
            list(inputs.values()),
            allow_unused=True,
            materialize_grads=True,
        )
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("vertices", "filled"), [(1, False), (2, False), (6, False), (6, True)], ids=str
)
@pytest.mark.parametrize("size", [(41, 58), (20, 24)], ids=["tiles", "tiny"])
def test_picture_and_gradients_are_those_of_the_dense_reference(backend, vertices, filled, size):
    exact = strokes(10, vertices, size, torch.float64)
    for composition, profile, coloured in product(
        COMPOSITIONS, ["gaussian", "flat"], [False, True]
    ):
        named = {k: v for k, v in exact.items() if coloured or k != "colour"}
        given = {k: v.detach().float().requires_grad_() for k, v in named.items()}
        rest: dict[str, Any] = {"composition": composition, "profile": profile, "filled": filled}
        reference = dense(named["points"], named["width"], size, **without(named), **rest)
        picture = render(
            given["points"], given["width"], size, **without(given), **rest, backend=backend
        )
        case = f"{composition} {profile} coloured={coloured}"
        assert (picture - reference).abs().max() < 1e-4, case
        for name, ours, theirs in zip(
            named, gradients(picture, given), gradients(reference, named), strict=True
        ):
            error = (ours - theirs).norm() / theirs.norm().clamp(min=1e-9)
            assert error < 1e-3, f"{case} {name}: {error:.1e}"


def without(inputs: dict[str, Tensor]) -> dict[str, Any]:
    return {k: v for k, v in inputs.items() if k in {"opacity", "colour"}}


@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("filled", [False, True])
def test_gradients_agree_with_difference_quotients_in_float64(composition, filled):
    inputs = strokes(4, 4, (34, 40), torch.float64)

    def draw(points: Tensor, width: Tensor, opacity: Tensor, colour: Tensor) -> Tensor:
        return render(
            points,
            width,
            (34, 40),
            opacity=opacity,
            colour=colour,
            composition=composition,
            filled=filled,
            backend="torch",
        )

    assert torch.autograd.gradcheck(draw, tuple(inputs.values()), fast_mode=True, atol=1e-6)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("profile", ["gaussian", "flat"])
@pytest.mark.parametrize("filled", [False, True])
def test_degenerate_strokes_give_finite_pictures_and_gradients(
    backend, composition, profile, filled
):
    through_centres = [[[0.5, 8.5], [39.5, 8.5], [39.5, 20.5]]]
    no_length = [[[10.0, 10.0]] * 3, [[12.5, 12.5]] * 3]
    far_away = [[[-500.0, 3.0], [-400.0, 9.0], [-450.0, 2.0]], [[1e6, 1e6], [2e6, 1e6], [1e6, 2e6]]]
    across = [[[-1e4, 7.0], [1e4, 30.0], [1e4, 7.0]]]
    # The torch backend takes a second for a thousand.
    count = 1000 if backend == "numba" else 200
    coincident = [[[5.0, 30.0], [30.0, 35.0], [30.0, 30.0]]] * count
    points = torch.tensor(through_centres + no_length + far_away + across + coincident)
    for width in (1e-4, 0.7, 40.0):
        inputs = {
            "points": points.clone().requires_grad_(),
            "width": torch.full((len(points),), width, requires_grad=True),
            "opacity": torch.ones(len(points), requires_grad=True),
            "colour": torch.rand(
                len(points), 3, generator=torch.Generator().manual_seed(0)
            ).requires_grad_(),
        }
        picture = render(
            inputs["points"],
            inputs["width"],
            (40, 40),
            opacity=inputs["opacity"],
            colour=inputs["colour"],
            composition=composition,
            profile=profile,
            filled=filled,
            backend=backend,
        )
        assert torch.isfinite(picture).all()
        # A thousand strokes in single precision.
        rounding = 1e-5 + len(points) * 2.0**-24
        assert picture.min() > -rounding
        assert picture.max() < 1 + rounding
        assert all(torch.isfinite(g).all() for g in gradients(picture, inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_is_its_members_rendered_one_by_one(backend):
    for size in ((40, 33), (16, 16)):
        members = [strokes(5, v, size)["points"][:, :3] for v in (3, 4, 5)]
        width = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) + 0.5
        together = render(torch.stack(members), width, size, backend=backend)
        alone = [render(m, w, size, backend=backend) for m, w in zip(members, width, strict=True)]
        torch.testing.assert_close(together, torch.stack(alone), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stroke_through_the_centre_is_symmetric_under_flips_and_transposition(backend):
    points = torch.tensor([[[0.0, 20.0], [40.0, 20.0]]])
    picture = render(points, 1.5, 40, backend=backend)
    torch.testing.assert_close(picture, picture.flip(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(picture, picture.flip(1), atol=1e-6, rtol=0)
    transposed = render(points.flip(-1), 1.5, 40, backend=backend)
    torch.testing.assert_close(picture, transposed.T, atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_over_depends_on_the_order_of_strokes(backend):
    inputs = strokes(8, 3, (40, 40))
    for composition in COMPOSITIONS:
        first, last = (
            render(
                inputs["points"][order],
                inputs["width"][order],
                40,
                opacity=inputs["opacity"][order],
                colour=inputs["colour"][order],
                composition=composition,
                backend=backend,
            )
            for order in (torch.arange(8), torch.arange(8).flip(0))
        )
        same = torch.allclose(first, last, atol=1e-5)
        assert same == (composition != "over"), composition


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("profile", ["gaussian", "flat"])
@pytest.mark.parametrize("width", [0.05, 0.3, 0.4, 0.7, 1.0, 3.0])
def test_a_line_leaves_the_same_ink_wherever_it_lies_between_pixels(backend, profile, width):
    """Upright, level or sloping, within 1 % of the pen's area: what hid between rows of pixels would be drawn there."""
    for slope, k in product((0.0, 0.13, 0.4, 1.0), range(9)):
        y = 60.5 + k / 8
        ends = torch.tensor([[[-40.0, y - 56 * slope], [72.0, y + 56 * slope]]])
        ink = float(render(ends, width, (160, 32), backend=backend, profile=profile).sum())
        exact = 32 * math.hypot(1, slope) * PEN_WIDTH * width
        assert abs(ink / exact - 1) < 0.01, (slope, k)


def test_a_dot_leaves_the_same_ink_wherever_it_lies_between_pixels():
    for width, x, y in product((0.3, 0.6, 1.5), (0.0, 0.3, 0.5), (0.1, 0.5)):
        ink = float(render(torch.tensor([[[20 + x, 20 + y]]]), width, 40).sum())
        assert abs(ink / (math.pi * width**2) - 1) < 0.02


def test_what_is_cut_off_is_below_the_stated_bound():
    inputs = strokes(30, 2, (80, 80), torch.float64)
    for count in (1, 30):
        named = {n: v[:count].detach() for n, v in inputs.items()}
        picture = render(named["points"], named["width"], 80, backend="torch")
        reference = dense(named["points"], named["width"], (80, 80))
        assert (picture - reference).abs().max() <= count * CUT + 1e-12


@pytest.mark.skipif("numba" not in BACKENDS, reason="needs numba")
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 6),
    vertices=st.integers(1, 5),
    canvases=st.integers(1, 3),
    height=st.integers(33, 70),
)
def test_counting_and_sorting_bin_alike(seed, count, vertices, canvases, height):
    from plugins.sketching.raster import binning

    draw = torch.Generator().manual_seed(seed)
    strokes = canvases * count
    ends = torch.rand(strokes * vertices, 4, generator=draw) * 90 - 10
    reach = torch.rand(strokes, generator=draw) * 9
    first, kind = torch.arange(strokes + 1) * vertices, torch.zeros(strokes, dtype=torch.int64)
    layout = tiles.Layout(canvases, height, 50)
    sorted_ = tiles.bin_pieces(ends, first, kind > 0, reach, layout)
    counted, _ = binning.bin_pieces(
        ends.numpy(), first.numpy(), kind.numpy(), reach.numpy(), layout
    )
    for name, other in zip(("pieces", "first", "stroke", "tile_first"), counted, strict=True):
        assert torch.equal(getattr(sorted_, name), torch.from_numpy(other)), name


@pytest.mark.skipif("numba" not in BACKENDS, reason="needs numba")
def test_threads_do_not_change_the_result():
    inputs = strokes(200, 4, (90, 90))
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        picture = render(inputs["points"], inputs["width"], 90, backend="numba")
        found.append([picture, *gradients(picture, inputs)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_no_strokes_leave_the_paper_white():
    assert render(torch.empty(0, 4, 2), 1.0, (5, 7)).eq(0).all()
    empty = torch.empty(0, 3)
    for composition in COMPOSITIONS:
        picture = render(torch.empty(0, 4, 2), 1.0, (5, 7), colour=empty, composition=composition)
        assert picture.shape == (3, 5, 7)
        assert picture.eq(1).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("profile", ["flat", "gaussian"])
def test_a_fill_that_crosses_itself_has_no_seam(backend, profile):
    star = torch.tensor([[[50.5, 5.5], [80.5, 95.5], [3.5, 40.5], [97.5, 40.5], [20.5, 95.5]]])
    ink = {
        rule: render(star, 1.5, 100, filled=True, fill_rule=rule, profile=profile, backend=backend)
        for rule in ("nonzero", "evenodd")
    }
    # On the inner edge, a pixel away from it, and in the middle, around which the star turns twice.
    for row in (40, 41, 55):
        assert ink["nonzero"][row, 50] > 0.999
    assert ink["evenodd"][40, 50] == pytest.approx(0.5, abs=1e-3)
    assert ink["evenodd"][55, 50] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_list_of_strokes_of_any_length_is_what_each_alone_is(backend):
    square = torch.tensor([[10.0, 10.0], [90.0, 12.0], [88.0, 90.0], [9.0, 88.0]])
    hole = torch.tensor([[30.0, 30.0], [32.0, 70.0], [70.0, 70.0]])
    line = torch.tensor([[0.0, 50.0], [60.0, 40.0], [100.0, 50.0]])
    dot = torch.tensor([[50.0, 80.0]])
    colour = torch.rand(3, 3, generator=torch.Generator().manual_seed(0))
    width = torch.tensor([1.0, 2.0, 3.0])
    given: list[Any] = [square, [hole, hole + 10], line, dot]
    for kept in (given[:3], given[1:]):
        kinds = [len(stroke) in {2, 4} for stroke in kept]
        together = render(
            kept, width, 100, colour=colour, filled=kinds, composition="over", backend=backend
        )
        paper = torch.ones(3, 100, 100)
        for i, stroke in enumerate(kept):
            paper = render(
                [stroke],
                width[i : i + 1],
                100,
                colour=colour[i : i + 1],
                filled=kinds[i],
                composition="over",
                background=paper,
                backend=backend,
            )
        torch.testing.assert_close(together, paper, atol=2e-5, rtol=0)
    # A tensor and a list of the same strokes.
    alike = torch.stack([line, line + 9])
    torch.testing.assert_close(
        render(alike, 1.3, 100, backend=backend),
        render(list(alike), 1.3, 100, backend=backend),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("rule", ["nonzero", "evenodd"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_holes_are_left_out_and_their_gradients_are_difference_quotients(backend, rule):
    draw = torch.Generator().manual_seed(2)
    outer = torch.tensor([[6.0, 5.0], [44.0, 8.0], [40.0, 44.0], [7.0, 40.0]], dtype=torch.float64)
    hole = torch.tensor([[16.0, 15.0], [18.0, 33.0], [34.0, 30.0]], dtype=torch.float64)
    # No pixel is equally far from two edges.
    outer, hole = (part + 0.3 * torch.rand(part.shape, generator=draw) for part in (outer, hole))
    weights = torch.rand(50, 50, generator=draw, dtype=torch.float64)

    exact = [outer, hole, torch.tensor([1.4], dtype=torch.float64)]
    # numba's kernel is of single precision; its derivatives are compared with the same quotients.
    tolerance = 1e-5 if backend == "torch" else 2e-5
    kind = torch.float64 if backend == "torch" else torch.float32

    def ink(parts: list[Tensor], by: Any = "torch") -> Tensor:
        outer, hole, width = parts
        picture = render([[outer, hole]], width, 50, filled=True, fill_rule=rule, backend=by)
        return (picture * weights).sum()

    inputs = [part.to(kind).requires_grad_() for part in exact]
    found = torch.autograd.grad(ink(inputs, backend), inputs)
    alone = [[outer.to(kind), hole.to(kind)]]
    picture = render(alone, 1.0, 50, filled=True, backend=backend)
    assert picture[24, 22] < 1e-3
    assert picture[11, 11] > 0.999
    for number, gradient in enumerate(found):
        for place in range(gradient.numel()):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [part.detach().clone() for part in exact]
                moved[number].view(-1)[place] += step
                ends.append(float(ink(moved)))
            quotient = (ends[0] - ends[1]) / 2e-5
            error = abs(float(gradient.view(-1)[place]) - quotient)
            assert error < tolerance * max(1, abs(quotient))


@pytest.mark.skipif("numba" not in BACKENDS, reason="needs numba")
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), vertices=st.integers(3, 12), evenodd=st.booleans())
def test_fills_by_windings_are_fills_by_all_pieces(seed, vertices, evenodd):
    draw = torch.Generator().manual_seed(seed)
    points = torch.rand(3, vertices, 2, generator=draw, dtype=torch.float64) * 110 - 20
    rule: Any = "evenodd" if evenodd else "nonzero"
    pictures = []
    backends: list[Any] = BACKENDS
    for backend in backends:
        kind = torch.float32 if backend == "numba" else torch.float64
        given = points.clone().to(kind).requires_grad_()
        picture = render(given, 0.8, (61, 75), filled=True, fill_rule=rule, backend=backend)
        picture.square().sum().backward()
        assert given.grad is not None
        pictures.append((picture.detach(), given.grad))
    assert (pictures[0][0] - pictures[1][0]).abs().max() < 1e-4
    assert (pictures[0][1] - pictures[1][1]).norm() < 1e-3 * (1 + pictures[0][1].norm())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_inks_at_the_ends_of_their_range_have_their_gradients(backend, composition):
    """As at a thousandth from the end: a stroke that is invisible, white or the thinnest is not dead."""
    points = torch.tensor([[[5.0, 5.0], [30.0, 20.0]]])
    at_end = {"width": [0.05], "opacity": [0.0], "colour": [[0.0, 0.5, 1.0]]}
    beside = {"width": [0.0501], "opacity": [0.001], "colour": [[0.001, 0.5, 0.999]]}
    for name in at_end:
        found = []
        for place in (at_end, beside):
            rest: dict[str, Any] = {"width": [1.0], "opacity": [0.8], "colour": [[0.3, 0.4, 0.6]]}
            given: dict[str, Any] = {
                key: torch.tensor(value) for key, value in (rest | {name: place[name]}).items()
            }
            learned = given[name].requires_grad_()
            given |= {"composition": composition, "backend": backend}
            picture = render(points, size=40, **given)
            found += torch.autograd.grad(picture.sum(), learned)
        assert found[0].abs().min() > 1
        torch.testing.assert_close(found[0], found[1], rtol=0.03, atol=0)


def test_no_strokes_can_be_differentiated():
    points = torch.empty(0, 4, 2, requires_grad=True)
    width = torch.tensor(1.0, requires_grad=True)
    render(points, width, (5, 7)).sum().backward()
    assert points.grad is not None
    assert points.grad.shape == (0, 4, 2)
    assert width.grad == 0


def test_second_derivatives_and_vmap_are_refused():
    inputs = strokes(3, 2, (40, 40))
    picture = render(inputs["points"], inputs["width"], 40)
    (first,) = torch.autograd.grad(picture.square().sum(), inputs["points"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()
    with pytest.raises(ProgramError, match=r"cannot be mapped by torch.func.vmap; give it a batch"):
        torch.func.vmap(lambda p: render(p, 1.0, 40))(torch.zeros(2, 3, 2, 2))


def test_the_background_shows_where_there_is_no_ink():
    points = torch.tensor([[[2.0, 20.0], [38.0, 20.0]]])
    paper = torch.tensor([0.9, 0.8, 0.7])
    colour = torch.tensor([[0.1, 0.2, 0.3]])
    for composition in COMPOSITIONS:
        picture = render(
            points,
            3.0,
            40,
            colour=colour,
            background=paper,
            composition=composition,
            profile="flat",
        )
        torch.testing.assert_close(picture[:, 0, 0], paper)
        covered = colour[0] if composition == "over" else paper * colour[0]
        torch.testing.assert_close(picture[:, 20, 20], covered, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(3, 2)}, "points [3, 2]: expected [*batch, strokes, vertices, 2]"),
        ({"points": torch.full((2, 2, 2), math.nan)}, "stroke 0 has a coordinate that is not"),
        ({"size": (0, 4)}, "size = (0, 4): expected"),
        ({"composition": "sofd_or"}, "composition = 'sofd_or'; did you mean 'soft_or'?"),
        ({"filled": True, "fill_rule": "even"}, "fill_rule = 'even'; did you mean 'evenodd'?"),
        ({"filled": [True]}, "filled has 1 values, expected one for each of 2 strokes"),
        ({"filled": [True, False]}, "filled differs from stroke to stroke; give points as a list"),
        ({"points": [torch.zeros(2, 3)]}, "stroke 0 [2, 3]: expected [vertices, 2]"),
        ({"points": [[]]}, "stroke 0 has no contour"),
        (
            {"points": [torch.zeros(2, 2), torch.full((1, 2), math.inf)]},
            "stroke 1 has a coordinate",
        ),
        ({"profile": "gaussain"}, "profile = 'gaussain'; did you mean 'gaussian'?"),
        ({"width": torch.ones(5)}, "do not broadcast to [*batch, strokes]"),
        ({"width": -1.0}, "width has the value -1; expected finite numbers above 0"),
        ({"width": torch.tensor([1.0, math.nan])}, "width has the value nan"),
        ({"width": math.inf}, "width has the value inf"),
        ({"opacity": 1.5}, "opacity has the value 1.5; expected numbers from 0 to 1"),
        ({"opacity": torch.tensor([0.5, math.nan])}, "opacity has the value nan"),
        ({"colour": torch.tensor([-0.2, 0.0, 0.0])}, "colour has the value -0.2"),
        (
            {"colour": torch.zeros(3), "background": torch.tensor([2.0, 0.0, 0.0])},
            "background has the value 2",
        ),
    ],
)
def test_mistakes_are_refused_in_one_line(change, message):
    arguments: dict[str, Any] = {
        "points": torch.zeros(2, 2, 2),
        "width": 1.0,
        "size": (40, 40),
    } | change
    with pytest.raises(ProgramError) as mistake:
        render(**arguments)
    assert message in str(mistake.value)
    assert "\n" not in str(mistake.value)


@pytest.mark.skipif("numba" not in BACKENDS, reason="needs numba")
def test_double_precision_is_torchs():
    points = torch.tensor([[[4.0, 4.0], [30.0, 20.0]]], dtype=torch.float64)
    assert render(points, 1.0, 40).dtype == torch.float64
    with pytest.raises(ProgramError, match="renders float32 on the cpu, not float64 on the cpu"):
        render(points, 1.0, 40, backend="numba")


@pytest.mark.skipif(find_spec("numba") is None, reason="needs numba")
def test_the_fast_bell_is_the_exponential_and_never_above_one():
    from plugins.sketching.raster.soft_lines import NEGLIGIBLE, bell

    squares = numpy.linspace(0, NEGLIGIBLE, 20_001).astype(numpy.float32)
    found = bell(squares)
    assert found[0] == found.max() == 1
    assert abs(found / numpy.exp(-squares.astype(numpy.float64)) - 1).max() < 4e-6


@pytest.mark.parametrize(("backend", "vertices"), [*product(BACKENDS, [1, 2]), (BACKENDS[-1], 6)])
def test_the_kernel_of_plain_lines_is_the_kernel_of_all(monkeypatch, backend, vertices):
    """The fast kernel, then the general one, on two canvases and in several chunks; with curves where it has them."""
    monkeypatch.setattr("plugins.sketching.raster.torch_lines.CHUNK", 4000)
    draw = torch.Generator().manual_seed(5)
    points = 80 * torch.rand(2, 30, vertices, 2, generator=draw)
    points[0, 0] = points[0, 0, :1]
    width = 0.02 + 3 * torch.rand(2, 30, generator=draw)
    opacity = torch.rand(2, 30, generator=draw)
    opacity[1, :3] = torch.tensor([0.0, 1.0, 1.0])
    weights = torch.rand(2, 80, 90, generator=draw)
    found = []
    for plain in (True, False):
        monkeypatch.setattr("plugins.sketching.raster.render.Lines.uniform", plain)
        given = [part.clone().requires_grad_() for part in (points, width, opacity)]
        picture = render(given[0], given[1], (80, 90), opacity=given[2], backend=backend)
        (picture * weights).sum().backward()
        found.append([picture.detach(), *(g.grad for g in given if g.grad is not None)])
    assert abs(found[0][0] - found[1][0]).max() < 1e-4
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        assert (one - other).norm() / other.norm() < 1e-3


@pytest.mark.parametrize("vertices", [1, 2])
def test_plain_lines_have_the_gradients_of_difference_quotients(vertices):
    inputs = strokes(6, vertices, (34, 40), torch.float64)

    def draw(points: Tensor, width: Tensor, opacity: Tensor) -> Tensor:
        return render(points, width, (34, 40), opacity=opacity, backend="torch")

    given = tuple(inputs[name] for name in ("points", "width", "opacity"))
    assert torch.autograd.gradcheck(draw, given, fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("profile", ["gaussian", "flat"])
@pytest.mark.parametrize("rule", ["nonzero", "evenodd"])
@pytest.mark.parametrize("corners", [[[10.5, 8.5], [30.5, 8.5], [30.5, 24.5], [10.5, 24.5]],
                                     [[4.0, 3.0], [26.0, 14.0], [22.0, 34.0], [2.0, 28.0]]])  # fmt: skip
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_edges_through_the_centres_of_pixels_have_their_gradient(
    backend, profile, rule, corners, backwards
):
    """A fill's ink is its area: its derivatives are the shoelace formula's, less what corners round off."""
    points = torch.tensor(corners[::-1] if backwards else corners, requires_grad=True)
    ink = render([points], 1.0, 40, filled=True, fill_rule=rule, profile=profile, backend=backend)
    ink.sum().backward()
    x, y = points.detach().unbind(1)
    area = torch.stack([y.roll(-1) - y.roll(1), x.roll(1) - x.roll(-1)], 1) / 2
    area = -area if backwards else area
    assert points.grad is not None
    torch.testing.assert_close(points.grad, area, atol=1.6, rtol=0)


@pytest.mark.skipif("numba" not in BACKENDS, reason="needs numba")
def test_a_change_of_any_kernels_file_makes_all_be_compiled_again():
    """Each contains the code of those that it calls; numba itself looks at a kernel's own file alone."""
    from plugins.sketching.raster import binning, numba_kernel, soft_lines

    kernels: list[Any] = [binning._touches, binning.crossing]
    kernels += [numba_kernel._forward, soft_lines.bell]
    stamps = [kernel._cache._cache_file._source_stamp for kernel in kernels]
    assert all(stamp == stamps[0] for stamp in stamps)
    assert {"compiled.py", "numba_ink.py", "numba_fills.py"} <= {name for name, *_ in stamps[0]}


def tapered(dtype: torch.dtype) -> dict[str, Tensor]:
    """Lines of six vertices whose widths vary along them."""
    inputs = strokes(5, 6, (34, 40), dtype)
    draw = torch.Generator().manual_seed(3)
    inputs["taper"] = (0.2 + 0.8 * torch.rand(5, 6, generator=draw)).to(dtype).requires_grad_()
    return inputs


@pytest.mark.parametrize("composition", ["soft_or", "over"])
@pytest.mark.parametrize("profile", ["gaussian", "flat"])
def test_widths_along_lines_have_the_gradients_of_difference_quotients(composition, profile):
    inputs = tapered(torch.float64)
    options: dict[str, Any] = {"composition": composition, "profile": profile}

    def draw(points, width, opacity, colour, taper):
        return render(
            points, width, (34, 40), opacity=opacity, colour=colour, taper=taper, **options
        )

    # An edge of the flat profile has a kink.
    tolerance = 1e-6 if profile == "gaussian" else 1e-4
    assert torch.autograd.gradcheck(
        draw, tuple(inputs.values()), fast_mode=True, atol=tolerance, eps=1e-7
    )
    if "numba" not in BACKENDS:
        return
    found: list[Any] = []
    rest: dict[str, Any]
    for backend, dtype in (("torch", torch.float64), ("numba", torch.float32)):
        given = {k: v.detach().to(dtype).requires_grad_() for k, v in inputs.items()}
        rest = {k: v for k, v in given.items() if k not in {"points", "width"}}
        rest |= options | {"backend": backend}
        picture = render(given["points"], given["width"], (34, 40), **rest)
        found.append((picture.detach().double(), *gradients(picture, given)))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() < 1e-3 * theirs.norm()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_line_half_as_wide_at_its_end_leaves_three_quarters_of_the_ink(backend):
    """A line of width 2 and one from 2 to 1, long enough that its ends do not count."""
    line = torch.tensor([[[-60.0, 20.3], [160.0, 20.3]]])
    whole = render(line, 2.0, (40, 100), backend=backend)
    slope = render(
        torch.tensor([[[0.0, 20.3], [100.0, 20.3]]]),
        2.0,
        (40, 100),
        taper=torch.tensor([1.0, 0.5]),
        backend=backend,
    )
    across = slope.sum(0)
    mean, all_of_it = float(across[10:90].mean()), float(whole.sum(0)[10:90].mean())
    assert mean == pytest.approx(0.75 * all_of_it, rel=2e-3)
    assert float(across[50]) == pytest.approx(PEN_WIDTH * 2.0 * 0.7475, rel=2e-3)
    listed = render([line[0]], torch.tensor([2.0]), (40, 100), taper=torch.ones(2), backend=backend)
    torch.testing.assert_close(listed[None], whole[None], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taper": torch.ones(3)}, "taper [3]: expected [*batch, strokes, 4]"),
        ({"taper": torch.full((4,), 1.5)}, "taper has the value 1.5"),
        ({"taper": torch.ones(4), "filled": True}, "taper is of lines"),
    ],
)
def test_a_taper_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ProgramError, match=re.escape(message)):
        render(torch.rand(2, 4, 2) * 20, 1.0, 20, **change)

"""A model divided among processes learns what it learns whole; each process holds and writes its part only."""

import hashlib
import pickle
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal

import framework
from framework import ranks
from framework.data import batches
from framework.errors import ProgramError, UserError
from framework.gradients.registered import make_estimator
from framework.program import Program
from framework.randomness import generator
from framework.sharding import blocks, count, divide, is_divided, whole
from framework.task import Split, Task
from framework.training.checkpoints import sharded
from framework.training.updates.recomputation import recompute
from tests.processes import together
from tests.runs import python, result

WIDTH = 256
OPTIONS = (
    "monitor.tensorboard=false",
    "trainer.device=cpu",
    "trainer.threads=1",
    "trainer.checkpoint_every=2",
    "trainer.evaluate_every=2",
    "trainer.ema=0.5",
    "trainer.clip_norm=0.5",
    "monitor.histograms_every=2",
    # Else rounding is amplified where a gradient is nearly 0.
    "optimizer.epsilon=1e-3",
)
FULL = "trainer.sharding=full"
ESTIMATORS = (
    "exact",
    "reparameterisation",
    "reinforce",
    "rloo",
    "straight_through",
    "straight_through_gumbel",
    "gumbel_rao",
    "reinmax",
    "gumbel",
)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Linear(3, WIDTH),
            nn.Tanh(),
            nn.Linear(WIDTH, WIDTH),
            nn.Tanh(),
            nn.Linear(WIDTH, WIDTH),
            nn.Tanh(),
            nn.Linear(WIDTH, 1),
        )


class Fitted(Task):
    """A network that learns a sum; the batch of five has uneven parts."""

    batch_axes = 1
    reports_best = True
    primary_metric = "error"

    def __init__(self) -> None:
        self.model = network()

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        rows = torch.randn(20, 3, generator=generator(seed, "rows"))
        return batches([*rows], 5, seed, start)

    def objective(self, context: Any, batch: Any) -> None:
        context.cost((self.model(batch).squeeze(-1) - batch.sum(-1)).square())

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        rows = torch.linspace(-1, 1, 30).view(10, 3)
        return {"error": (self.model(rows).squeeze(-1) - rows.sum(-1)).square().mean().item()}


class Outside(Fitted):
    """Reads a weight itself."""

    def objective(self, context: Any, batch: Any) -> None:
        context.cost((batch @ self.model[0].weight.T).square().sum(-1))  # type: ignore[index]


def fit(folder: Path, *more: str, task: Task | None = None, **how: Any) -> Any:
    given: dict[str, Any] = {"steps": 6, "folder": folder} | how
    return framework.train(task or Fitted(), overrides=[*OPTIONS, *more], **given)


def objective(estimator: str, context: Any, outputs: torch.Tensor) -> None:
    """A cost, after a draw that the estimator serves."""
    if estimator == "exact":
        context.cost(outputs.square())
    elif estimator == "reparameterisation":
        context.cost((context.sample("x", Normal(outputs, 1.0)) - 0.3).square())
    else:
        context.cost((context.sample("x", Bernoulli(logits=outputs)) - 0.3).square())


def gradients(model: nn.Module, estimator: str, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    """The sums over all processes of a model's gradients and of its objective."""

    def function(context: Any, parameters: Any, batch: Any) -> None:
        objective(estimator, context, model(batch).squeeze(-1))

    part = rows[ranks.part(len(rows))]
    program = Program(function, batch_axes=1, checked=False)
    parameters, share = dict(model.named_parameters()), program.share(part)
    torch.manual_seed(ranks.rank())
    estimate = make_estimator(estimator, 4).backward(program, parameters, part, scale=share)
    learned = [] if any(map(is_divided, parameters.values())) else [*parameters.values()]
    value = ranks.add_gradients(learned, estimate.objective * share)
    found = {name: whole(p.grad) for name, p in parameters.items() if p.grad is not None}
    return {**found, "objective": value}


def check_all(rank: int, place: Path) -> None:
    """What each of two processes does."""
    rows = torch.randn(5, 3, generator=generator(0, "rows"))
    for estimator in ESTIMATORS:
        model = network()
        expected = gradients(network(), estimator, rows)
        divide(model)
        found = gradients(model, estimator, rows)
        if rank == 0:
            torch.save((found, expected), place / f"{estimator}.pt")
    fit(place / "divided", FULL)
    fit(place / "recomputed", FULL, "trainer.activation_checkpointing=true")
    fit(place / "to go on alone", FULL, "trainer.stop_at=3")
    framework.train(Fitted(), resume=place / "alone", overrides=[FULL, "trainer.stop_at=null"])
    with pytest.raises(ProgramError, match="outside a call of the model"):
        fit(place / "outside", FULL, task=Outside())
    with pytest.raises(ProgramError, match="the task plays episodes"):
        framework.train("cartpole", folder=place / "games", estimator="rloo", overrides=[FULL])
    model = network()
    divide(model)
    held = sum(p.to_local().numel() for p in model.parameters())  # type: ignore[attr-defined]
    assert held < 0.51 * count(network())


@cache
def checked() -> Path:
    """A folder in which two processes have trained a divided model."""
    place = Path(mkdtemp())
    fit(place / "alone", "trainer.stop_at=3")
    together(2, check_all, place)
    return place


def learned(folder: Path, which: Any = "last") -> dict[str, Any]:
    run = framework.load(folder, checkpoint=which, task=Fitted())
    return dict(run.task.model.state_dict())


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, values in expected.items():
        assert torch.allclose(found[name].double(), values.double(), rtol=1e-5, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_gradient_is_that_of_the_whole_model(estimator):
    found, expected = torch.load(checked() / f"{estimator}.pt")
    assert found.keys() == expected.keys()
    assert len(expected) == 9
    for name, values in expected.items():
        assert torch.allclose(found[name], values, rtol=1e-5, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["divided", "recomputed"])
def test_a_divided_run_learns_what_one_process_learns(tmp_path, name):
    alone = fit(tmp_path / "one")
    assert_same(learned(checked() / name), dict(alone.task.model.state_dict()))
    assert_same(learned(checked() / name, "best"), learned(tmp_path / "one", "best"))
    one, two = (
        framework.load(p, task=Fitted()).metrics for p in (tmp_path / "one", checked() / name)
    )
    assert two == pytest.approx(one, rel=1e-5)


@pytest.mark.slow
def test_it_goes_on_from_one_process_and_in_one(tmp_path):
    alone = fit(tmp_path / "one")
    expected = dict(alone.task.model.state_dict())
    assert_same(learned(checked() / "alone"), expected)
    overrides = ["trainer.stop_at=null", "trainer.sharding=none"]
    framework.train(Fitted(), resume=checked() / "to go on alone", overrides=overrides)
    assert_same(learned(checked() / "to go on alone"), expected)


@pytest.mark.slow
def test_each_process_writes_its_part_and_damage_is_noticed(capsys):
    saved = checked() / "divided" / "checkpoints"
    newest = max(saved.glob("step_*.pt"))
    (folder,) = saved.glob(f"shards_{newest.stem}_*")
    sizes = [path.stat().st_size for path in sorted(folder.glob("*.distcp"))]
    # The parameters, their averages and two moments.
    bytes_of_all = 4 * 4 * count(network())
    assert len(sizes) == 2
    assert max(sizes) < 0.6 * bytes_of_all < sum(sizes)
    assert newest.stat().st_size < 0.1 * bytes_of_all
    # Nothing stays of checkpoints that were deleted.
    assert len([*saved.glob("shards_*")]) == len([*saved.glob("*.pt")])
    part = folder / "__1_0.distcp"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(bytes(data))
    learned(checked() / "divided")
    assert "damaged (its checksum differs); trying the one before" in capsys.readouterr().err


def test_blocks_are_the_large_elements_of_lists_and_sequences():
    model = network()
    assert blocks(model) == [model[2], model[4]]  # type: ignore[index]
    body = nn.ModuleList([network() for _ in range(5)])
    assert blocks(nn.ModuleDict({"body": body})) == [*body]
    # Of one element that is nearly all, its own.
    assert blocks(nn.Sequential(model)) == [model[2], model[4]]  # type: ignore[index]
    # Tied weights stay together.
    model[4].weight = model[2].weight  # type: ignore[index]
    assert blocks(model) == []


def test_a_parameter_without_an_axis_is_refused():
    class Angle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.angle = nn.Parameter(torch.tensor(1.0))

    with pytest.raises(ProgramError, match="the model's parameter 'angle' has no axis"):
        divide(Angle())


def test_recomputed_blocks_have_the_same_gradient_and_keep_less():
    kept: list[int] = []

    def gradient(again: bool) -> list[torch.Tensor]:
        model = network()
        if again:
            recompute(model)
        sizes = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(torch.linspace(-1, 1, 30).view(10, 3)).square().sum()
        kept.append(sum(sizes))
        loss.backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for own, other in zip(gradient(False), gradient(True), strict=True):
        assert torch.equal(own, other)
    assert kept[1] < kept[0]


def test_a_trained_models_blocks_keep_what_they_compute(tmp_path):
    task = Fitted()
    names = set(vars(task.model[2]))  # type: ignore[index]
    run = fit(tmp_path / "run", "trainer.activation_checkpointing=true", task=task, steps=1)
    assert set(vars(run.task.model[2])) == names


def test_what_cannot_be_recomputed_is_refused():
    with pytest.raises(UserError, match="no large elements of a list or sequence"):
        recompute(nn.Linear(1000, 1000))
    block = nn.Sequential(nn.Conv2d(64, 128, 3), nn.BatchNorm2d(128))
    with pytest.raises(UserError, match=r"running statistics \('1.running_mean'\)"):
        recompute(nn.Sequential(block, *(nn.Linear(512, 512) for _ in range(4))))


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "among several processes; expected trainer.ranks=2 or more, or torchrun"),
        ({"trainer.shards": 2, "trainer.ranks": 2}, "expected trainer.shards=null, got 2"),
        ({"trainer.precision": "float16", "trainer.ranks": 2}, "float32 or bfloat16, got float16"),
        (
            {"estimator": "spsa", "trainer.ranks": 2},
            "estimator spsa replaces the model's parameters",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_before_anything_else(tmp_path, given, said):
    more = [f"{key}={value}" for key, value in given.items()]
    with pytest.raises(UserError, match=said):
        framework.train("javelin", folder=tmp_path / "run", overrides=[FULL, *more])
    assert not (tmp_path / "run").exists()


LARGE = """
import resource, sys
import torch
import torch._dynamo, torch.distributed.checkpoint, torch.distributed.fsdp
from torch import nn
import framework
from framework.data import batches

class Large(framework.Task):
    batch_axes, primary_metric = 1, "error"

    def __init__(self):
        self.model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(24)))

    def batches(self, program, seed, start):
        return batches([*torch.eye(8, 1024)], 4, seed, start)

    def objective(self, context, batch):
        context.cost(self.model(batch).square().sum(-1))

    def evaluate(self, seed, split="test"):
        return {"error": self.model(torch.ones(1, 1024)).square().mean().item()}

kilobytes = next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]
limit = int(kilobytes) * 1024 + 340 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
overrides = ["trainer.threads=1", "trainer.device=cpu", "monitor.tensorboard=false", *sys.argv[2:]]
framework.train(Large(), folder=sys.argv[1], estimator="exact", steps=3, overrides=overrides)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_model_that_fits_no_single_process_is_trained_by_two(tmp_path):
    """Parameters, gradients and two moments are 384 MiB; each process may have 340."""
    (tmp_path / "large.py").write_text(LARGE)
    alone = python("large.py", "one", cwd=tmp_path)
    assert "can't allocate memory" in alone.communicate()[1]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    two = python(*torchrun, "large.py", "two", FULL, cwd=tmp_path)
    two.communicate()
    assert two.returncode == 0
    assert result(tmp_path / "two")["steps"] == 3


def test_a_description_that_is_no_plain_one_runs_nothing(tmp_path):
    written = tmp_path / "step_000000001.pt"
    (tmp_path / "shards_step_000000001_0").mkdir()

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    inside = tmp_path / "shards_step_000000001_0" / ".metadata"
    inside.write_bytes(pickle.dumps(Evil()))
    files = {".metadata": hashlib.sha256(inside.read_bytes()).hexdigest()}
    shards = {"folder": inside.parent.name, "files": files, "tensors": []}
    with pytest.raises(UserError, match="refused, no plain checkpoint"):
        sharded.load(written, {"shards": shards}, {}, ("model",))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folder": "../elsewhere"}, "its shards are those of another checkpoint"),
        ({"folder": "shards_step_000000001_../x"}, "its shards are those of another checkpoint"),
        ({"files": {"missing": ""}}, "missing"),
        ({"files": {"../x": ""}}, "missing"),
        ({"files": 3}, "the checkpoint's shards's 'files'"),
        (
            {"tensors": [{"place": ["model", "x"], "shape": [10**9], "dtype": "torch.float32"}]},
            "damaged \\(it has 0 bytes for tensors of 4000000000\\)",
        ),
        (
            {"tensors": [{"place": ["model", "x"], "shape": [-1], "dtype": "torch.float32"}]},
            "refused, a tensor of torch.float32",
        ),
        ({"tensors": [{"shape": []}]}, "a divided tensor's state has no 'place'"),
    ],
)
def test_what_a_checkpoint_says_of_its_shards_is_not_believed(tmp_path, change, said):
    (tmp_path / "shards_step_000000001_0").mkdir()
    shards = {"folder": "shards_step_000000001_0", "files": {}, "tensors": [], **change}
    with pytest.raises(UserError, match=said):
        sharded.load(tmp_path / "step_000000001.pt", {"shards": shards}, {}, ("model",))

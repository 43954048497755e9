"""diffobj check FILE.py:function: the user's own objective from a file."""

from __future__ import annotations

import sys

import pytest

from tests.runs import Diffobj

FILE = """
import torch
from torch.distributions import Bernoulli, Normal

from framework import Program

parameters = {"logit": torch.tensor(0.3)}
elsewhere = [torch.tensor(-1.0)]
data = torch.tensor([1.0, 2.0])
number = 3


def objective(context, parameters, batch):
    context.cost(2 * context.sample("b", Bernoulli(logits=parameters["logit"])))


def of_a_list(context, parameters, batch):
    context.cost((context.sample("x", Normal(parameters["0"] * batch, 1.0)) - batch) ** 2)


for_each_datum = Program(of_a_list, batch_axes=1)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def test_the_table_is_printed(file, diffobj: Diffobj):
    told = ("estimators=[exact,rloo,reparameterisation]", "samples=32", "repeats=8")
    outcome = diffobj("check", "mine.py:objective", *told)
    assert outcome.status == 0, outcome.err
    said, *lines = outcome.out.splitlines()
    assert said == "mine.py:objective: trying exact,rloo,reparameterisation"
    assert lines[0] == "objective 1.149; bias against: exact"
    assert lines[2].split() == [
        "estimator",
        "bias",
        "z",
        "bias",
        "(99",
        "%)",
        "variance",
        "CPU-ms",
        "differences",
        "z",
    ]
    assert [line.split()[0] for line in lines[3:5]] == ["exact", "rloo"]
    assert lines[4].endswith("ok")
    assert lines[-1].startswith("reparameterisation: refused: draw 'b' ~ Bernoulli")


def test_parameters_and_batch_may_have_other_names_and_the_function_its_axes(
    file, diffobj: Diffobj
):
    told = ("parameters=elsewhere", "batch=data", "estimators=[reparameterisation]", "repeats=8")
    outcome = diffobj("check", "mine.py:for_each_datum", *told)
    assert outcome.status == 0, outcome.err
    assert "reparameterisation" in outcome.out


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["mine.py"], "which function? diffobj check mine.py:objective"),
        (["mine.py:"], "which function? diffobj check mine.py:objective"),
        (["other.py:objective"], "other.py: there is no such file"),
        (["mine.py:objectiv"], "mine.py: there is no 'objectiv'; did you mean 'objective'?"),
        (["mine.py:number"], "mine.py: 'number' is a int; expected a function"),
        (["mine.py:objective", "parameters=start"], "there is no 'start'; for example parameters"),
        (["mine.py:objective", "batch=dat"], "there is no 'dat'; did you mean 'data'?"),
        (["mine.py:objective", "samples=many"], "samples = many: expected a whole number"),
        (["mine.py:objective", "sample=8"], "unknown key 'sample'; did you mean 'samples'?"),
        (["mine.py:objective", "estimators=[rlo]"], "unknown estimator 'rlo'"),
    ],
)
def test_a_mistake_is_one_line(file, told, said, diffobj: Diffobj):
    outcome = diffobj("check", *told)
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_file_s_own_error_is_told_with_its_line(file, tmp_path, diffobj: Diffobj):
    (tmp_path / "broken.py").write_text("a = 1\nb = a / 0\n")
    outcome = diffobj("check", "broken.py:objective")
    assert outcome.status == 2
    assert outcome.err == "diffobj: broken.py, line 2: ZeroDivisionError: division by zero\n"
    (tmp_path / "misspelt.py").write_text("a = 1\nb = = 2\n")
    assert (
        "misspelt.py, line 2: SyntaxError: invalid syntax" in diffobj("check", "misspelt.py:f").err
    )
    # Another module of that name would not be found.
    assert "misspelt" not in sys.modules


ZERO = """
import torch
from torch.distributions import Bernoulli

parameters = {"logit": torch.tensor(0.3)}


def early(context, parameters, batch):
    context.cost(torch.ones(()), "price")
    context.sample("b", Bernoulli(logits=parameters["logit"]))


def lost(context, parameters, batch):
    context.cost(context.sample("b", Bernoulli(logits=parameters["logit"].detach())))


def constant(context, parameters, batch):
    context.cost(torch.ones(()))
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("early", "no gradient: cost 'price' is charged before draw 'b', the first that depends"),
        ("lost", "no gradient: neither a cost nor a draw ('b') is made from a parameter: is one"),
        ("constant", "no gradient: no cost is made from a parameter, and nothing is drawn: is one"),
    ],
)
def test_the_cause_of_a_zero_gradient_is_the_last_line(file, tmp_path, diffobj, name, said):
    (tmp_path / "zero.py").write_text(ZERO)
    outcome = diffobj("check", f"zero.py:{name}", "estimators=[rloo]", "samples=4", "repeats=4")
    assert outcome.status == 1
    assert outcome.out.splitlines()[-1].startswith(said)

"""Shards: threads of one process that take turns."""

import pytest
import torch
from torch.distributions import Bernoulli

from framework import ranks
from framework.errors import ProgramError, UserError
from framework.gradients.score_function import rloo
from framework.program import Program
from framework.ranks import tree
from framework.run import compose
from framework.training.parts import (
    differ,
    drifted,
    flat,
    refuse_other_settings,
    take_first_model,
)
from framework.training.updates.batch_norm import share_batch_norm


def in_shards(count, work):
    """What each of some shards returns, in order."""
    found = {}

    def one():
        found[ranks.rank()] = work()

    ranks.divided(count, one, one)
    return [found[number] for number in range(count)]


def test_sums_maxima_and_what_the_first_gives_are_the_same_for_all():
    def work():
        own = torch.tensor([float(ranks.rank()), 1.0])
        return (
            ranks.summed(own).tolist(),
            ranks.largest(ranks.rank(), -ranks.rank()),
            ranks.total(2.0, ranks.rank()),
            ranks.of_first(f"given by {ranks.rank()}"),
            ranks.part(7),
            ranks.size(),
        )

    found = in_shards(3, work)
    for number, (total, most, counted, first, part, size) in enumerate(found):
        assert total == [3.0, 3.0]
        assert most == [2.0, 0.0]
        assert counted == [6.0, 3.0]
        assert first == "given by 0"
        assert part == [slice(0, 2), slice(2, 4), slice(4, 7)][number]
        assert size == 3


def test_only_the_first_is_given_what_all_have():
    assert in_shards(3, lambda: ranks.gathered(ranks.rank() * 10)) == [[0, 10, 20], [10], [20]]


def test_what_one_does_with_a_sum_leaves_the_others_alone():
    def work():
        total = ranks.summed(torch.ones(2))
        total += ranks.rank()
        ranks.summed(torch.zeros(1))
        return total.tolist()

    assert in_shards(3, work) == [[3.0, 3.0], [4.0, 4.0], [5.0, 5.0]]


def test_gradients_are_added_and_one_that_none_has_stays_without():
    def work():
        parameters = [torch.zeros(2, requires_grad=True) for _ in range(3)]
        parameters[0].grad = torch.full((2,), float(ranks.rank() + 1))
        if ranks.rank() == 1:
            parameters[1].grad = torch.ones(2)
        objective = ranks.add_gradients(parameters, torch.tensor(0.5))
        return [None if p.grad is None else p.grad.tolist() for p in parameters], float(objective)

    for gradients, objective in in_shards(2, work):
        assert gradients == [[3.0, 3.0], [1.0, 1.0], None]
        assert objective == 1.0


def test_work_is_done_in_parts_and_the_first_has_all_in_order():
    assert ranks.in_parts(3, lambda own: [*range(3)][own]) == [[0, 1, 2]]
    found = in_shards(3, lambda: ranks.in_parts(5, lambda own: [*range(5)][own]))
    assert found == [[[0], [1, 2], [3, 4]], [[1, 2]], [[3, 4]]]


def test_where_one_part_fails_all_end_and_the_failed_one_says_why():
    def work():
        def half(own: slice) -> None:
            if own.stop == 2:
                raise UserError("the second one's own")

        with pytest.raises(UserError) as told:
            ranks.in_parts(2, half)
        return str(told.value)

    assert in_shards(2, work) == ["another process could not do its part", "the second one's own"]


def test_each_has_a_random_stream_of_its_own():
    def work():
        torch.manual_seed(ranks.rank())
        before = torch.rand(())
        ranks.summed(torch.zeros(1))
        return float(before), float(torch.rand(()))

    found = in_shards(3, work)
    for number, values in enumerate(found):
        torch.manual_seed(number)
        assert values == (float(torch.rand(())), float(torch.rand(())))


def test_batch_normalisation_is_that_of_all_and_so_is_its_derivative():
    x = torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def work():
        layer = torch.nn.BatchNorm1d(3).double()
        share_batch_norm(layer)
        own = x[ranks.part(7)].clone().requires_grad_()
        output = layer(own)
        (output * weights[ranks.part(7)]).sum().backward()
        ranks.add_gradients(list(layer.parameters()), torch.zeros(1))
        return output, own.grad, layer.weight.grad, layer.bias.grad, layer.running_var

    whole = in_shards(1, work)[0]
    # Of nine, two have nothing.
    for count in (2, 3, 9):
        found = in_shards(count, work)
        for k in (0, 1):
            assert torch.allclose(torch.cat([f[k] for f in found]), whole[k], atol=1e-12)
        for k in (2, 3, 4):
            assert all(torch.allclose(f[k], whole[k], atol=1e-12) for f in found)


def test_alone_a_shard_exchanges_nothing():
    def work():
        with ranks.alone():
            assert ranks.apart()
            return ranks.size(), ranks.summed(torch.ones(1)).item(), ranks.part(5)

    assert in_shards(2, work) == [(1, 1.0, slice(0, 5))] * 2
    assert not ranks.apart()


def test_the_first_error_is_raised_and_the_others_end():
    ended = []

    def work():
        if ranks.rank() == 1:
            raise UserError("the second fails")
        try:
            ranks.summed(torch.ones(1))
        finally:
            ended.append(ranks.rank())

    with pytest.raises(UserError, match="the second fails"):
        in_shards(3, work)
    assert sorted(ended) == [0, 2]


def test_one_that_returns_early_is_lost_and_not_waited_for():
    def work():
        if ranks.rank() == 2:
            return
        ranks.summed(torch.ones(1))

    with pytest.raises(UserError, match="a shard has ended, or is elsewhere"):
        in_shards(3, work)


def test_shards_are_divided_among_processes_in_order():
    assert in_shards(1, lambda: (ranks.size(), ranks.rank())) == [(1, 0)]
    assert ranks.shards_of(0, 3, 8) == range(2)
    assert ranks.shards_of(2, 3, 8) == range(5, 8)


def test_samples_that_are_compared_within_a_process_are_two_at_least():
    def objective(context, parameters, batch):
        drawn = context.sample("b", Bernoulli(logits=parameters["a"])).item()
        context.cost(torch.tensor(drawn))

    def work():
        parameters = {"a": torch.zeros((), requires_grad=True)}
        program = Program(objective, one_sample_at_a_time=True)
        rloo(samples=5).backward(program, parameters)

    with pytest.raises(
        ProgramError, match=r"estimator\.samples = 5: .* two at least for each of 3"
    ):
        in_shards(3, work)
    in_shards(2, work)


def test_a_sum_in_a_tree_depends_on_the_number_of_parts_only():
    parts = [torch.tensor(float(i)) for i in range(1, 8)]
    assert tree(parts) == 28
    # ((a + b) + (c + d)) + e
    values = [torch.tensor(v) for v in (1e8, 1.0, -1e8, 1.0, 0.5)]
    by_hand = ((values[0] + values[1]) + (values[2] + values[3])) + values[4]
    assert tree(values) == by_hand


def test_rows_of_all_come_with_what_all_have_made_of_them():
    values = torch.arange(7.0)

    def work():
        own = values[ranks.part(7)].clone().requires_grad_()
        rows = ranks.all_rows(own)
        # Each makes something else of them.
        [slopes] = torch.autograd.grad((ranks.rank() + 1) * rows.square().sum(), own)
        return rows.tolist(), slopes.tolist()

    found = in_shards(3, work)
    assert all(rows == values.tolist() for rows, _ in found)
    assert [slope for _, slopes in found for slope in slopes] == (6 * 2 * values).tolist()


def test_shards_side_by_side_exchange_with_each_other_only():
    def work(number):
        return ranks.size(), ranks.rank(), float(ranks.summed(torch.tensor(1.0 + number)))

    def beside():
        with ranks.alone():
            return ranks.side_by_side(2, work), ranks.size(), ranks.rank()

    pair = [(2, 0, 3.0), (2, 1, 3.0)]
    assert in_shards(3, beside) == [(pair, 1, number) for number in range(3)]


def test_all_begin_with_the_first_ones_model():
    def work():
        with torch.random.fork_rng():
            torch.manual_seed(ranks.rank())
            learned = torch.nn.Linear(2, 2)
        model, before = (
            torch.nn.Sequential(torch.nn.BatchNorm1d(2), learned),
            learned.weight.tolist(),
        )
        return take_first_model(model), before, learned.weight.tolist()

    found = in_shards(3, work)
    first = found[0][1]
    for other, _, after in found:
        assert other == ["1.weight", "1.bias"]
        assert after == first
    assert found[1][1] != first


def test_models_of_other_shapes_are_refused_in_all():
    def work():
        with pytest.raises(ProgramError, match="another model in one process"):
            take_first_model(torch.nn.Linear(2, 2 + ranks.rank() // 2))
        return True

    assert in_shards(3, work) == [True] * 3


def test_what_differs_between_processes_is_named():
    def work():
        model = torch.nn.Module()
        model.register_buffer("own", torch.ones(2) + ranks.rank())
        model.register_buffer("rounded", torch.ones(2) + 1e-6 * ranks.rank())
        return drifted(model)

    assert in_shards(2, work) == [["own"]] * 2


def test_settings_are_the_same_in_all_but_for_what_teaches_nothing():
    def refused(*overrides):
        def work():
            try:
                refuse_other_settings(compose("experiment=javelin", overrides[ranks.rank()]))
            except UserError as error:
                return str(error)
            return ""

        return in_shards(2, work)

    assert refused("monitor.tensorboard=true", "monitor.tensorboard=false") == ["", ""]
    first, second = refused("seed=1", "seed=2")
    assert "another process has other settings" in first
    assert "seed = 2 in process 1, 1 in the first" in second


def test_places_may_be_each_machines_own():
    assert not differ("/fast/a", "/fast/b")
    assert differ("/fast/a", None)
    assert differ("a", "b")
    # Which is equal to nothing.
    assert not differ(float("nan"), float("nan"))
    assert flat({"a": {"b": 1}, "trainer": {"threads": 2}}) == {"a.b": 1}

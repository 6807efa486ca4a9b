"""The memory answers with convex combinations of its values, by closed forms."""

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anomalib_stc.parts.memory import Memory
from tests.parts.exported import assert_exports_agree


def memory(items: int = 12, **arguments) -> Memory:
    torch.manual_seed(0)
    return Memory(items, 6, 4, **arguments)


def queries(batch: int = 2, scale: float = 1.0) -> Tensor:
    return torch.randn(batch, 6, 3, 5, generator=torch.Generator().manual_seed(1)) * scale


def axes(temperature: float, shrink: float) -> Memory:
    """Four items whose keys are the first axes and whose values are one-hot: the value is the address."""
    result = Memory(4, 4, 4, temperature, shrink)
    result.write(3 * torch.eye(4), torch.eye(4))
    return result


def as_query(*numbers: float) -> Tensor:
    return torch.tensor(numbers)[None, :, None, None]


@pytest.mark.parametrize("shrink", [0.0, 1.0, 3.0, 1000.0])
@pytest.mark.parametrize("temperature", [0.01, 10.0, 1000.0])
def test_weights_sum_to_one_and_one_item_survives_any_query(shrink: float, temperature: float) -> None:
    model = memory(temperature=temperature, shrink=shrink)
    for query in (queries(), queries(scale=1e-20), queries(scale=1e20), torch.zeros(1, 6, 1, 1)):
        address = model.address(query)
        assert address.shape == (len(query), 12, *query.shape[-2:])
        assert address.min() >= 0
        torch.testing.assert_close(address.sum(1), torch.ones_like(address[:, 0]))


def test_one_item_is_returned_exactly_whatever_the_query() -> None:
    model = memory(items=1)
    read = model(queries())
    assert torch.equal(read.value, model.values.view(1, 4, 1, 1).expand(2, 4, 3, 5))
    assert torch.equal(read.address, torch.ones(2, 1, 3, 5))


def test_value_is_the_address_times_the_values() -> None:
    model = memory()
    read = model(queries())
    expected = torch.einsum("bnhw,nc->bchw", read.address, model.values)
    torch.testing.assert_close(read.value, expected)


def test_address_is_the_softmax_of_the_cosine_similarity() -> None:
    address = axes(temperature=2.0, shrink=0.0).address(as_query(3.0, 4.0, 0.0, 0.0)).flatten()
    torch.testing.assert_close(address, (2 * torch.tensor([0.6, 0.8, 0.0, 0.0])).softmax(0))


def test_length_of_keys_and_queries_does_not_matter() -> None:
    model = memory()
    expected = model.address(queries())
    model.write(7 * model.keys, model.values)
    torch.testing.assert_close(model.address(5 * queries()), expected)


def test_shrink_cuts_what_is_below_its_share() -> None:
    """Weights 0.55, 0.25, 0.1, 0.1 less the cut 0.5 / 4 leave 0.425 and 0.125 of 0.55."""
    weights = torch.tensor([0.55, 0.25, 0.1, 0.1])
    query = weights.log() - weights.log().mean()
    query = torch.cat([query, torch.zeros(1)])
    model = Memory(4, 5, 4, temperature=float(query.norm()), shrink=0.5)
    model.write(torch.eye(5)[:4], torch.eye(4))
    address = model.address(as_query(*query.tolist())).flatten()
    torch.testing.assert_close(address, torch.tensor([0.425, 0.125, 0, 0]) / 0.55)


def test_equal_weights_survive_together() -> None:
    address = axes(temperature=5.0, shrink=100.0).address(as_query(1.0, 1.0, 1.0, 1.0)).flatten()
    torch.testing.assert_close(address, torch.full((4,), 0.25))


@pytest.mark.parametrize("items", [10, 100, 2000])
def test_shrink_scales_with_the_number_of_items(items: int) -> None:
    """Twice an equal share is kept and half a share is cut, however many items share."""
    weights = torch.linspace(0.5, 1.5, items, dtype=torch.float64) / items
    weights[-1] = 2 / items
    weights /= weights.sum()
    query = torch.cat([weights.log(), torch.zeros(1)])
    model = Memory(items, items + 1, 1, temperature=float(query.norm()), shrink=1.0).double()
    model.write(torch.eye(items + 1)[:items], torch.ones(items, 1))
    with torch.no_grad():
        model.log_temperature.copy_(query.norm().log())
    address = model.address(query[None, :, None, None]).flatten()
    assert torch.equal(address > 0, weights > 1 / items)
    assert 0.3 < (address > 0).float().mean() < 0.7


def test_a_weight_passes_the_cut_without_a_jump() -> None:
    """Around the cut an address grows from zero in steps no larger than the weights' own, up to the rescaling."""
    model = axes(temperature=8.0, shrink=0.4)
    angles = torch.linspace(0, torch.pi / 2, 4001)
    query = torch.stack([angles.cos(), angles.sin(), torch.zeros(4001), torch.zeros(4001)])[None, :, None]
    address = model.address(query)[0, :, 0]
    assert (address[0] == 0).any()
    assert (address[0] > 0).any()
    assert address.diff().abs().max() < 0.01
    entering = address[1][address[1] > 0].min()
    assert entering < 0.01


def test_continuity_where_the_cut_reaches_half_of_the_largest_weight() -> None:
    model = axes(temperature=1.0, shrink=2.2)
    turn = torch.linspace(0, torch.pi / 2, 4001)
    query = torch.stack([turn.cos(), turn.sin(), -turn.cos(), -turn.sin()])[None, :, None]
    assert model.address(query).diff(dim=-1).abs().max() < 0.01


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *[({"items": items}, "Memory items came as .*, expected a whole number, 1 or more") for items in (0, -1, 2.5)],
        *[({"temperature": t}, "Memory's temperature came as .* above 0, as 10.0") for t in (0.0, -1.0, nan, inf)],
        *[
            ({"shrink": shrink}, "Memory's shrinkage came as .*, expected 0 or more, as 1")
            for shrink in (-0.1, nan, inf)
        ],
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^{sentence}\.$"):
        memory(**arguments)


@pytest.mark.parametrize("channels", [(0, 4), (4, 0)])
def test_a_memory_of_no_channels_is_one_sentence(channels: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match=r"^Memory's (key|value) channels came as 0, expected a whole number, 1 or more"
    ):
        Memory(2, *channels)


def test_gradient_reaches_keys_values_temperature_and_query() -> None:
    model = memory()
    query = queries().requires_grad_()
    model(query).value.square().sum().backward()
    for tensor in (*model.parameters(), query):
        assert tensor.grad.abs().sum() > 0
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("arguments", [{"shrink": 0.0}, {"shrink": 0.2}])
def test_gradcheck(arguments: dict[str, float]) -> None:
    """Exact wherever the cut is a constant, below half of the largest weight."""
    model = memory(items=5, temperature=3.0, **arguments).double()
    query = queries(1)[..., :2, :2].double().requires_grad_()

    def value(query: Tensor, keys: Tensor, values: Tensor, log_temperature: Tensor) -> Tensor:
        weights = {"keys": keys, "values": values, "log_temperature": log_temperature}
        return torch.func.functional_call(model.eval(), weights, (query,)).value

    assert torch.autograd.gradcheck(value, (query, *model.parameters()))


def test_usage_counts_dead_items_and_the_effective_number() -> None:
    model = axes(temperature=1000.0, shrink=1.0).train()
    model(torch.eye(4)[:2].view(2, 4, 1, 1))
    usage = model.pop_usage()
    assert usage["dead"] == 2
    assert usage["perplexity"].item() == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize(("used", "dead", "perplexity"), [(1, 3, 1), (4, 0, 4)])
def test_usage_ranges_from_collapse_to_all_items(used: int, dead: int, perplexity: float) -> None:
    model = axes(temperature=1000.0, shrink=1.0).train()
    model(torch.eye(4)[:used].view(used, 4, 1, 1))
    usage = model.pop_usage()
    assert usage["dead"] == dead
    assert usage["perplexity"].item() == pytest.approx(perplexity, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_usage_of_half_precision_is_a_number(dtype: torch.dtype) -> None:
    model = axes(temperature=1000.0, shrink=1.0).to(dtype).train()
    assert model.pop_usage() == {"dead": 4, "perplexity": 1}, "nothing was used"
    model(torch.eye(4, dtype=dtype)[:1].view(1, 4, 1, 1))
    assert model.pop_usage() == {"dead": 3, "perplexity": 1}


def test_usage_starts_anew_and_counts_training_only() -> None:
    model = axes(temperature=1000.0, shrink=1.0)
    model.train()(as_query(1.0, 0.0, 0.0, 0.0))
    model.pop_usage()
    model.eval()(as_query(0.0, 1.0, 0.0, 0.0))
    assert model.usage.sum() == 0
    assert model.pop_usage()["dead"] == 4
    assert "usage" not in model.state_dict()


def test_exports_agree(tmp_path: Path) -> None:
    assert_exports_agree(memory(), queries(), tmp_path)

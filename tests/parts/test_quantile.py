"""A quantile is exceeded as seldom as it says, by the next value, from few values and from many."""

import pytest
import torch

from anomalib_stc.parts.quantile import upper_quantile


def exceeded(drawn: torch.Tensor, rate: float) -> float:
    """Return how often the first value of a row is above the quantile of the others."""
    above = [upper_quantile(row[1:], 1 - rate) < row[0] for row in drawn]
    return torch.stack(above).float().mean().item()


@pytest.mark.parametrize(("rate", "count"), [(0.05, 19), (0.05, 20), (0.01, 100), (0.1, 54)])
def test_the_next_value_is_above_it_at_the_rate(rate: float, count: int) -> None:
    """Whatever the distribution, here log-normal; within four standard errors."""
    drawn = torch.randn(4000, count + 1, generator=torch.Generator().manual_seed(count)).exp()
    assert exceeded(drawn, rate) == pytest.approx(rate, abs=4 * (rate / 4000) ** 0.5)


@pytest.mark.parametrize(("rate", "count"), [(0.05, 3), (0.05, 18), (0.01, 6), (0.01, 98)])
def test_of_fewer_normal_values_it_is_not_more(rate: float, count: int) -> None:
    drawn = torch.randn(2000, count + 1, generator=torch.Generator().manual_seed(count))
    assert exceeded(drawn, rate) < rate + 4 * (rate / 2000) ** 0.5


@pytest.mark.parametrize(("count", "quantile"), [(19, 0.95), (99, 0.99), (9, 0.9)])
def test_the_highest_of_just_enough_is_it(count: int, quantile: float) -> None:
    values = torch.arange(float(count)) ** 2
    assert upper_quantile(values, quantile).item() == values.max()


def test_of_few_it_is_the_prediction_limit() -> None:
    expected = 1 + 6.9645567 * (4 / 3) ** 0.5  # Student's t for 0.99 and two degrees of freedom
    assert upper_quantile(torch.tensor([0.0, 1.0, 2.0]), 0.99).item() == pytest.approx(expected, rel=1e-6)
    assert upper_quantile(torch.tensor([3.0]), 0.99).item() == 3.0


def test_there_may_be_more_values_than_torch_takes() -> None:
    values = torch.zeros(17_000_000)
    values[:4_000_000] = 1.0
    assert upper_quantile(values, 0.97) == 1
    assert upper_quantile(values, 0.5) == 0


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_a_wrong_share_is_one_sentence(quantile: float) -> None:
    with pytest.raises(ValueError, match=r"^Quantile .* came where a share between 0 and 1 is expected: choose .*\.$"):
        upper_quantile(torch.rand(5), quantile)


@pytest.mark.parametrize("values", [torch.empty(0), torch.tensor([1.0, torch.nan]), torch.tensor([torch.inf])])
def test_values_that_are_none_are_one_sentence(values: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"^[0-9]+ values came where one at least, and finite ones only, are .*\.$"):
        upper_quantile(values, 0.9)

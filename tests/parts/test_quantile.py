"""A quantile is exceeded as seldom as it says, by the next value, from few values and from many."""

import pytest
import torch

from anomalib_stc.parts.quantile import upper_quantile


def drawn(kind: str, rows: int, count: int) -> torch.Tensor:
    """Rows of values of a distribution: the first three are about normal once their cube root is taken."""
    normal = torch.randn(3, rows, count, generator=torch.Generator().manual_seed(count))
    return {
        "squares": normal.square().sum(0),
        "exponential": normal[:2].square().sum(0),
        "far from zero": normal[0] + 20,
        "heavy": (1.5 * normal[0]).exp(),
        "two kinds": normal[0] + 20 + 8 * (normal[1] > 1.645),  # a twentieth is of another kind
    }[kind]


def exceeded(values: torch.Tensor, rate: float) -> float:
    """Return how often the first value of a row is above the quantile of the others."""
    above = [upper_quantile(row[1:], 1 - rate) < row[0] for row in values]
    return torch.stack(above).float().mean().item()


@pytest.mark.parametrize("kind", ["squares", "exponential", "far from zero"])
@pytest.mark.parametrize(("rate", "count"), [(0.05, 3), (0.05, 19), (0.01, 60), (0.1, 54)])
def test_the_next_value_is_above_it_at_the_rate(kind: str, rate: float, count: int) -> None:
    """Within four standard errors, and a tenth of the rate."""
    assert exceeded(drawn(kind, 4000, count + 1), rate) == pytest.approx(rate, abs=4 * (rate / 4000) ** 0.5 + rate / 10)


@pytest.mark.parametrize("kind", ["heavy", "two kinds"])
@pytest.mark.parametrize(("count", "most"), [(60, 0.08), (200, 0.075), (3000, 0.058)])
def test_of_other_values_it_comes_near_the_rate_with_their_number(kind: str, count: int, most: float) -> None:
    """Here 0.05. What chance explains of 3,000 is .058 at most."""
    values = drawn(kind, 1000, count + 1)
    above = torch.stack([(row > upper_quantile(row[:count], 0.95)).float().mean() for row in values])
    assert 0.04 < above.mean() < most


def test_it_varies_less_than_the_quantile_itself() -> None:
    rows = drawn("squares", 500, 60)
    limits = torch.stack([upper_quantile(row, 0.95) for row in rows])
    assert limits.std() < 0.85 * rows.quantile(0.95, dim=1, interpolation="midpoint").std()


@pytest.mark.parametrize(("count", "most"), [(20, 2), (200, 15), (1000, 62)])
def test_chance_explains_how_many_are_above_it(count: int, most: int) -> None:
    """A tenth is far above all others: of 200 values, sixteen or more would be above the quantile in .044 of cases."""
    values = torch.cat([torch.zeros(count * 9 // 10), torch.linspace(1, 2, count // 10)])
    assert (values > upper_quantile(values, 0.95)).sum() == most


def test_chance_explains_how_few_are_above_it() -> None:
    """None of 58 values is above the quantile in .051 of all cases, of 60 in .046."""
    assert upper_quantile(torch.arange(58.0) % 2, 0.95) > 2
    assert upper_quantile(torch.arange(60.0) % 2, 0.95) == 1


def test_of_few_it_is_the_prediction_limit_of_cube_roots() -> None:
    expected = (1 + 6.9645567 * (4 / 3) ** 0.5) ** 3  # Student's t for 0.99 and two degrees of freedom
    assert upper_quantile(torch.tensor([0.0, 1.0, 8.0]), 0.99).item() == pytest.approx(expected, rel=1e-6)
    assert upper_quantile(torch.tensor([3.0]), 0.99).item() == 3.0
    assert upper_quantile(torch.tensor([3.0]), 0.5).item() == 3.0


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

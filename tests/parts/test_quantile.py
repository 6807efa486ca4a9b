"""The empirical quantile is torch's, of any number of values; what few values tell is tested with the thresholds."""

import pytest
import torch

from anomalib_stc.parts.quantile import upper_quantile


@pytest.mark.parametrize("count", [100, 101, 1000, 4321])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.97])
def test_it_is_torchs(count: int, quantile: float) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count))
    expected = torch.quantile(values.double(), quantile).float()
    assert upper_quantile(values, quantile).item() == expected.item()


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

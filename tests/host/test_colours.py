"""Anomaly maps have one scale of colours: red begins above the threshold, a value has one colour everywhere."""

from typing import Any

import numpy as np
import pytest
import torch

from anomalib_stc.host.colours import coloured

BELOW = torch.linspace(0, 0.5, 256).reshape(1, 16, 16)
ABOVE = torch.linspace(0.501, 1, 256).reshape(1, 16, 16)


def pixels(anomaly_map: Any, threshold: float = 0.5) -> np.ndarray:
    """Colours (n, 3) of a map's pixels."""
    return np.asarray(coloured(anomaly_map, threshold)).reshape(-1, 3).astype(int)


def test_nothing_up_to_the_threshold_is_red() -> None:
    assert pixels(BELOW)[:, 0].max() == 0
    assert pixels(BELOW)[:, 2].min() > 100


def test_everything_above_the_threshold_is() -> None:
    colours = pixels(ABOVE)
    assert colours[:, 2].max() == 0
    assert (colours[:, 0] > colours[:, 1]).all()


def test_a_value_has_the_same_colour_whatever_else_is_in_the_map() -> None:
    values = torch.linspace(0, 0.7, 16)
    alone, beside = values.reshape(4, 4), torch.cat([values, torch.ones(16)]).reshape(8, 4)
    assert np.array_equal(pixels(alone), pixels(beside)[:16])


@pytest.mark.parametrize("threshold", [0.3, 0.8, 3.0])
def test_the_threshold_may_be_another(threshold: float) -> None:
    values = torch.linspace(0, 4, 400).reshape(20, 20)
    red = pixels(values, threshold)[:, 0] > 0
    assert np.array_equal(red, (values > threshold).flatten().numpy())


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_at_an_end_leaves_one_half_of_the_scale(threshold: float) -> None:
    values = torch.linspace(0.01, 1, 100).reshape(10, 10)
    assert ((pixels(values, threshold)[:, 0] > 0) == (threshold == 0)).all()


def test_a_raw_map_has_its_scale_too() -> None:
    low, high, higher = pixels(torch.tensor([[2.9, 3.1, 5.9]]), threshold=3.0)
    assert np.array_equal(low, pixels(torch.tensor([[2.9 / 6]]))[0])
    assert np.abs(high - pixels(torch.tensor([[3.1 / 6]]))[0]).max() <= 1
    assert np.abs(higher - pixels(torch.tensor([[5.9 / 6]]))[0]).max() <= 1


def test_values_out_of_range_are_those_of_its_ends() -> None:
    assert np.array_equal(pixels(torch.tensor([[-3.0, 40.0]])), pixels(torch.tensor([[0.0, 1.0]])))


@pytest.mark.parametrize("kind", [lambda m: m[0], lambda m: m[0].numpy(), lambda m: m.bfloat16().float().bfloat16()])
def test_maps_come_in_many_kinds(kind: Any) -> None:
    anomaly_map = torch.tensor([[[0.25, 0.5], [0.75, 1]]])
    assert np.array_equal(pixels(kind(anomaly_map)), pixels(anomaly_map))


def test_each_half_of_the_scale_changes_with_every_step_of_a_hundredth() -> None:
    steps = pixels(torch.linspace(0, 1, 101)[None])
    assert len(np.unique(steps, axis=0)) == 101

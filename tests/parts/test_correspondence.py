"""How far a read-out is from the features, by closed forms."""

import pytest
import torch
from torch import Tensor

from anomalib_stc.parts.correspondence import angle, distance, value_loss
from anomalib_stc.parts.rounding import EPSILON


def maps(*vectors: list[float]) -> Tensor:
    """Feature maps (1, D, 1, positions), a vector a position."""
    return torch.tensor(vectors).T[None, :, None]


def test_equal_features_are_at_no_distance() -> None:
    features = maps([3.0, 4.0], [0.0, 1.0])
    assert distance(features, features).max().item() == pytest.approx(EPSILON**0.5)
    assert angle(features, features).abs().max() < 1e-6
    assert value_loss(features, features) == 0


def test_closed_forms() -> None:
    texture, features = maps([3.0, 4.0], [2.0, 0.0]), maps([0.0, 0.0], [0.0, 2.0])
    torch.testing.assert_close(distance(texture, features), maps([5.0], [8**0.5]))
    torch.testing.assert_close(angle(texture, features)[..., 1:], maps([1.0]))
    assert value_loss(texture, features).item() == pytest.approx((25 + 8) / 4)


def test_the_angle_is_blind_to_length() -> None:
    texture = maps([3.0, 4.0])
    torch.testing.assert_close(angle(texture, maps([1.0, 0.0])), angle(5 * texture, maps([0.1, 0.0])))

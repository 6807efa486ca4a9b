"""The score is the calibrated, weighted, smoothed mean of its terms, by closed forms."""

from math import inf, nan
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.score import AnomalyScore, top
from tests.parts.exported import assert_exports_agree

SIZE = (24, 32)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class OfImage(nn.Module):
    """Residuals of two resolutions made from the channels of an image."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.score = AnomalyScore({"fine": 1.0, "coarse": 2.0}, 2.0, reduction)
        self.score.calibrate({"fine": torch.tensor(0.3), "coarse": torch.tensor(2.0)})

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.score({"fine": image[:, :1], "coarse": image[:, 1:2, ::4, ::4]}, image.shape[-2:])


def plain(weights: dict[str, float], sigma: float = 0.0) -> AnomalyScore:
    """A score whose scales are all one."""
    score = AnomalyScore(weights, sigma)
    score.calibrate(dict.fromkeys(weights, torch.tensor(1.0)))
    return score


def test_map_is_the_weighted_mean_of_calibrated_terms() -> None:
    score = AnomalyScore({"a": 3.0, "b": 1.0}, sigma=0.0)
    score.calibrate({"b": torch.tensor(0.5), "a": torch.tensor(2.0)})
    first, second = noise(2, 1, *SIZE), noise(4, 1, *SIZE)[2:]
    anomaly_map, _ = score({"a": first, "b": second}, SIZE)
    torch.testing.assert_close(anomaly_map, (3 * first / 2 + second / 0.5) / 4)


def test_calibrated_terms_average_to_one_on_what_calibrated_them() -> None:
    score = AnomalyScore({"a": 0.7, "b": 0.2}, sigma=0.0)
    residuals = {"a": noise(3, 1, *SIZE) * 50, "b": noise(3, 1, *SIZE) * 1e-3}
    score.calibrate({name: term.mean() for name, term in residuals.items()})
    assert score(residuals, SIZE)[0].mean().item() == pytest.approx(1, abs=1e-5)


def test_terms_of_weight_zero_are_not_needed() -> None:
    score = plain({"a": 0.0, "b": 1.0})
    assert torch.equal(score({"b": noise(1, 1, *SIZE)}, SIZE)[0], noise(1, 1, *SIZE))


def test_coarse_terms_are_brought_to_size() -> None:
    coarse = noise(2, 1, 6, 8)
    anomaly_map, score = plain({"a": 1.0})({"a": coarse}, SIZE)
    expected = F.interpolate(coarse, SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(anomaly_map, expected)
    torch.testing.assert_close(score, expected.amax((1, 2, 3)))


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_smoothing_is_a_gaussian(sigma: float) -> None:
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1.0
    blurred = AnomalyScore({"a": 1.0}, sigma).smooth(point)[0, 0]
    assert blurred.sum().item() == pytest.approx(1, abs=1e-4)
    offsets = torch.arange(-10.0, 11.0)
    expected = (-offsets.square() / (2 * sigma**2)).exp()
    torch.testing.assert_close(blurred[20, 10:31] / blurred[20, 20], expected * (expected > 0.012), atol=0.012, rtol=0)


def test_smoothing_leaves_a_constant_map_alone() -> None:
    flat = torch.full((2, 1, *SIZE), 0.7)
    torch.testing.assert_close(AnomalyScore({"a": 1.0}, 3.0).smooth(flat), flat)


@pytest.mark.parametrize("reduction", ["max", "top", "mean"])
def test_image_score_is_of_the_smoothed_map(reduction: str) -> None:
    anomaly_map, score = OfImage(reduction)(noise(3, 3, *SIZE))
    assert score.shape == (3,)
    cells = F.avg_pool2d(anomaly_map, 4).flatten(1).sort(descending=True).values
    expected = {"max": anomaly_map.amax((1, 2, 3)), "top": cells[:, :1].mean(1), "mean": anomaly_map.mean((1, 2, 3))}
    torch.testing.assert_close(score, expected[reduction])


def test_top_is_the_mean_of_a_hundredth_of_the_cells() -> None:
    anomaly_map = torch.zeros(1, 1, 80, 80)  # 400 cells, of which 4 count
    anomaly_map[..., 8:16, 4:8] = torch.tensor([3.0, 1.0]).repeat_interleave(4)[:, None]
    assert top(anomaly_map).item() == pytest.approx((3 + 1 + 0 + 0) / 4)
    assert top(torch.full((2, 1, 1, 1), 5.0)).tolist() == [5, 5]


def test_a_perfect_reconstruction_calibrates_without_dividing_by_zero() -> None:
    score = AnomalyScore({"a": 1.0}, sigma=0.0)
    score.calibrate({"a": torch.tensor(0.0)})
    assert score({"a": noise(1, 1, *SIZE)}, SIZE)[0].isfinite().all()


def test_scale_travels_with_the_state() -> None:
    trained, fresh = OfImage("max"), OfImage("max")
    trained.score.calibrate({"fine": torch.tensor(9.0), "coarse": torch.tensor(7.0)})
    fresh.load_state_dict(trained.state_dict())
    assert (fresh.score.scale_fine, fresh.score.scale_coarse) == (9, 7)


def test_a_score_is_calibrated_when_every_weighted_term_has_a_scale() -> None:
    score = AnomalyScore({"a": 1.0, "b": 0.0}, sigma=0.0)
    assert not score.calibrated
    assert score({"a": noise(1, 1, *SIZE)}, SIZE)[1].isnan(), "never a number that looks like a score"
    score.calibrate({"b": torch.tensor(1.0)})
    assert not score.calibrated
    score.calibrate({"a": torch.tensor(1.0)})
    assert score.calibrated


def test_weights_may_change_between_saving_and_loading() -> None:
    saved = plain({"a": 1.0, "b": 0.0})
    loaded = AnomalyScore({"a": 0.0, "b": 1.0}, sigma=0.0)
    loaded.load_state_dict(saved.state_dict())
    assert loaded.calibrated


@pytest.mark.parametrize("sigma", [1e-300, 1e-30, 0.1])
def test_a_gaussian_within_a_pixel_leaves_the_map_alone(sigma: float) -> None:
    assert torch.equal(AnomalyScore({"a": 1.0}, sigma).smooth(noise(1, 1, *SIZE)), noise(1, 1, *SIZE))


@pytest.mark.parametrize("sigma", [-1.0, nan, inf])
def test_a_wrong_width_is_one_sentence(sigma: float) -> None:
    with pytest.raises(ValueError, match=rf"^Smoothing came as {sigma}, expected 0 pixels or more, as 4\.$"):
        AnomalyScore({"a": 1.0}, sigma)


@pytest.mark.parametrize(("side", "widest"), [(64, 21), (80, 26), (256, 85)])
def test_a_gaussian_wider_than_the_map_is_one_sentence(side: int, widest: int) -> None:
    """The sentence names the widest that fits."""
    sentence = rf"^Smoothing came as 90\.0, expected at most {widest} pixels where a side has {side}\.$"
    score = AnomalyScore({"a": 1.0}, 90.0)
    for ask in (lambda: score.check_size((side, 300)), lambda: score.smooth(noise(1, 1, side, 300))):
        with pytest.raises(ValueError, match=sentence):
            ask()
    fits = AnomalyScore({"a": 1.0}, float(widest))
    fits.check_size((side, 300))
    assert fits.smooth(noise(1, 1, side, 300)).isfinite().all()


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": -1.0}, {"a": nan}, {"a": inf}])
def test_wrong_weights_are_one_sentence(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^Score weights are .*, expected numbers from 0 to 1e\+06, one .*\.$"):
        AnomalyScore(weights, 1.0)


def test_unknown_reduction_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Image score is 'median', expected one of max, top, mean: choose .*\.$"):
        AnomalyScore({"a": 1.0}, 1.0, "median")


@pytest.mark.parametrize("reduction", ["max", "top", "mean"])
def test_exports_agree(tmp_path: Path, reduction: str) -> None:
    assert_exports_agree(OfImage(reduction), torch.rand(2, 3, *SIZE), tmp_path)

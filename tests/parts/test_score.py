"""The score is the smoothed, weighted mean of how rare its terms are, by closed forms."""

from math import inf, nan
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_stc.parts.score import REDUCTIONS, AnomalyScore, level, lowered, top
from anomalib_stc.parts.sizes import CELL, resize_maps
from anomalib_stc.parts.tail import KNOTS, STEP
from tests.parts.exported import assert_exports_agree

SIZE = (24, 32)
GRID = (6, 8)  # of cells
PLAIN = torch.cat([STEP * torch.arange(KNOTS), torch.ones(1)])  # residuals from 0 to 3.9 are as rare as large


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def plain(weights: dict[str, float], sigma: float = 0.0, reduction: str = "max", bank: str = "") -> AnomalyScore:
    """A score whose rarities are its residuals; terms of one letter, those of a bank in one word."""
    score = AnomalyScore(weights, sigma, reduction, bank)
    for name in weights:
        score.scale(name).copy_(PLAIN)
    return score


def shown(cells: Tensor) -> Tensor:
    """The map of an image that is no stranger everywhere than normal ones."""
    return resize_maps(lowered(cells, level(cells)), SIZE)


class OfImage(nn.Module):
    """Map, and image score of every kind, of residuals of two resolutions made from the channels of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.ModuleList(AnomalyScore({"fine": 1.0, "coarse": 2.0}, 6.0, kind) for kind in REDUCTIONS)
        for score in self.scores:
            score.calibrate({"fine": noise(500) / 3, "coarse": 2 * noise(500)})

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        residuals = {"fine": image[:, :1, ::4, ::4], "coarse": image[:, 1:2, ::8, ::8]}
        found = [score(residuals, image.shape[-2:]) for score in self.scores]
        return (found[0][0], *(score for _, score in found))


def test_map_is_the_weighted_mean_of_rarities() -> None:
    score = plain({"a": 3.0, "b": 1.0})
    score.scale_a.mul_(2)
    score.scale_b.mul_(0.5)
    first, second = noise(2, 1, *GRID), noise(4, 1, *GRID)[2:]
    anomaly_map, _ = score({"a": first, "b": second}, SIZE)
    torch.testing.assert_close(anomaly_map, shown((3 * first / 2 + second / 0.5) / 4))


def test_terms_average_to_one_on_what_calibrated_them() -> None:
    """Whatever their size: the logarithm of a share has that mean."""
    score = AnomalyScore({"a": 0.7, "b": 0.2}, sigma=0.0)
    residuals = {"a": noise(30, 1, *GRID) * 50, "b": noise(30, 1, *GRID).square() / 9}
    score.calibrate(residuals)
    assert score.combine(residuals, GRID).mean().item() == pytest.approx(1, abs=0.03)
    for name, residual in residuals.items():
        assert score.rarity(name, residual).mean().item() == pytest.approx(1, abs=0.03)


def test_curves_keep_no_gradient() -> None:
    score = AnomalyScore({"a": 1.0}, sigma=0.0)
    score.calibrate({"a": noise(1, 1, *GRID).requires_grad_()})
    assert not score.scale_a.requires_grad


def test_terms_of_weight_zero_are_not_needed() -> None:
    score = plain({"a": 0.0, "b": 1.0})
    torch.testing.assert_close(score({"b": noise(1, 1, *GRID)}, SIZE)[0], shown(noise(1, 1, *GRID)))


def test_coarse_terms_are_brought_to_size() -> None:
    coarse = noise(2, 1, 3, 4)
    anomaly_map, score = plain({"a": 1.0})({"a": coarse}, SIZE)
    cells = F.interpolate(coarse, GRID, mode="bilinear", align_corners=False)
    above = lowered(cells, level(cells))
    torch.testing.assert_close(anomaly_map, F.interpolate(above, SIZE, mode="bilinear", align_corners=False))
    torch.testing.assert_close(score, cells.amax((1, 2, 3)))


@pytest.mark.parametrize("sigma", [4.0, 16.0])
def test_smoothing_is_a_gaussian(sigma: float) -> None:
    """In pixels, of which a cell has four."""
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1.0
    blurred = AnomalyScore({"a": 1.0}, sigma).smooth(point)[0, 0]
    assert blurred.sum().item() == pytest.approx(1, abs=1e-4)
    offsets = CELL * torch.arange(-10.0, 11.0)
    expected = (-offsets.square() / (2 * sigma**2)).exp()
    torch.testing.assert_close(blurred[20, 10:31] / blurred[20, 20], expected * (expected > 0.012), atol=0.012, rtol=0)


def test_smoothing_leaves_a_constant_map_alone() -> None:
    flat = torch.full((2, 1, *SIZE), 0.7)
    torch.testing.assert_close(AnomalyScore({"a": 1.0}, 12.0).smooth(flat), flat)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_image_score_is_of_the_smoothed_map(reduction: str) -> None:
    """Of its cells, before it is brought to the image's size."""
    score = plain({"a": 1.0}, 6.0, reduction)
    anomaly_map, found = score({"a": noise(3, 1, *GRID)}, SIZE)
    cells = score.smooth(noise(3, 1, *GRID))
    torch.testing.assert_close(anomaly_map, shown(cells))
    flat = cells.flatten(1)
    expected = {"max": flat.amax(1), "top": flat.amax(1) - level(cells), "mean": flat.mean(1)}
    torch.testing.assert_close(found, expected[reduction])


def test_the_level_is_the_median() -> None:
    """Of cells twice as wide: what a tenth of the cells has does not move it."""
    cells = torch.full((2, 1, 20, 20), 5.0)
    cells[..., :2, :] = 9.0
    assert level(cells).tolist() == [5, 5]
    wide = noise(2, 1, 8, 12)
    torch.testing.assert_close(level(wide), F.avg_pool2d(wide, 2).flatten(1).median(1).values)


def test_top_is_the_mean_of_a_hundredth_of_the_cells_above_the_level() -> None:
    cells = torch.full((1, 1, 20, 20), 5.0)  # 400, of which 4 count
    cells[..., 2:4, 1] = torch.tensor([8.0, 6.0])
    assert top(cells, torch.tensor([5.0])).item() == pytest.approx((3 + 1 + 0 + 0) / 4)
    assert top(torch.full((2, 1, 1, 1), 5.0), torch.tensor([5.0, 5.0])).tolist() == [0, 0]


def test_neither_map_nor_image_score_sees_what_is_everywhere() -> None:
    """As another light; other image scores do."""
    rare = noise(2, 1, *GRID)
    for reduction in REDUCTIONS:
        score = plain({"a": 1.0}, reduction=reduction)
        (one, first), (other, second) = (score({"a": rare + more}, SIZE) for more in (0.0, 2.0))
        torch.testing.assert_close(other, one, atol=1e-5, rtol=0)
        torch.testing.assert_close(second, first + (0 if reduction == "top" else 2), atol=1e-5, rtol=0)


def test_what_is_stranger_everywhere_than_any_normal_image_is_seen() -> None:
    """A black image is as strange everywhere as can be, and no normal one."""
    score = plain({"a": 1.0, "b": 1.0}, reduction="top", bank="b")
    normals = noise(5, 1, *GRID)
    score.know(normals)
    known = score.reduce(normals)
    torch.testing.assert_close(known, top(normals, level(normals)))
    everywhere = torch.full((1, 1, *GRID), 3.0)
    anomaly_map, found = score({"a": everywhere / 3, "b": everywhere}, SIZE)
    expected = 3 - level(normals).max()[None]
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
    torch.testing.assert_close(anomaly_map, expected.expand_as(anomaly_map), atol=0.05, rtol=0)
    assert found > known.max()


@pytest.mark.parametrize(
    ("weights", "telling"),
    [
        ({"a": 1.0, "b": 1.0, "c": 3.0, "d": 1.0}, {"b": 1.0, "c": 3.0}),
        ({"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}, {"b": 1.0}),
        ({"a": 1.0, "b": 0.0, "c": 0.0, "d": 2.0}, {"a": 1.0, "d": 2.0}),
    ],
    ids=["bank", "a part of it", "own terms where the bank has no weight"],
)
def test_the_image_score_is_told_by_the_bank(weights: dict[str, float], telling: dict[str, float]) -> None:
    """The map has all terms."""
    score = plain(weights, 6.0, "top", bank="bc")
    residuals = {name: noise(place, 1, *GRID)[-2:] for place, name in enumerate("abcd", 2)}
    anomaly_map, found = score(residuals, SIZE)
    torch.testing.assert_close(anomaly_map, plain(weights, 6.0)(residuals, SIZE)[0])
    expected = plain(telling, 6.0, "top")({name: residuals[name] for name in telling}, SIZE)[1]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        score.reduce(score.telling_cells({name: residuals[name] for name in telling}, SIZE)), expected
    )
    assert score.by_bank == ("a" not in telling)
    assert score.own == ("a", "d")


def test_all_curves_are_forgotten() -> None:
    """A bank may have changed too, and by default it scores alone."""
    score = plain({"a": 0.0, "b": 1.0}, bank="b")
    score.forget()
    assert score.scale_a.isnan().all()
    assert score.scale_b.isnan().all()
    assert not score.calibrated


def test_a_perfect_reconstruction_calibrates_without_dividing_by_zero() -> None:
    score = AnomalyScore({"a": 1.0}, sigma=0.0)
    score.calibrate({"a": torch.zeros(9)})
    assert score({"a": noise(1, 1, *GRID)}, SIZE)[0].isfinite().all()


def test_curves_travel_with_the_state() -> None:
    trained, fresh = plain({"a": 1.0, "b": 1.0}), AnomalyScore({"a": 1.0, "b": 1.0}, 0.0)
    trained.calibrate({"a": 9 * noise(50), "b": 7 * noise(60)})
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.scale_a, trained.scale_a)
    assert torch.equal(fresh.scale_b, trained.scale_b)


def test_a_score_is_calibrated_when_every_weighted_term_has_a_curve() -> None:
    score = AnomalyScore({"a": 1.0, "b": 0.0}, sigma=0.0)
    assert not score.calibrated
    assert score({"a": noise(1, 1, *GRID)}, SIZE)[1].isnan(), "never a number that looks like a score"
    score.calibrate({"b": noise(9)})
    assert not score.calibrated
    score.calibrate({"a": noise(9)})
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
    with pytest.raises(ValueError, match=rf"^Smoothing came as {sigma}, expected 0 pixels or more, as 2\.$"):
        AnomalyScore({"a": 1.0}, sigma)


@pytest.mark.parametrize(("side", "widest"), [(64, 20), (80, 25), (256, 84)])
def test_a_gaussian_wider_than_the_map_is_one_sentence(side: int, widest: int) -> None:
    """The sentence names the widest that fits."""
    sentence = rf"^Smoothing came as 90\.0, expected at most {widest} pixels where a side has {side}\.$"
    score = AnomalyScore({"a": 1.0}, 90.0)
    for ask in (lambda: score.check_size((side, 300)), lambda: score.smooth(noise(1, 1, side // CELL, 75))):
        with pytest.raises(ValueError, match=sentence):
            ask()
    fits = AnomalyScore({"a": 1.0}, float(widest))
    fits.check_size((side, 300))
    assert fits.smooth(noise(1, 1, side // CELL, 75)).isfinite().all()


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": -1.0}, {"a": nan}, {"a": inf}])
def test_wrong_weights_are_one_sentence(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^Score weights are .*, expected numbers from 0 to 1e\+06, one .*\.$"):
        AnomalyScore(weights, 1.0)


def test_unknown_reduction_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Image score is 'median', expected one of top, max, mean: choose .*\.$"):
        AnomalyScore({"a": 1.0}, 1.0, "median")


def test_exports_agree(tmp_path: Path) -> None:
    assert_exports_agree(OfImage(), torch.rand(2, 3, *SIZE), tmp_path)

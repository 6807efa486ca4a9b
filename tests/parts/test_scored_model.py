"""A model with a bank knows what it was prepared from, each image by the others."""

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anomalib_stc.parts.bank import BANK_WEIGHTS, DEEP, FINE, LOCAL, PIXEL, TERMS, MemoryBank
from anomalib_stc.parts.features import GRID_STRIDE, texture_features
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import ScoredModel

SIDE = 64
OWN = "own"
WEIGHTS = {**BANK_WEIGHTS, OWN: 1.0}


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


class Small(ScoredModel):
    """A model whose own term is the red of every cell."""

    def __init__(self, weights: dict[str, float], with_bank: bool = True) -> None:
        super().__init__()
        self.features = texture_features("none")
        self.bank = MemoryBank(self.features, 24) if with_bank else None
        self.score = AnomalyScore(weights, 4.0, "top", TERMS, LOCAL)
        self.weight = nn.Parameter(torch.zeros(1))

    def start(self, images: list[Tensor], features: list[Tensor], seed: int) -> None:
        self.started = torch.cat(images), torch.cat(features), seed

    def learn(self, image: Tensor) -> Any:
        raise NotImplementedError

    def infer(self, image: Tensor) -> Any:
        return SimpleNamespace(seen=self.features.see(image))

    def own_residuals(self, inferred: Any, names: Collection[str]) -> dict[str, Tensor]:
        return dict.fromkeys(names, inferred.seen.image[:, :1, ::GRID_STRIDE, ::GRID_STRIDE])


def prepared(weights: dict[str, float], normals: Tensor, held_out: int = 2) -> Small:
    """A model prepared from images, of which the first are held out."""
    model = Small({**WEIGHTS, **weights}).eval()
    model.prepare(list(normals[held_out:].split(3)), 7, list(normals[:held_out].split(2)))
    return model


def test_a_bank_knows_held_out_images_and_training_does_not() -> None:
    normals = images(6)
    model = prepared({}, normals)
    started, features, seed = model.started
    assert torch.equal(started, normals[2:])
    assert torch.equal(features, model.features(normals[2:]))
    assert seed == 7
    assert set(model.bank.depths[PIXEL].source.tolist()) == set(range(6))


@torch.no_grad()
def test_known_scores_are_those_of_images_that_are_compared_with_others() -> None:
    normals = images(5)
    model = prepared({}, normals)
    crossed = model.bank.crossed([model.features.see(normals)], model.score.telling)
    expected = model.score.reduce(model.score.telling_cells(crossed, normals.shape[-2:]))
    torch.testing.assert_close(model.known_scores, expected)
    model.calibrate(lambda: iter([normals]))
    assert (model(normals).pred_score != expected).all(), "the model knows them"


@torch.no_grad()
def test_an_image_that_is_left_out_is_told_by_its_number() -> None:
    normals = images(5)
    model = prepared({}, normals)
    model.calibrate(lambda: iter([normals]))
    alone = [model.predict(normals[n : n + 1], model.infer(normals[n : n + 1]), [n]).anomaly_map for n in range(5)]
    together = model.predict(normals, model.infer(normals), range(5)).anomaly_map
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(model(normals).anomaly_map, together), "who is not left out knows itself"


@torch.no_grad()
def test_curves_of_the_bank_are_of_images_that_are_left_out() -> None:
    """Those of what is trained wait for its calibration."""
    normals = images(5)
    model = prepared({}, normals)
    assert model.score.scale(OWN).isnan().all()
    for name, distance in model.bank.without(model.features.see(normals), range(len(normals)), TERMS).items():
        assert model.score.rarity(name, distance).mean().item() == pytest.approx(1, abs=0.1), name
    curves = {name: model.score.scale(name).clone() for name in TERMS}
    model.calibrate(lambda: iter(normals.split(2)))
    assert model.score.calibrated
    assert all(torch.equal(model.score.scale(name), curve) for name, curve in curves.items())


def test_remembering_gives_the_scores_of_other_weights() -> None:
    """As if it had been prepared with these."""
    normals = images(5)
    model, other = prepared({}, normals), prepared({FINE: 0.0, DEEP: 3.0}, normals)
    loaded = Small({**WEIGHTS, FINE: 0.0, DEEP: 3.0})
    loaded.load_state_dict(model.state_dict())
    torch.testing.assert_close(loaded.known_scores, model.known_scores)
    loaded.remember([normals[:2], normals[2:]])
    torch.testing.assert_close(loaded.known_scores, other.known_scores)
    assert not torch.allclose(loaded.known_scores, model.known_scores)


def test_remembering_without_weights_of_a_bank_leaves_nothing_of_it() -> None:
    """As a model that never scored by its bank: no limit on the level of an image, no scores of its images."""
    without, normals = dict.fromkeys(TERMS, 0.0), images(5)
    model, other, loaded = prepared({}, normals), prepared(without, normals), Small({**WEIGHTS, **without})
    loaded.load_state_dict(model.state_dict())
    loaded.remember([normals])
    assert loaded.score.scale_bank_level == other.score.scale_bank_level > model.score.scale_bank_level
    assert loaded.bank.known_scores.numel() == 0


@torch.no_grad()
def test_without_a_bank_nothing_is_known() -> None:
    """Nor where no depth of it has a weight: then its own terms tell images apart."""
    normals = images(4)
    assert prepared(dict.fromkeys(TERMS, 0.0), normals).known_scores is None
    model = Small({OWN: 1.0}, with_bank=False).eval()
    model.prepare([normals], 0)
    model.remember([normals])
    model.calibrate(lambda: iter([normals]))
    assert model.known_scores is None
    assert set(model.residuals(model.infer(normals), [OWN])) == {OWN}
    assert model(normals).pred_score.isfinite().all()


def test_terms_are_computed_where_they_are_asked_for() -> None:
    model = prepared({}, images(3))
    inferred = model.infer(images(2, seed=1))
    for names in ([OWN], [PIXEL], [OWN, DEEP], []):
        assert set(model.residuals(inferred, names)) == set(names)

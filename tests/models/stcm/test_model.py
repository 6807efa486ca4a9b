"""STCM keeps the contract of every model, and its own promises."""

from typing import Any

import pytest
import torch

from anomalib_stc.models import Stcm
from tests.models.contract import SIDE, ModelContract, images

SMALL = {"image_size": SIDE, "parts": 8, "memory_items": 32, "key_channels": 16, "widths": (16, 8)}
SWITCHES = {
    "no memory": {"memory_items": 0},
    "low level only": {"semantic": "none"},
    "semantic only": {"low_level": False},
    "mean instead of fusion": {"fusion": False},
    "no structure loss": {"structure_loss": 0.0},
    "no structure score": {"low_level_score": 0.0},
    "semantic score": {"semantic_score": 0.25},
    "no adversarial loss": {"adversarial_loss": 0.0},
    "from scratch": {"backbone": "none"},
    "autoencoder": {
        "backbone": "none",
        "semantic": "none",
        "low_level": False,
        "memory_items": 0,
        "correspondence_score": 0.0,
        "value_loss": 0.0,
    },
}


def build(**arguments: Any) -> Stcm:
    model = Stcm(**{**SMALL, **arguments})
    model.log = model.log_dict = lambda *args, **kwargs: None
    return model


class TestContract(ModelContract):
    @staticmethod
    def build(**arguments: Any) -> Stcm:
        return Stcm(**{**SMALL, **arguments})


@pytest.mark.parametrize("arguments", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_part_can_be_switched_off(arguments: dict[str, Any]) -> None:
    model = build(**arguments)
    image = images((SIDE, SIDE), 2)
    terms = model.loss(image, model.model.train()(image), model.model.extract)
    torch.stack(list(terms.values())).sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    unsupervised = {"autoencoder"} if arguments is SWITCHES["autoencoder"] else set()
    assert without == [] or unsupervised
    assert model.eval().model(image).anomaly_map.shape == (2, 1, SIDE, SIDE)


def test_gradient_of_the_structure_loss_reaches_the_generator() -> None:
    model = build(pixel_loss=0.0, branch_loss=0.0, value_loss=0.0, adversarial_loss=0.0)
    image = images((SIDE, SIDE), 2)
    terms = model.loss(image, model.model.train()(image), model.model.extract)
    assert set(terms) == {"structure"}
    terms["structure"].backward()
    for branch in model.model.branches.values():
        assert branch.decoder[0][0].weight.grad.abs().sum() > 0


def test_the_decoder_sees_only_what_the_memory_says() -> None:
    """With one item in the memory every image gives the same texture and the same reconstruction."""
    model = build(memory_items=1, fusion=False).eval().model
    with torch.no_grad():
        first, second = (model.infer(images((SIDE, SIDE), 1, seed)) for seed in (0, 1))
    assert not torch.equal(first.structures["low_level"], second.structures["low_level"])
    torch.testing.assert_close(first.texture, second.texture, rtol=0, atol=1e-6)
    torch.testing.assert_close(first.reconstruction, second.reconstruction, rtol=0, atol=1e-5)


def test_score_terms_are_one_on_held_out_normals_after_calibration() -> None:
    model = build(semantic="none").eval().model  # parts that were never fitted have no residual
    image = images((SIDE, SIDE), 3)
    with torch.no_grad():
        model.score.calibrate({name: term.mean() for name, term in model.terms(image).items()})
        combined = model.score.combine(model.terms(image), (SIDE, SIDE))
    assert combined.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (192, 80), (256, 256)])
def test_fully_convolutional(size: tuple[int, int]) -> None:
    with torch.no_grad():
        prediction = build().eval().model(images(size, 1))
    assert prediction.anomaly_map.shape == (1, 1, *size)


@pytest.mark.parametrize("size", [(70, 64), (48, 64)])
def test_a_wrong_size_is_one_sentence(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected multiples of 16 from 64: set image_size or resize it\.$"):
        build().eval().model(images(size, 1))


def test_reconstruction_losses_name_every_term() -> None:
    model = build()
    image = images((SIDE, SIDE), 2)
    terms = model.loss(image, model.model.train()(image), model.model.extract)
    assert set(terms) == {"pixel", "branch", "value", "structure", "adversarial", "discriminator"}

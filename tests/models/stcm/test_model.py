"""STCM keeps the contract of every model, and its own promises."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from anomalib_stc.models import Stcm
from anomalib_stc.parts.bank import TERMS
from tests.models.contract import SIDE, ModelContract, fit, images, reloaded, untrained
from tests.models.stcm.test_semantic import Segmentation, export
from tests.parts.test_backbone import local_folder

SMALL = {"image_size": SIDE, "memory_items": 32}
OWN = {"correspondence": 1.0}
SWITCHES: dict[str, dict[str, Any]] = {
    "edges only": {"semantic": "none"},
    "no structure loss": {"loss_weights": {"structure": 0.0}},
    "structure score": {"score_weights": {"low_level": 0.25}},
    "semantic score": {"score_weights": {"semantic": 0.25}},
    "correspondence only": {"score_weights": {**dict.fromkeys(TERMS, 0.0), "correspondence": 1.0}},
    "no adversarial loss": {"loss_weights": {"adversarial": 0.0}},
    "from scratch": {"backbone": "none"},
}


def build(**arguments: Any) -> Stcm:
    return Stcm(**{**SMALL, **arguments})


class TestContract(ModelContract):
    @staticmethod
    def build(**arguments: Any) -> Stcm:
        """With what is trained in the score."""
        return build(**{"score_weights": OWN, **arguments})


@pytest.mark.parametrize("arguments", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_part_can_be_switched(arguments: dict[str, Any]) -> None:
    model = build(**arguments)
    model.model.prepare([images((SIDE, SIDE), 4)], seed=0)  # parts that were never fitted teach nothing
    assert untrained(model) == []
    assert model.eval().model(images((SIDE, SIDE), 2)).anomaly_map.shape == (2, 1, SIDE, SIDE)


def test_gradient_of_the_structure_loss_reaches_the_generator() -> None:
    model = build(loss_weights={"pixel": 0.0, "branch": 0.0, "value": 0.0, "adversarial": 0.0})
    image = images((SIDE, SIDE), 2)
    terms = model.loss(image, model.model.train()(image))
    assert set(terms) == {"structure"}
    terms["structure"].backward()
    for branch in model.model.branches.values():
        assert branch.decoder[0][0].weight.grad.abs().sum() > 0


def test_the_decoder_sees_only_what_the_memory_says() -> None:
    """With one item in the memory every image gives the same texture and the same reconstruction."""
    model = build(memory_items=1, semantic="none").eval().model
    with torch.no_grad():
        first, second = (model.infer(images((SIDE, SIDE), 1, seed)) for seed in (0, 1))
    assert not torch.equal(first.structures["low_level"], second.structures["low_level"])
    torch.testing.assert_close(first.texture, second.texture, rtol=0, atol=1e-6)
    torch.testing.assert_close(first.reconstruction, second.reconstruction, rtol=0, atol=1e-5)


def test_trained_terms_average_to_one_on_held_out_normals() -> None:
    model = build().eval().model
    image = images((SIDE, SIDE), 3)
    with torch.no_grad():
        model.prepare([images((SIDE, SIDE), 4, seed=1)], seed=0)
        model.calibrate(lambda: iter([image]))
        own = model.own_residuals(model.infer(image), model.score.own)
    assert set(own) == {"correspondence", "pixel", "low_level", "semantic"}
    for name, residual in own.items():
        assert model.score.rarity(name, residual).mean().item() == pytest.approx(1, abs=0.05), name


def test_a_checkpoint_needs_neither_program_nor_folder(demo_root: Path, tmp_path: Path) -> None:
    """What it was trained with may be gone; its scores are the same to the last bit."""
    files = tmp_path / "files"
    local_folder(files, "mobilenetv3_small_050", mean=[0.3, 0.4, 0.5])
    program = export(Segmentation(), files / "network.pt2")
    trained = build(semantic=program, backbone=f"local-dir:{files}", score_weights={"semantic": 1.0})
    engine = fit(trained, demo_root, tmp_path / "fit", max_steps=1, limit_val_batches=0)
    assert set(trained.portable()) == {"semantic", "backbone"}
    shutil.rmtree(files)
    loaded = reloaded(trained, engine)
    assert loaded.hparams.backbone == "mobilenetv3_small_050"
    image = images((SIDE, SIDE), 2)
    with torch.no_grad():
        expected, found = trained.eval()(image), loaded.eval()(image)
    assert torch.equal(found.anomaly_map, expected.anomaly_map)
    assert torch.equal(found.pred_score, expected.pred_score)
    assert torch.equal(loaded.portable()["semantic"], trained.portable()["semantic"]), "it can be saved once more"


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
    terms = model.loss(image, model.model.train()(image))
    assert set(terms) == {"pixel", "branch", "value", "structure", "adversarial", "discriminator"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"score_weights": {"edges": 1.0}},
            "Score weights has edges, expected some of bank_pixel, .*correspondence, pixel, low_level, semantic: ",
        ),
        ({"loss_weights": {"pixel": -1.0}}, "Loss weights are"),
        ({"semantic": "none", "score_weights": {"semantic": 1.0}}, "Score weight 'semantic' came as 1.0, expected 0"),
        ({"memory_items": 0}, "Memory items came as 0"),
        ({"image_score": "median"}, "Image score is 'median', expected one of top, max, mean"),
        (
            {"semantic_args": {"classes": 3}},
            "Semantic arguments came as .*, expected none where the structure is 'parts'",
        ),
        ({"semantic": "nothing.Here"}, "Semantic structure 'nothing.Here' cannot be loaded"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        build(**arguments)

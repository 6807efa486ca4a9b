"""ProxyAno keeps the contract of every model, and its own promises."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from anomalib_stc.models import ProxyAno
from anomalib_stc.parts.bank import TERMS
from anomalib_stc.parts.sizes import CELL
from tests.models.contract import SIDE, ModelContract, has_gradient, images, untrained

SMALL = {"image_size": SIDE, "superpixels": 40, "memory_items": 32}
OWN = {"correspondence": 1.0}
NO_BANK = dict.fromkeys(TERMS, 0.0)
SWITCHES: dict[str, dict[str, Any]] = {
    "no pseudo anomalies": {"pseudo_anomalies": 0.0},
    "pseudo anomalies only": {"pseudo_anomalies": 1.0},
    "no adversarial loss": {"loss_weights": {"adversarial": 0.0}},
    "proxy residual": {"score_weights": {"proxy": 1.0}},
    "residuals only": {"score_weights": {**NO_BANK, "pixel": 1.0}},
    "correspondence only": {"score_weights": {**NO_BANK, "correspondence": 1.0}},
    "from scratch": {"backbone": "none"},
    "mean": {"image_score": "mean"},
}


def build(**arguments: Any) -> ProxyAno:
    return ProxyAno(**{**SMALL, **arguments})


class TestContract(ModelContract):
    @staticmethod
    def build(**arguments: Any) -> ProxyAno:
        """With what is trained in the score."""
        return build(**{"score_weights": OWN, **arguments})


@pytest.mark.parametrize("arguments", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_part_can_be_switched(arguments: dict[str, Any]) -> None:
    model = build(**arguments)
    assert untrained(model) == []
    assert model.eval().model(images((SIDE, SIDE), 2)).anomaly_map.shape == (2, 1, SIDE, SIDE)


def test_nothing_passes_by_the_memory() -> None:
    """With the read-out held, neither the image nor any weight before the memory changes proxy or reconstruction."""
    module = build().eval().model
    memory: Any = module.extraction.memory
    with torch.no_grad():
        read = memory(module.features(images((SIDE, SIDE), 1)))
        memory.forward = lambda query: read
        first = module.infer(images((SIDE, SIDE), 1))
        for parameter in (*module.features.parameters(), memory.keys):
            parameter.add_(torch.randn_like(parameter))
        second = module.infer(images((SIDE, SIDE), 1, seed=1))
        other = read._replace(value=2 * read.value)
        memory.forward = lambda query: other
        third = module.infer(images((SIDE, SIDE), 1))
    assert not torch.equal(first.seen.features, second.seen.features)
    assert torch.equal(first.proxy, second.proxy)
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert not torch.allclose(first.proxy, third.proxy, atol=1e-3)


def test_pasted_samples_leave_extraction_alone() -> None:
    """With a patch on every proxy the reconstruction's losses teach the reconstruction module only."""
    model = build(pseudo_anomalies=1.0, loss_weights={"proxy": 0.0, "value": 0.0, "adversarial": 0.0})
    without = untrained(model)
    assert {name.split(".")[1] for name in without} == {"extraction"}
    assert {name.split(".")[1] for name, p in model.named_parameters() if has_gradient(p)} == {"reconstruct"}


def test_the_target_of_a_pasted_sample_is_the_normal_image() -> None:
    model = build(pseudo_anomalies=1.0).train()
    image = images((SIDE, SIDE), 2)
    learnt = model.model(image)
    assert not torch.equal(learnt.reconstruction, model.model.reconstruct(learnt.inferred.proxy)), "something is pasted"
    assert torch.equal(learnt.proxy, model.model.proxy(image))
    terms = model.loss(image, learnt)
    torch.testing.assert_close(terms["pixel"], (learnt.reconstruction - images((SIDE, SIDE), 2)).abs().mean())


def test_losses_name_every_term() -> None:
    model = build().train()
    image = images((SIDE, SIDE), 2)
    terms = model.loss(image, model.model(image))
    assert set(terms) == {"proxy", "value", "pixel", "adversarial", "discriminator"}


def test_proxy_residual_is_the_difference_to_the_blurred_image() -> None:
    model = build().eval().model
    image = torch.full((1, 3, SIDE, SIDE), 0.25)
    with torch.no_grad():
        output = model.infer(image)
        residual = model.residuals(output, ["proxy"])["proxy"]
    expected = (0.25 - output.proxy.clamp(0, 1)).abs().mean(1, keepdim=True)
    torch.testing.assert_close(residual, F.avg_pool2d(expected, CELL))


def test_an_empty_decoder_gives_the_colours_of_the_memory() -> None:
    model = build(memory_items=1).eval().model
    with torch.no_grad():
        model.extraction.memory.values[:, -3:] = torch.tensor([0.1, 0.2, -0.3])
        for parameter in model.extraction.decoder[-1].parameters():
            parameter.zero_()
        proxy = model.infer(images((SIDE, SIDE), 1)).proxy
    expected = torch.tensor([0.6, 0.7, 0.2])[:, None, None].expand(3, SIDE, SIDE)
    torch.testing.assert_close(proxy[0], expected)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"pseudo_anomalies": 1.5}, "Share of pseudo anomalies came as 1.5, expected 0 to 1"),
        (
            {"score_weights": {"proxies": 1.0}},
            "Score weights has proxies, expected some of bank_pixel, .*correspondence, pixel, proxy: ",
        ),
        ({"image_score": "median"}, "Image score is 'median', expected one of top, max, mean"),
        ({"superpixels": 10**6}, "Number of superpixels came as 1000000, expected at most 16384"),
        (
            {"superpixels": 1, "image_size": (64, 256)},
            "Number of superpixels came as 1, expected more for images of 64",
        ),
        ({"pseudo_anomalies": float("nan")}, "Share of pseudo anomalies came as nan, expected 0 to 1"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(**arguments)

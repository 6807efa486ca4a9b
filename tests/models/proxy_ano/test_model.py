"""ProxyAno keeps the contract of every model, and its own promises."""

from typing import Any

import pytest
import torch
from anomalib.data import ImageBatch
from torch import Tensor

from anomalib_stc.models import ProxyAno
from anomalib_stc.models.proxy_ano.proxy import PROXIES
from anomalib_stc.models.proxy_ano.torch_model import Bridge
from tests.models.contract import SIDE, ModelContract, has_gradient, images, untrained

SMALL = {
    "image_size": SIDE,
    "superpixels": 40,
    "memory_items": 32,
    "key_channels": 16,
    "widths": (16, 8),
    "reconstruction_widths": (8, 12, 16),
}
SWITCHES = {
    "no memory": {"memory_items": 0},
    "learned encoder": {"encoder": "convolution"},
    "no colour": {"colour": 0.0},
    "no pseudo anomalies": {"pseudo_probability": 0.0},
    "pseudo anomalies only": {"pseudo_probability": 1.0},
    "patches of the batch": {"pseudo_source": "batch"},
    "no adversarial loss": {"adversarial_loss": 0.0},
    "proxy residual": {"proxy_score": 1.0},
    "residuals only": {"correspondence_score": 0.0},
    "correspondence only": {"pixel_score": 0.0},
    "from scratch": {"backbone": "none"},
    "mean": {"image_score": "mean"},
    **{f"proxy {name}": {"proxy": name} for name in PROXIES[1:]},
}


def build(**arguments: Any) -> ProxyAno:
    model = ProxyAno(**{**SMALL, **arguments})
    model.log = model.log_dict = lambda *args, **kwargs: None
    return model


class TestContract(ModelContract):
    @staticmethod
    def build(**arguments: Any) -> ProxyAno:
        return ProxyAno(**{**SMALL, **arguments})


@pytest.mark.parametrize("arguments", SWITCHES.values(), ids=SWITCHES.keys())
def test_every_part_can_be_switched(arguments: dict[str, Any]) -> None:
    model = build(**arguments)
    assert untrained(model) == []
    assert model.eval().model(images((SIDE, SIDE), 2)).anomaly_map.shape == (2, 1, SIDE, SIDE)


@pytest.mark.parametrize("encoder", ["backbone", "convolution"])
def test_nothing_passes_by_the_memory(encoder: str) -> None:
    """With the read-out held, neither the image nor any weight before the memory changes proxy or reconstruction."""
    module = build(encoder=encoder).eval().model
    memory: Any = module.extraction.memory
    with torch.no_grad():
        read = memory(module.extraction.encoder(module.asked(images((SIDE, SIDE), 1), _features(module, 0))))
        memory.forward = lambda query: read
        first = module.infer(images((SIDE, SIDE), 1))
        for parameter in (*module.features.parameters(), *module.extraction.encoder.parameters(), memory.keys):
            parameter.add_(torch.randn_like(parameter))
        second = module.infer(images((SIDE, SIDE), 1, seed=1))
        other = read._replace(value=2 * read.value)
        memory.forward = lambda query: other
        third = module.infer(images((SIDE, SIDE), 1))
    assert not torch.equal(first.features, second.features)
    assert torch.equal(first.proxy, second.proxy)
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert not torch.allclose(first.proxy, third.proxy, atol=1e-3)


def _features(module: Any, seed: int) -> Tensor:
    return module.features(images((SIDE, SIDE), 1, seed))


def test_pasted_samples_leave_extraction_alone() -> None:
    """With a patch on every proxy the reconstruction's losses teach the reconstruction module only."""
    model = build(pseudo_probability=1.0, proxy_loss=0.0, value_loss=0.0, adversarial_loss=0.0)
    without = untrained(model)
    assert {name.split(".")[1] for name in without} == {"extraction"}
    assert {name.split(".")[1] for name, p in model.named_parameters() if has_gradient(p)} == {"reconstruct"}


def test_the_target_of_a_pasted_sample_is_the_normal_image(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(pseudo_probability=1.0)
    seen: dict[str, Tensor] = {}

    def loss(image: Tensor, proxy: Tensor, output: Bridge) -> dict[str, Tensor]:
        seen.update(image=image, proxy=proxy)
        return {"pixel": output.reconstruction.mean()}

    monkeypatch.setattr(model.loss, "forward", loss)
    image = images((SIDE, SIDE), 2)
    model.train().losses(image)
    assert torch.equal(seen["image"], images((SIDE, SIDE), 2))
    assert torch.equal(seen["proxy"], model.proxy(image))


def test_losses_name_every_term() -> None:
    model = build().train()
    terms = model.losses(images((SIDE, SIDE), 2))
    assert set(terms) == {"proxy", "value", "pixel", "adversarial", "discriminator"}


@pytest.mark.parametrize(("step", "trained"), [(0, {"extraction"}), (5, {"reconstruct", "discriminator"})])
def test_stages_train_one_module_each(step: int, trained: set[str]) -> None:
    model = build(staged=True)
    model._trainer = _Steps(step)  # type: ignore[assignment]
    model.train().training_step(ImageBatch(image=images((SIDE, SIDE), 2)), 0).backward()
    model.on_before_optimizer_step(None)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.optim.Adam(model.parameters(), weight_decay=0.1).step()
    moved = {name.split(".")[1] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == trained


class _Steps:
    """A trainer in the middle of ten steps."""

    estimated_stepping_batches = 10
    barebones = False

    def __init__(self, step: int) -> None:
        self.global_step = step


def test_proxy_residual_is_the_difference_to_the_blurred_image() -> None:
    model = build(proxy_score=1.0, pixel_score=0.0, correspondence_score=0.0, smoothing=0.0).eval().model
    image = torch.full((1, 3, SIDE, SIDE), 0.25)
    with torch.no_grad():
        output = model.infer(image)
        residual = model.residuals(image, output)["proxy"]
    expected = (0.25 - output.proxy.clamp(0, 1)).abs().mean(1, keepdim=True)
    torch.testing.assert_close(residual, expected)


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
        ({"encoder": "vit"}, "Encoder is 'vit', expected one of backbone, convolution"),
        ({"proxy": "sketch"}, "Proxy is 'sketch', expected one of superpixel, edge"),
        ({"pseudo_size": (0.5, 0.1)}, "Size of pseudo anomalies is"),
        ({"image_score": "median"}, "Image score is 'median', expected one of max, top, mean"),
        ({"superpixels": 10**6}, "Number of superpixels is 1000000, expected at most 16384"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(**arguments)

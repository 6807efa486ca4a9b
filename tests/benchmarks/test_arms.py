"""Every arm of an ablation builds, trains all that it has, and scores; every configuration's models can be built."""

from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.pre_processing import PreProcessor
from omegaconf import OmegaConf
from torchvision.transforms.v2 import CenterCrop, Compose, Normalize, Resize

from anomalib_stc.models import ProxyAno, Stcm
from anomalib_stc.parts.bank import TERMS
from anomalib_stc.parts.memory import Memory
from benchmarks import settings
from benchmarks.arms import ARMS, arm, i3ad, proxy_ano, stcm
from benchmarks.arms.proxies import SIMPLE
from benchmarks.one import build, fitting
from benchmarks.weights import lite0_backbone, lite0_colours
from tests.models.contract import SIDE, images, untrained
from tests.models.i3ad.test_model import OWN, two_turns

CASES: dict[str, list[dict[str, Any]]] = {
    "arms.proxy_ano.proxy": [{"kind": kind} for kind in SIMPLE],
    "arms.i3ad.masked_by": [{"kind": kind} for kind in i3ad.MASKED_BY],
    "arms.i3ad.aggregation": [{"kind": kind} for kind in i3ad.AGGREGATIONS],
}
EVERY = [(name, case) for name in ARMS for case in CASES.get(name, [{}])]
CONFIGURED = {
    f"{path.stem}-{name}": spec
    for path in sorted(settings.CONFIGS.glob("*.yaml"))
    for name, spec in settings.plain(settings.load(path, {}))["models"].items()
}
DIFFERENT = {f"{spec['model']} {spec['args']}": pytest.param(spec, id=name) for name, spec in CONFIGURED.items()}


@pytest.mark.parametrize(("name", "case"), EVERY, ids=[" ".join([name, *case.values()]) for name, case in EVERY])
def test_an_arm_trains_all_that_it_has_and_scores(name: str, case: dict[str, Any]) -> None:
    torch.manual_seed(0)
    weights = OWN if ".i3ad." in name else {"correspondence": 1.0, "pixel": 1.0}
    model: Any = arm(name)(image_size=SIDE, score_weights=weights, **case)
    model.log = model.log_dict = lambda *args, **kwargs: None
    network = model.model
    network.prepare([images((SIDE, SIDE), 8)], seed=0)
    assert untrained(model) == []
    network.eval()
    network.calibrate(lambda: iter(images((SIDE, SIDE), 4).split(2)))
    with torch.no_grad():
        prediction = network(images((SIDE, SIDE), 2, seed=1))
    assert prediction.anomaly_map.shape == (2, 1, SIDE, SIDE)
    assert prediction.anomaly_map.isfinite().all()
    assert prediction.pred_score.isfinite().all()


@pytest.mark.parametrize("spec", DIFFERENT.values())
def test_every_model_of_every_configuration_can_be_built(spec: dict[str, Any], tmp_path: Path) -> None:
    """Those that are alike once."""
    OmegaConf.register_new_resolver("lite0", lambda: lite0_backbone(tmp_path), replace=True)
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(spec), resolve=True)
    finally:
        OmegaConf.clear_resolver("lite0")
    model = build(resolved, 256)
    assert model.pre_processor.transform(torch.zeros(1, 3, 90, 70)).shape[-2:] == (256, 256)


def test_an_unknown_arm_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Arm is 'arms.stcm.none', expected one of arms.stcm.autoencoder, .*choose"):
        build({"model": "arms.stcm.none", "args": {}}, SIDE)


def test_a_model_is_checked_against_the_size_that_is_run() -> None:
    with pytest.raises(ValueError, match=f"^Cell came as {SIDE}, expected less than the image's {SIDE} pixels"):
        build({"model": "i3ad", "args": {"cell": SIDE}}, SIDE)


@pytest.mark.parametrize(
    ("name", "case", "sentence"),
    [
        ("arms.i3ad.masked_by", {"kind": "structure"}, "Mask's residual is 'structure', expected one of pixels, "),
        ("arms.i3ad.aggregation", {"kind": "median"}, "Aggregation is 'median', expected one of last, mean, "),
        ("arms.proxy_ano.proxy", {"kind": "superpixels"}, "Proxy is 'superpixels', expected one of edge, blur, "),
        ("arms.stcm.semantic_only", {"semantic": "none"}, "Semantic structure came as none, expected one, as parts"),
    ],
)
def test_a_wrong_argument_is_one_sentence(name: str, case: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        arm(name)(image_size=SIDE, **case)


@pytest.mark.parametrize("model", [stcm.no_memory(), stcm.autoencoder(), proxy_ano.no_memory()])
def test_without_a_memory_there_is_none(model: Stcm | ProxyAno) -> None:
    assert model.model.memories == {}
    assert not any(isinstance(part, Memory) for part in model.modules())


def test_an_autoencoder_sees_no_structure_and_scores_pixels_alone() -> None:
    model = stcm.autoencoder(score_weights={**dict.fromkeys(TERMS, 0.0), "pixel": 2.0}).model
    image = images((SIDE, SIDE), 2)
    assert list(model.extract(image)) == [stcm.IMAGE]
    assert torch.equal(model.extract(image)[stcm.IMAGE], image)
    assert model.score.weights == {"pixel": 2.0}


@torch.no_grad()
def test_mean_fusion_is_the_mean() -> None:
    network = stcm.mean_fusion(image_size=SIDE).eval().model
    found = network.infer(images((SIDE, SIDE), 2))
    branches = list(found.branches.values())
    assert len(branches) == 2
    torch.testing.assert_close(found.texture, torch.stack([branch.texture for branch in branches]).mean(0))
    torch.testing.assert_close(found.reconstruction, torch.stack([branch.image for branch in branches]).mean(0))


@torch.no_grad()
def test_an_autoencoder_without_masks_looks_at_every_pixel() -> None:
    """A change of any pixel changes what is filled there, which a network that hides it could not do."""
    network = i3ad.autoencoder(image_size=SIDE).eval().model
    image = images((SIDE, SIDE), 1)
    changed = image.clone()
    changed[..., 20:24, 20:24] = 1 - image[..., 20:24, 20:24]
    first, second = (network.infer(one).turns for one in (image, changed))
    assert len(first) == 1
    assert not torch.isclose(first[0].image, second[0].image)[..., 20:24, 20:24].any()
    assert network.inpaint.skips == 0


@torch.no_grad()
def test_l1_is_the_difference_of_pixels() -> None:
    network = i3ad.masked_by("l1", image_size=SIDE, iterations=0).eval().model
    image = images((SIDE, SIDE), 2)
    turn = network.infer(image).turns[0]
    expected = (image - turn.image.clamp(0, 1)).abs().mean(1, keepdim=True)
    torch.testing.assert_close(turn.residuals["l1"], expected)
    assert network.suspicion.terms == ("l1",)


@pytest.mark.parametrize(
    ("make", "hidden", "visible"),
    [
        (lambda: i3ad.aggregation("last"), 4.0, 0.0),
        (lambda: i3ad.aggregation("mean"), 3.0, 0.5),
        (lambda: i3ad.aggregation("mean_first"), 5.0, 1.5),
    ],
    ids=["last", "mean", "mean_first"],
)
def test_aggregation(make: Any, hidden: float, visible: float) -> None:
    result = make().model.aggregate(two_turns(), "feature")
    assert torch.equal(result, torch.tensor([hidden, visible]).expand(1, 1, 2, 2))


def test_a_model_that_crops_is_given_the_whole_image() -> None:
    resize, scale = Resize((SIDE, SIDE)), Normalize([0.5] * 3, [0.5] * 3)
    found = fitting(PreProcessor(Compose([resize, CenterCrop(SIDE // 2), scale])), None)
    assert found.transform.transforms == [resize, scale]


def test_a_model_that_does_not_crop_keeps_its_own_pre_processor() -> None:
    own = PreProcessor(Compose([Resize((SIDE, SIDE))]))
    assert fitting(own, lite0_colours()) is own


@pytest.mark.parametrize("model", ["padim", "patchcore", "supersimplenet", "stfpm", "dfm", "m_h_patchcore", "glass"])
def test_a_peers_backbone_sees_images_as_ours_does(model: str, tmp_path: Path) -> None:
    """anomalib's own mean and deviation are those of other networks."""
    args = next(spec["args"] for spec in CONFIGURED.values() if spec["model"] == model)
    peer = build({"model": model, "args": {**args, "backbone": lite0_backbone(tmp_path)}}, 256)
    ours = Stcm().model.features
    image = images((256, 256), 2)
    found = peer.pre_processor.transform(image)
    torch.testing.assert_close(found, (image - ours.mean) / ours.std)

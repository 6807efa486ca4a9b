"""At the defaults the memory bank alone scores: all models alike, and without what only the picture needs."""

from pathlib import Path
from typing import Any

import openvino as ov
import pytest
import torch

from anomalib_stc.host.post_processor import summary
from anomalib_stc.models import I3ad, ProxyAno, Stcm
from tests.images import FLAT, made_images
from tests.models.contract import ODD_SIZES, SIDE, assert_near_in_bf16, assert_same, images
from tests.runtimes import RUNTIMES

MODELS = (Stcm, ProxyAno, I3ad)
FIRST = MODELS[0].__name__


def prepared(kind: Any) -> Any:
    """A model at its defaults that knows some noise; what it would have been taught is random."""
    model = kind(image_size=SIDE).eval()
    normals = images((SIDE, SIDE), 6)
    with torch.no_grad():
        model.model.features.load()
        model.model.prepare([normals], seed=3)
        model.model.calibrate(lambda: iter([normals]))
        normal = model.model(normals)
    model.post_processor.fit_normals(normal.pred_score, summary(normal.anomaly_map, 0.1), 0.1)
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {kind.__name__: prepared(kind) for kind in MODELS}


@torch.no_grad()
def test_all_models_score_alike(models: dict[str, Any]) -> None:
    given = images((SIDE, SIDE), 3, seed=1)
    first, *others = (model(given) for model in models.values())
    for other in others:
        assert torch.equal(first.pred_score, other.pred_score)
        assert torch.equal(first.anomaly_map, other.anomaly_map)
        assert torch.equal(first.pred_mask, other.pred_mask)


@torch.no_grad()
@pytest.mark.parametrize("name", [kind.__name__ for kind in MODELS])
def test_what_is_inferred_for_the_picture_changes_no_score(models: dict[str, Any], name: str) -> None:
    model, given = models[name].model, images((SIDE, SIDE), 2, seed=1)
    with_picture, without = model.predict(given, model.infer(given)), model(given)
    assert torch.equal(with_picture.pred_score, without.pred_score)
    assert torch.equal(with_picture.anomaly_map, without.anomaly_map)


@pytest.fixture(scope="module")
def exports(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ONNX files by model."""
    return {name: model.to_onnx(tmp_path_factory.mktemp(name)) for name, model in models.items()}


@pytest.fixture(scope="module")
def openvino(exports: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of these for OpenVINO."""
    path = tmp_path_factory.mktemp("openvino") / "model.xml"
    ov.save_model(ov.convert_model(exports[FIRST]), path, compress_to_fp16=False)
    return path


def test_an_export_has_no_network_that_scores_nothing(models: dict[str, Any], exports: dict[str, Path]) -> None:
    """All graphs are of one size but for names, though what the models train is not."""
    exported = [sum(path.stat().st_size for path in file.parent.iterdir()) for file in exports.values()]
    trained = [
        sum(value.nbytes for value in model.model.parameters() if value.requires_grad) for model in models.values()
    ]
    assert max(exported) - min(exported) < 2**16
    assert max(trained) - min(trained) > 2**18


@pytest.mark.parametrize("kind", RUNTIMES)
def test_an_export_keeps_scores(models: dict[str, Any], exports: dict[str, Path], openvino: Path, kind: str) -> None:
    program = RUNTIMES[kind](openvino if kind == "openvino" else exports[FIRST])
    for size in ODD_SIZES:
        for batch in (1, 3):
            assert_same(models[FIRST], program, images(size, batch))
    for flat in FLAT:
        assert_same(models[FIRST], program, made_images(flat, (90, 130)))


def test_an_export_in_bf16_stays_finite_and_near(models: dict[str, Any], openvino: Path) -> None:
    """As the contract asks it of graphs that hold what is trained, too."""
    assert_near_in_bf16(models[FIRST], openvino)

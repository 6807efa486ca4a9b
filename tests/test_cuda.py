"""The same on a CUDA device: training, mixed precision, test, export, and a checkpoint that goes from device to device.

It needs no plugin installed, only the package on the path.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.engine import Engine
from lightning.pytorch import seed_everything

from anomalib_stc.data import TextureDemo
from anomalib_stc.models import I3ad, ProxyAno, Stcm
from tests.images import FLAT, made_images
from tests.models.i3ad.test_model import OWN

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SIDE = 96
MODELS = {
    "stcm": (Stcm, {"image_size": SIDE, "memory_items": 100, "score_weights": {"correspondence": 1.0}}),
    "proxy_ano": (
        ProxyAno,
        {"image_size": SIDE, "superpixels": 60, "memory_items": 100, "score_weights": {"correspondence": 1.0}},
    ),
    "i3ad": (I3ad, {"image_size": SIDE, "cell": 8, "codebook_items": 100, "score_weights": OWN}),
    "default": (Stcm, {"image_size": SIDE, "memory_items": 100}),
}
QUIET = {"logger": False, "enable_progress_bar": False}


def fit(name: str, root: Path, out: Path, **trainer: Any) -> tuple[Any, Engine, Path]:
    seed_everything(0, verbose=False)
    kind, arguments = MODELS[name]
    model = kind(**arguments, visualizer=False)
    engine = Engine(default_root_dir=out, **{"accelerator": "gpu", "devices": 1, "max_epochs": 4, **QUIET, **trainer})
    engine.fit(model, datamodule=TextureDemo(root=root))
    return model, engine, Path(engine.trainer.checkpoint_callback.best_model_path)


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return request.param, *fit(request.param, demo_root, tmp_path_factory.mktemp(request.param))


def loaded(name: str, path: Path, device: str) -> Any:
    return MODELS[name][0].load_from_checkpoint(path, map_location=device, weights_only=True).to(device).eval()


def given() -> torch.Tensor:
    noise = torch.rand(3, 3, 130, 97, generator=torch.Generator().manual_seed(0))
    return torch.cat([noise, *(made_images(name, (130, 97)) for name in FLAT)])


def test_it_finds_planted_defects(trained: Any, demo_root: Path) -> None:
    _, model, engine, _ = trained
    assert next(model.model.parameters()).device.type in {"cuda", "cpu"}
    metrics = engine.test(model, datamodule=TextureDemo(root=demo_root), verbose=False)[0]
    assert metrics["image_AUROC"] > 0.8
    assert metrics["pixel_AUROC"] > 0.85


def test_a_checkpoint_of_the_device_gives_the_same_on_the_cpu(trained: Any) -> None:
    name, _, _, path = trained
    with torch.no_grad():
        here, there = loaded(name, path, "cuda")(given().cuda()), loaded(name, path, "cpu")(given())
    torch.testing.assert_close(here.pred_score.cpu(), there.pred_score, atol=1e-3, rtol=0)
    torch.testing.assert_close(here.anomaly_map.cpu(), there.anomaly_map, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_of_the_cpu_goes_on_on_the_device(name: str, demo_root: Path, tmp_path: Path) -> None:
    _, _, path = fit(name, demo_root, tmp_path / "cpu", accelerator="cpu", max_steps=1, max_epochs=-1)
    with torch.no_grad():
        there, here = loaded(name, path, "cpu")(given()), loaded(name, path, "cuda")(given().cuda())
    torch.testing.assert_close(here.pred_score.cpu(), there.pred_score, atol=1e-3, rtol=0)
    kind, _ = MODELS[name]
    model = kind(visualizer=False)
    engine = Engine(default_root_dir=tmp_path, accelerator="gpu", devices=1, max_epochs=2, **QUIET)
    engine.fit(model, datamodule=TextureDemo(root=demo_root), ckpt_path=path)
    assert engine.trainer.current_epoch == 2
    assert model.model.score.calibrated


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_mixed_precision(name: str, precision: str, demo_root: Path, tmp_path: Path) -> None:
    model, engine, path = fit(name, demo_root, tmp_path, precision=precision)
    metrics = engine.test(model, datamodule=TextureDemo(root=demo_root), verbose=False)[0]
    assert metrics["pixel_AUROC"] > 0.8
    with torch.no_grad():
        assert loaded(name, path, "cuda").half().eval()(given().cuda().half()).pred_score.isfinite().all()


def test_export_from_the_device(trained: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    name, _, _, path = trained
    model = loaded(name, path, "cuda")
    file = model.to_onnx(tmp_path)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(given().cuda())
    names = [output.name for output in session.get_outputs()]
    result = dict(zip(names, session.run(None, {session.get_inputs()[0].name: given().numpy()}), strict=True))
    np.testing.assert_allclose(result["pred_score"].ravel(), expected.pred_score.cpu().ravel(), atol=1e-3, rtol=0)
    np.testing.assert_allclose(result["anomaly_map"].ravel(), expected.anomaly_map.cpu().ravel(), atol=1e-3, rtol=0)

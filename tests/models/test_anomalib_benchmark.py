"""`anomalib benchmark` with the shipped configuration puts our models and anomalib's own into one table."""

from pathlib import Path
from typing import Any

import anomalib.models
import pandas as pd
import pytest
import timm
import yaml
from anomalib.cli import AnomalibCLI
from anomalib.models import Patchcore

from anomalib_stc.data.demo_set import Recipe, write_demo_set
from anomalib_stc.models import I3ad, ProxyAno, Stcm
from tests.small_sets import keep

CONFIG = Path(__file__).parents[2] / "configs" / "benchmark.yaml"
METRICS = ["image_AUROC", "image_F1Score", "pixel_AUROC", "pixel_F1Score"]


class QuickStcm(Stcm):
    """Stands for STCM as it is, with less to compute."""

    def __init__(self) -> None:
        super().__init__(image_size=64, train_images=8)


class QuickProxyAno(ProxyAno):
    """Stands for ProxyAno as it is, with less to compute."""

    def __init__(self) -> None:
        super().__init__(image_size=64, train_images=8)


class QuickI3ad(I3ad):
    """Stands for I3AD as it is, with less to compute."""

    def __init__(self) -> None:
        super().__init__(image_size=64, train_images=8)


class QuickPatchcore(Patchcore):
    """Stands for PatchCore as it is, with less to compute."""

    def __init__(self) -> None:
        super().__init__(backbone="resnet18", coreset_sampling_ratio=0.001)


@pytest.fixture
def without_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give anomalib's models random weights: what they score is not the question."""
    create: Any = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: create(name, **{**kwargs, "pretrained": False}))


@pytest.mark.usefixtures("without_download")
def test_one_table_for_all_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    category = write_demo_set(tmp_path / "data", Recipe("gravel", 64, 0))
    keep(category, test=4, train=20)
    monkeypatch.setattr(anomalib.models, "Stcm", QuickStcm)
    monkeypatch.setattr(anomalib.models, "ProxyAno", QuickProxyAno)
    monkeypatch.setattr(anomalib.models, "I3ad", QuickI3ad)
    monkeypatch.setattr(anomalib.models, "Patchcore", QuickPatchcore)
    config = yaml.safe_load(CONFIG.read_text())
    config["benchmark"]["seed"]["grid"] = [0]
    data = config["benchmark"]["data"]["init_args"]
    data["root"], data["category"]["grid"] = str(category.parent), [category.name]
    (tmp_path / "benchmark.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    AnomalibCLI(args=["benchmark", "--config", "benchmark.yaml"])
    table = pd.read_csv(next((tmp_path / "runs").rglob("results.csv")))
    assert list(table["model.class_path"]) == ["Stcm", "ProxyAno", "I3ad", "Padim", "Patchcore"]
    assert table[METRICS].notna().all(axis=None)

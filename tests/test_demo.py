"""The demo with a model that learns nothing: figures, picture and the export's agreement; in full it is slow."""

import re
from pathlib import Path
from typing import Any

import pytest
from anomalib.metrics import Evaluator
from PIL import Image

from anomalib_stc import demo
from anomalib_stc.host.batch import with_reconstruction
from anomalib_stc.host.post_processor import NormalPostProcessor
from anomalib_stc.host.pre_processor import ExactPreProcessor
from tests.test_configs import GreyModel


class StandIn(GreyModel):
    """Has STCM's interface, and calls the mirror image its reconstruction."""

    def __init__(self, image_size: int, evaluator: Evaluator) -> None:
        super().__init__()
        self.pre_processor = ExactPreProcessor(image_size)
        self.post_processor = NormalPostProcessor()
        self.evaluator = evaluator

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return with_reconstruction(batch, self.model(batch.image), batch.image.flip(-1))

    predict_step = test_step


def figures(printed: str) -> dict[str, float]:
    """The numbers of the report by name."""
    return {name: float(value) for name, value in re.findall(r"^(\w.*?)  +(\d[\d.e+-]*)", printed, flags=re.MULTILINE)}


def test_report_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(demo, "Stcm", StandIn)
    demo.main(["--output", str(tmp_path), "--image-size", "64", "--category", "gravel"])
    report = figures(capsys.readouterr().out)
    assert report.keys() == {
        "image AUROC",
        "pixel AUROC",
        "AUPRO",
        "largest |torch - OpenVINO|",
        "the same of the maps",
    }
    assert 0 < report["largest |torch - OpenVINO|"] + report["the same of the maps"] < 1e-5
    assert Image.open(tmp_path / "demo.png").height == 4 * 256  # foreign, good, perlin, scar
    assert (tmp_path / "weights" / "openvino" / "model.xml").is_file()


@pytest.mark.slow
def test_stcm_solves_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    demo.main(["--output", str(tmp_path)])
    report = figures(capsys.readouterr().out)
    assert report["image AUROC"] >= 0.9
    assert report["largest |torch - OpenVINO|"] <= 1e-3


def test_unknown_category_is_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--category", "sand"])
    assert "invalid choice: 'sand'" in capsys.readouterr().err

"""The benchmark's images: held-out normals are never trained on, and test images are the same at every call."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anomalib.engine import Engine
from anomalib.models import Padim
from PIL import Image

from benchmarks.images import category_folder, check_category, datamodule, hold_out

FOLDER = {"normal_dir": "good", "abnormal_dir": "bad", "mask_dir": "masks"}


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """A category `c` with 20 normal images, 6 with a defect and their masks."""
    for kind, count in (("good", 20), ("bad", 6), ("masks", 6)):
        (tmp_path / "c" / kind).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
            pixels = 255 * (pixels > 200).astype(np.uint8) if kind == "masks" else pixels
            Image.fromarray(pixels).save(tmp_path / "c" / kind / f"{number:02}.png")
    return {"root": str(tmp_path), "layout": "folder", "folder": FOLDER, "num_workers": 0}


def paths(dataset: Any) -> list[str]:
    """The images of a data set."""
    return list(dataset.samples.image_path)


def test_held_out_images_are_never_trained_on(data: dict[str, Any], tmp_path: Path) -> None:
    module = datamodule(data, "c", 4)
    held_out = hold_out(module, 0.2)
    kept, tested = paths(module.train_data), paths(module.test_data)
    model = Padim(backbone="resnet18", pre_trained=False, post_processor=False, evaluator=False, visualizer=False)
    model.pre_processor = Padim.configure_pre_processor((32, 32))
    engine = Engine(logger=False, limit_val_batches=0, default_root_dir=tmp_path / "engine")
    engine.fit(model, datamodule=module)
    assert paths(module.train_data) == kept
    assert paths(module.test_data) == tested
    assert not set(paths(held_out)) & set(kept)


def test_every_call_has_the_same_test_images_and_all_defects(data: dict[str, Any]) -> None:
    modules = [datamodule(data, "c", 4) for _ in range(2)]
    for module in modules:
        hold_out(module, 0.2)
    first, second = (paths(module.test_data) for module in modules)
    assert first == second
    assert sum("bad" in path for path in first) == 6


@pytest.mark.parametrize("category", ["/etc", "../c"])
def test_a_category_lies_under_the_root(data: dict[str, Any], category: str) -> None:
    with pytest.raises(ValueError, match="under"):
        category_folder(data, category)


def test_16_bit_is_one_sentence(data: dict[str, Any], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(tmp_path / "c" / "good" / "deep.png")
    with pytest.raises(ValueError, match="8 bit"):
        check_category(data, "c", 0.2)


def test_a_layout_that_does_not_fit_is_one_sentence(data: dict[str, Any]) -> None:
    check_category(data, "c", 0.2)
    with pytest.raises(ValueError, match="does not load in folder layout") as raised:
        check_category({**data, "folder": {**FOLDER, "mask_dir": "none"}}, "c", 0.2)
    assert "\n" not in str(raised.value)

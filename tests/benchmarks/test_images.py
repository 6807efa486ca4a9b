"""The benchmark's images: held-out normals are never trained on, and test images are the same at every call."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anomalib.data import AnomalibDataModule
from anomalib.engine import Engine
from anomalib.models import Padim
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from anomalib_stc.host.holdout import names_of, plain_loader
from benchmarks.images import (
    category_folder,
    check_category,
    contaminate,
    datamodule,
    hold_out,
    keep_normals,
    prepared,
)
from benchmarks.predictions import Predictions

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


@pytest.fixture(params=["folder", "mvtec"])
def layout(request, data: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same images in each layout."""
    if request.param == "folder":
        return data
    good, bad, masks = (tmp_path / "c" / name for name in ("good", "bad", "masks"))
    for path in sorted(good.iterdir()):
        move(path, tmp_path / "c" / ("train" if int(path.stem) < 15 else "test") / "good")
    for kind, folder in ((bad, "test"), (masks, "ground_truth")):
        for path in kind.iterdir():
            move(path, tmp_path / "c" / folder / "bad")
    return {**data, "layout": "mvtec"}


def move(path: Path, folder: Path) -> None:
    """Move a file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path.rename(folder / path.name)


def ready(data: dict[str, Any]) -> AnomalibDataModule:
    """The category's data module, set up."""
    module = datamodule(data, "c", 4)
    module.setup(TrainerFn.FITTING)
    return module


def paths(dataset: Any) -> list[str]:
    """The images of a data set, wherever links lead to."""
    return [str(Path(path).resolve()) for path in dataset.samples.image_path]


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


def test_fewer_normals_of_a_draw_are_among_more_of_it(layout: dict[str, Any]) -> None:
    kept = {}
    for count, draw in ((None, 0), (4, 0), (8, 0), (8, 1)):
        module = ready(layout)
        tested = paths(module.test_data)
        keep_normals(module, count, draw)
        kept[count, draw] = set(paths(module.train_data))
        assert paths(module.test_data) == tested
    assert len(kept[4, 0]) == 4
    assert kept[4, 0] < kept[8, 0] < kept[None, 0]
    assert kept[8, 0] != kept[8, 1]


def test_more_normals_than_there_are_is_one_sentence(layout: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="normals is 99"):
        keep_normals(ready(layout), 99, 0)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 1), (0.2, 2), (0.4, 4)])
def test_defects_replace_normals_and_leave_the_test_set(layout: dict[str, Any], share: float, count: int) -> None:
    module = ready(layout)
    keep_normals(module, 10, 0)  # in either layout
    trained, tested = set(paths(module.train_data)), set(paths(module.test_data))
    contaminate(module, share, 0)
    moved = set(paths(module.train_data)) - trained
    assert len(module.train_data) == 10
    assert len(moved) == count
    assert all("bad" in path for path in moved)
    assert set(paths(module.test_data)) == tested - moved


def test_a_defect_in_training_is_a_normal_image_without_a_mask(layout: dict[str, Any]) -> None:
    module = ready(layout)
    contaminate(module, 0.3, 0)
    (batch,) = plain_loader(module.train_data, None, 99)
    assert sum(Path(path).name.startswith("bad") for path in batch.image_path) >= 3
    assert not batch.gt_label.any()
    assert not batch.gt_mask.any()
    assert module.train_data.task == "segmentation"
    assert len(module.train_data.samples[["label", "split"]].drop_duplicates()) == 1


def test_defects_of_a_small_contamination_are_among_those_of_a_large_one(layout: dict[str, Any]) -> None:
    tested = {}
    for share, draw in ((0.1, 0), (0.2, 0), (0.2, 1)):
        module = ready(layout)
        contaminate(module, share, draw)
        tested[share, draw] = set(paths(module.test_data))
    assert tested[0.2, 0] < tested[0.1, 0]
    assert tested[0.2, 0] != tested[0.2, 1]


def test_shares_with_the_same_set_aside_are_tested_on_the_same_images(layout: dict[str, Any]) -> None:
    tested = []
    for share in (0.0, 0.1, 0.2):
        module = ready(layout)
        keep_normals(module, 10, 0)
        contaminate(module, share, 0, set_aside=0.2)
        tested.append(paths(module.test_data))
        assert sum("bad" in path for path in paths(module.train_data)) == 10 * share
    assert tested[0] == tested[1] == tested[2]


def test_images_that_stay_are_held_out_as_without_the_others(layout: dict[str, Any]) -> None:
    """A split goes by their names: they are the same beside images of another folder."""
    clean, mixed = ready(layout), ready(layout)
    contaminate(mixed, 0.2, 0)
    known = set(names_of(clean.train_data))
    assert sum(name in known for name in names_of(mixed.train_data)) == len(known) - round(0.2 * len(known))


def test_normal_images_of_one_name_in_two_folders_stay_two(data: dict[str, Any], tmp_path: Path) -> None:
    good = tmp_path / "c" / "good"
    for path in sorted(good.iterdir()):
        move(path, good / ("a" if int(path.stem) < 10 else "b"))
    for path in (good / "b").iterdir():
        path.rename(path.with_stem(f"{int(path.stem) - 10:02}"))
    test_images_that_stay_are_held_out_as_without_the_others(data)


def test_some_defect_stays_in_the_test_set(layout: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of 6 defect images"):
        contaminate(ready(layout), 0.5, 0)


def test_held_out_images_are_of_those_that_a_run_has(data: dict[str, Any]) -> None:
    job = {"data": data, "set": "c", "spec": {"batch_size": 4}, "holdout": 0.2}
    module, held_out = prepared({**job, "normals": 10, "draw": 0, "contamination": 0.2, "set_aside": 0.0})
    had = [*paths(module.train_data), *paths(held_out)]
    assert (len(held_out), len(module.train_data)) == (2, 8)
    assert sum("bad" in path for path in had) == 2
    assert not set(had) & set(paths(module.test_data))


def test_masks_are_named_whatever_a_batch_begins_with(data: dict[str, Any]) -> None:
    """anomalib's batch has no paths of masks where its first image is a normal one."""
    module = ready(data)
    for order in (1, -1):
        images = module.test_data.subsample(list(range(len(module.test_data)))[::order])
        batches = list(plain_loader(images, None, len(images)))
        found = Predictions.of(batches).with_mask_paths(images.samples)
        assert [Path(path).name for path in found.mask_paths if path] == [
            Path(path).name for path, bad in zip(found.paths, found.labels, strict=True) if bad
        ]
        assert found.labels.sum() == 6

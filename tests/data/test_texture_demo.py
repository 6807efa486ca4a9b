"""The datamodule: sizes, labels, who sees defects, and its errors."""

from pathlib import Path

import pytest
import torch

from anomalib_stc.data import TextureDemo


def test_constructor_writes_nothing(tmp_path: Path) -> None:
    TextureDemo(root=tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_default_size_is_no_model_size() -> None:
    assert TextureDemo().recipe.crop_size % 32 != 0


def test_splits(demo_root: Path) -> None:
    data = TextureDemo(root=demo_root, category="gravel", crop_size=64)
    data.setup()
    abnormal = {name: getattr(data, name).samples.label_index.tolist() for name in ("train_data", "val_data")}
    assert abnormal == {"train_data": [0] * 60, "val_data": [0] * 20}
    assert sorted(data.test_data.samples.label_index) == [0] * 30 + [1] * 30


def test_batch(demo_root: Path) -> None:
    data = TextureDemo(root=demo_root, category="gravel", crop_size=64, eval_batch_size=60)
    data.setup()
    batch = next(iter(data.test_dataloader()))
    assert batch.image.shape == (60, 3, 64, 64)
    assert 0 <= batch.image.min() < batch.image.max() <= 1
    assert torch.equal(batch.gt_mask.flatten(1).any(1), batch.gt_label.bool())


@pytest.mark.parametrize(("mode", "abnormal"), [("from_train", 0), ("same_as_test", 30), ("synthetic", 6)])
def test_other_validation_modes(demo_root: Path, mode: str, abnormal: int) -> None:
    data = TextureDemo(root=demo_root, category="gravel", crop_size=64, val_split_mode=mode)
    data.setup()
    assert data.val_data.samples.label_index.sum() == abnormal


def test_unknown_category(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no category 'sand': choose one of brick, grass, gravel\."):
        TextureDemo(tmp_path, category="sand").setup()


@pytest.mark.parametrize("size", [63, 141])
def test_crop_size_out_of_range(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=rf"^crop_size is {size}, expected 64 to 140: choose a size that fits .*\.$"):
        TextureDemo(tmp_path, crop_size=size).setup()
    assert list(tmp_path.iterdir()) == []

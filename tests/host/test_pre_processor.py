"""Training, prediction and export see the same pixels; anomalib's own pre-processor does not manage that."""

import logging
from pathlib import Path

import pytest
import torch
from anomalib.data import PredictDataset
from anomalib.engine import Engine
from anomalib.pre_processing import PreProcessor
from torchvision.transforms import v2

from anomalib_stc.host.pre_processor import ExactPreProcessor
from anomalib_stc.host.resize import ExactResize
from tests.host.tiny_model import SIDE, TinyModel, folder_data, write_images
from tests.runtimes import Program, openvino_program

SIZES = [(97, 131), (300, 200), (32, 40), (SIDE, SIDE)]


def predicted_maps(model: TinyModel, folder: Path, root: Path) -> list[torch.Tensor]:
    engine = Engine(default_root_dir=root, logger=False)
    batches = engine.predict(model, dataset=PredictDataset(folder), return_predictions=True)
    return [batch.anomaly_map[0] for batch in batches]


def exported_map(program: Program, image: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(program(image.numpy())["anomaly_map"]).squeeze(1)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return openvino_program(TinyModel().to_openvino(tmp_path_factory.mktemp("exact")))


def test_export_gives_the_pixels_of_predict(program: Program, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", SIZES)
    images = [PredictDataset(folder)[index].image[None] for index in range(len(SIZES))]
    for expected, image in zip(predicted_maps(TinyModel(), folder, tmp_path), images, strict=True):
        assert expected.shape == (SIDE, SIDE)
        torch.testing.assert_close(
            exported_map(program, image)[0], expected.as_subclass(torch.Tensor), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [(97, 131), (SIDE, SIDE)])
def test_export_takes_any_batch(program: Program, count: int, size: tuple[int, int]) -> None:
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = TinyModel().eval()(images).anomaly_map[:, 0]
    torch.testing.assert_close(exported_map(program, images), expected, atol=1e-5, rtol=0)


def test_anomalibs_own_pre_processor_exports_other_pixels(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", [(300, 200)])
    model = TinyModel(pre_processor=PreProcessor(v2.Resize((SIDE, SIDE), antialias=True)))
    expected = predicted_maps(model, folder, tmp_path)[0]
    exported = exported_map(openvino_program(model.to_openvino(tmp_path)), PredictDataset(folder)[0].image[None])[0]
    assert (expected - exported).abs().max() > 0.01


def test_images_of_mixed_sizes_are_stacked(tmp_path: Path) -> None:
    write_images(tmp_path / "good", SIZES)
    write_images(tmp_path / "bad", SIZES, bright=True)
    folders = {"normal_dir": "good", "abnormal_dir": "bad", "mask_dir": "bad_masks"}
    data = folder_data(tmp_path, **folders, val_split_mode="same_as_test", eval_batch_size=4)
    engine = Engine(default_root_dir=tmp_path / "out", logger=False)
    batches = engine.predict(TinyModel(), datamodule=data, return_predictions=True)
    assert isinstance(data.test_data.augmentations, ExactResize)
    assert batches[0].image.shape == (4, 3, SIDE, SIDE)
    assert batches[0].gt_mask.shape == (4, SIDE, SIDE)


def test_export_transform_is_the_transform() -> None:
    processor = ExactPreProcessor((64, 128))
    assert processor.export_transform is processor.transform
    assert TinyModel().input_size == (SIDE, SIDE)


def test_checkpoint_keeps_the_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "good", [(40, 40)] * 3)
    engine = Engine(default_root_dir=tmp_path / "out", logger=False)
    data = folder_data(tmp_path, normal_dir="good", test_split_mode="none", val_split_mode="from_train")
    with caplog.at_level(logging.WARNING, logger="anomalib"):
        engine.fit(TinyModel(pre_processor=ExactPreProcessor((32, 48), stride=16)), datamodule=data)
        engine.trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=False)
        restored = TinyModel.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True).pre_processor
    assert "Cannot persist" not in caplog.text
    assert restored.image_size == (32, 48)
    assert restored.stride == 16
    assert restored.export_transform is restored.transform
    assert restored(torch.rand(1, 3, 99, 99)).shape == (1, 3, 32, 48)


@pytest.mark.parametrize("size", [0, 60, -64, (64, 60), (64,), (64, 64, 64)])
def test_sizes_off_the_stride_are_refused(size: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positive multiple of 8: choose for example"):
        ExactPreProcessor(size, stride=8)


def test_grey_images_are_three_equal_channels() -> None:
    grey = torch.rand(2, 1, 50, 70)
    assert torch.equal(ExactPreProcessor(64)(grey), ExactPreProcessor(64)(grey.repeat(1, 3, 1, 1)))

"""Training, prediction and export see the same pixels; anomalib's own pre-processor does not manage that."""

import io
from pathlib import Path

import pytest
import torch
from anomalib.data import PredictDataset
from anomalib.engine import Engine
from anomalib.pre_processing import PreProcessor
from torchvision.transforms import v2

from anomalib_stc.host.pre_processor import ExactPreProcessor
from anomalib_stc.host.resize import Resize, ThreeChannels
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
    assert isinstance(data.test_data.augmentations, Resize)
    assert batches[0].image.shape == (4, 3, SIDE, SIDE)
    assert batches[0].gt_mask.shape == (4, SIDE, SIDE)


def test_the_size_is_known() -> None:
    assert TinyModel().input_size == (SIDE, SIDE)


def saved_and_loaded(processor: ExactPreProcessor) -> ExactPreProcessor:
    """Return another pre-processor that has read the checkpoint of one."""
    content = io.BytesIO()
    torch.save(processor.checkpoint_config(), content)
    content.seek(0)
    other = ExactPreProcessor(128)
    other.load_checkpoint_config(torch.load(content, weights_only=True))
    return other


USERS = {
    "size": ExactPreProcessor((32, 48)),
    "resize": ExactPreProcessor(transform=v2.Resize((32, 48))),
    "crop": ExactPreProcessor(transform=v2.Compose([v2.Resize((64, 64)), v2.CenterCrop((32, 48))])),
    "shorter side": ExactPreProcessor(transform=v2.Resize(32)),
    "nothing": ExactPreProcessor(transform=v2.Compose([ThreeChannels()])),
}


@pytest.mark.parametrize("processor", USERS.values(), ids=USERS.keys())
def test_checkpoint_keeps_the_transforms(processor: ExactPreProcessor) -> None:
    image = torch.rand(1, 3, 99, 120, generator=torch.Generator().manual_seed(0))
    again = saved_and_loaded(processor)
    assert torch.equal(again.transform(image), processor.transform(image))
    assert torch.equal(again(image), processor.transform(image))


def test_programs_find_a_resize_by_its_name_and_size() -> None:
    found = [step for step in ExactPreProcessor((32, 48)).transform.transforms if type(step).__name__ == "Resize"]
    assert [list(step.size) for step in found] == [[32, 48]]


def test_a_shorter_side_keeps_the_ratio_as_torchvisions_does() -> None:
    image = torch.rand(1, 3, 60, 90, generator=torch.Generator().manual_seed(0))
    for theirs in (v2.Resize(32), v2.Resize(32, max_size=40)):
        resized = ExactPreProcessor(transform=theirs).transform(image)
        torch.testing.assert_close(resized, theirs(image), atol=1e-5, rtol=0)


def test_a_size_that_depends_on_the_image_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="give height and width"):
        TinyModel(pre_processor=ExactPreProcessor(transform=v2.Resize(32))).to_onnx(tmp_path)


def test_normalised_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^The pre-processor has a Normalize .*: take it out; .*\.$"):
        ExactPreProcessor(transform=v2.Compose([v2.Resize((64, 64)), v2.Normalize([0.5] * 3, [0.2] * 3)]))


@pytest.mark.parametrize("before", [v2.CenterCrop(40), v2.GaussianBlur(3, 1.0)], ids=["crop", "blur"])
def test_a_resize_comes_first(before: v2.Transform) -> None:
    """Data modules put it first: weights and thresholds would belong to other pixels than prediction has."""
    message = rf"^The pre-processor has {type(before).__name__}\(.*\) before its Resize, .*: change the order\.$"
    with pytest.raises(ValueError, match=message):
        ExactPreProcessor(transform=v2.Compose([v2.ToImage(), before, v2.Resize((64, 64))]))
    ExactPreProcessor(transform=v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Resize((64, 64)), before]))


def test_what_a_checkpoint_cannot_hold_has_to_be_the_same() -> None:
    """Whatever it is, by its parameters; a function by its name."""
    given, same, other = (
        ExactPreProcessor(transform=v2.Compose([v2.Resize((64, 64)), v2.Lambda(abs), v2.GaussianBlur(3, sigma)]))
        for sigma in (1.0, 1.0, 2.0)
    )
    same.load_checkpoint_config(given.checkpoint_config())
    with pytest.raises(ValueError, match=r"sigma=\[1.0, 1.0\]\)\), but .*sigma=\[2.0, 2.0\]\): give the same"):
        other.load_checkpoint_config(given.checkpoint_config())


def test_what_a_checkpoint_cannot_hold_has_to_be_given_again() -> None:
    class Own(v2.Transform):
        """A user's transform."""

    processor = ExactPreProcessor(transform=Own())
    processor.load_checkpoint_config(processor.checkpoint_config())
    with pytest.raises(ValueError, match=r"a pre-processor that it cannot hold .*: give the same as pre_processor\.$"):
        saved_and_loaded(processor)


@pytest.mark.parametrize("size", [0, -64, (64,), (64, 64, 64)])
def test_sizes_that_are_none_are_refused(size: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Image size"):
        ExactPreProcessor(size)


def test_grey_images_are_three_equal_channels() -> None:
    grey = torch.rand(2, 1, 50, 70)
    assert torch.equal(ExactPreProcessor(64)(grey), ExactPreProcessor(64)(grey.repeat(1, 3, 1, 1)))

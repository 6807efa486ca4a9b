"""The reconstruction travels with the batch, and is drawn beside image, anomaly map and mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch, InferenceBatch
from anomalib.engine import Engine
from PIL import Image

from anomalib_stc.host.batch import ReconstructionBatch, ReconstructionItem, with_reconstruction
from anomalib_stc.host.evaluator import AuproEvaluator
from anomalib_stc.host.post_processor import NormalPostProcessor
from anomalib_stc.host.visualizer import ReconstructionVisualizer
from tests.host.tiny_model import SIDE, TinyModel, folder_data, write_images

GREEN = torch.tensor([0.0, 1.0, 0.0])[None, :, None, None]
PANEL = 32


class GreenModel(TinyModel):
    """A model whose reconstruction is all green."""

    def __init__(self) -> None:
        super().__init__(True, NormalPostProcessor(), AuproEvaluator(), plain_visualizer())

    def test_step(self, batch: ImageBatch, batch_idx: int) -> ImageBatch:
        return with_reconstruction(batch, self.model(batch.image), GREEN.expand_as(batch.image))

    def predict_step(self, batch: ImageBatch, batch_idx: int, dataloader_idx: int = 0) -> ImageBatch:
        return self.test_step(batch, batch_idx)


def plain_visualizer(**arguments: Any) -> ReconstructionVisualizer:
    return ReconstructionVisualizer(field_size=(PANEL, PANEL), text_config={"enable": False}, **arguments)


def predicted(count: int = 2, masks: bool = True, reconstruction: bool = True) -> ImageBatch:
    image = torch.zeros(count, 3, 16, 16)
    batch = ImageBatch(image=image, gt_mask=torch.ones(count, 16, 16) if masks else None)
    predictions = InferenceBatch(pred_score=torch.full((count,), 0.7), anomaly_map=torch.zeros(count, 1, 16, 16))
    if not reconstruction:
        return batch.update(**predictions._asdict())
    return with_reconstruction(batch, predictions, GREEN.expand_as(image))


def panels(picture: Image.Image) -> list[tuple[int, ...]]:
    """Mean colour of each panel."""
    pixels = np.asarray(picture)
    return [tuple(part.mean(axis=(0, 1)).round().astype(int)) for part in np.split(pixels, pixels.shape[1] // PANEL, 1)]


def test_a_proxy_is_drawn_before_the_reconstruction_where_there_is_one() -> None:
    image, blue = torch.zeros(1, 3, 16, 16), GREEN.roll(1, 1)
    batch = with_reconstruction(
        ImageBatch(image=image), InferenceBatch(), GREEN.expand_as(image), proxy=blue.expand_as(image)
    )
    fields = ["image", "proxy", "reconstruction"]
    picture = plain_visualizer(fields=fields, overlay_fields=[("image", ["gt_mask"])]).visualize(batch)
    assert panels(picture)[:3] == [(0, 0, 0), (0, 0, 255), (0, 255, 0)]
    assert batch.to_numpy().proxy.shape == (1, 16, 16, 3)


def test_the_batch_stays_the_same_object() -> None:
    batch = ImageBatch(image=torch.zeros(2, 3, 8, 8), image_path=["a.png", "b.png"])
    result = with_reconstruction(batch, InferenceBatch(pred_score=torch.ones(2)), torch.ones(2, 3, 8, 8))
    assert result is batch
    assert isinstance(batch, ReconstructionBatch)
    assert batch.pred_score.tolist() == [1, 1]
    assert batch.image_path == ["a.png", "b.png"]


def test_items_hold_their_reconstruction() -> None:
    batch = ImageBatch(image=torch.zeros(2, 3, 8, 8))
    values = torch.rand(2, 3, 8, 8)
    for item, value in zip(with_reconstruction(batch, InferenceBatch(), values), values, strict=True):
        assert isinstance(item, ReconstructionItem)
        assert torch.equal(item.reconstruction, value)


def with_turns(count: int) -> ImageBatch:
    """Two turns: the first hides all, and made the image blue; the second hides nothing."""
    batch = predicted(count)
    turns = torch.zeros(count, 2, 5, 16, 16)
    turns[:, 0, 2:] = 1
    return batch.update(turns=turns)


def test_turns_are_rows_below() -> None:
    visualizer = plain_visualizer()
    pixels = np.asarray(visualizer.visualize(with_turns(1)))
    assert pixels.shape == (3 * PANEL, 5 * PANEL, 3)
    rows = [panels(Image.fromarray(row)) for row in np.split(pixels, 3)]
    black, white, blue = (0, 0, 0), (255, 255, 255), (0, 0, 255)
    assert rows[0] == panels(visualizer.visualize(predicted(1)))
    assert rows[1][:3] == [black, white, blue]
    assert rows[2][:3] == [black, black, black]
    assert rows[1][3] != rows[2][3], "high and low values of the map"
    assert rows[1][4] == rows[2][4] == white, "padding"
    for same in (with_turns(2).items[0], with_turns(1).to_numpy()):
        assert np.array_equal(np.asarray(visualizer.visualize(same)), pixels)
    assert np.asarray(plain_visualizer(fields=["image"]).visualize(with_turns(1))).shape[0] == PANEL


def test_a_second_step_replaces_the_first() -> None:
    batch = predicted()
    with_reconstruction(batch, InferenceBatch(), torch.ones(2, 3, 16, 16))
    assert batch.reconstruction.min() == 1


def test_numpy_puts_channels_last_like_the_image() -> None:
    batch = predicted().to_numpy()
    assert batch.reconstruction.shape == batch.image.shape == (2, 16, 16, 3)
    assert batch.items[0].reconstruction.shape == (16, 16, 3)
    assert predicted().items[0].to_numpy().reconstruction.shape == (16, 16, 3)


def test_another_kind_of_batch_keeps_its_class() -> None:
    class OwnBatch(ImageBatch):
        pass

    batch = OwnBatch(image=torch.zeros(1, 3, 8, 8))
    assert type(with_reconstruction(batch, InferenceBatch(), torch.ones(1, 3, 8, 8))) is OwnBatch
    assert plain_visualizer().visualize(batch) is not None


def test_panels_stand_in_order() -> None:
    black, white, green = (0, 0, 0), (255, 255, 255), (0, 255, 0)
    image, reconstruction, anomaly_map, mask, overlay = panels(plain_visualizer().visualize(predicted(1)))
    assert (image, reconstruction, mask, overlay) == (black, green, white, black)
    assert anomaly_map[2] > 100 > anomaly_map[0]


def test_batches_items_and_numpy_draw_the_same() -> None:
    visualizer = plain_visualizer()
    expected = panels(visualizer.visualize(predicted(1)))
    assert [panels(picture) for picture in visualizer.visualize(predicted(2))] == [expected, expected]
    assert panels(visualizer.visualize(next(iter(predicted(2))))) == expected
    assert panels(visualizer.visualize(predicted(1).to_numpy())) == expected


@pytest.mark.parametrize(("masks", "reconstruction"), [(False, True), (True, False), (False, False)])
def test_what_is_missing_is_left_out(masks: bool, reconstruction: bool) -> None:
    picture = plain_visualizer().visualize(predicted(1, masks, reconstruction))
    assert len(panels(picture)) == 3 + masks + reconstruction


def test_panels_are_named() -> None:
    with_text = ReconstructionVisualizer(fields=["reconstruction"]).visualize(predicted(1))
    without = ReconstructionVisualizer(fields=["reconstruction"], text_config={"enable": False}).visualize(predicted(1))
    assert with_text.size == without.size
    assert not np.array_equal(np.asarray(with_text), np.asarray(without))


def test_other_inputs_are_refused_by_anomalib() -> None:
    with pytest.raises(TypeError, match="Unsupported input type"):
        ReconstructionVisualizer().visualize(torch.zeros(3, 8, 8))


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    write_images(tmp_path / "good", [(SIDE, SIDE)] * 5, seed=10)
    write_images(tmp_path / "bad", [(SIDE, 80)] * 2, bright=True, seed=30)
    return tmp_path


def data(root: Path, **arguments: Any):
    return folder_data(
        root, normal_dir="good", abnormal_dir="bad", val_split_mode="same_as_test", test_split_ratio=0.4, **arguments
    )


@pytest.mark.parametrize("masks", [True, False])
def test_a_test_run_saves_pictures_and_metrics(data_root: Path, masks: bool) -> None:
    model = GreenModel()
    model.post_processor.fit_normals(torch.tensor([0.4, 0.5]), torch.rand(2, SIDE, SIDE) / 2, 0.99)
    engine = Engine(default_root_dir=data_root / "out", logger=False)
    results = engine.test(model, datamodule=data(data_root, **({"mask_dir": "bad_masks"} if masks else {})))
    assert results[0]["image_AUROC"] == 1
    assert ("pixel_AUPRO" in results[0]) is masks
    pictures = sorted((data_root / "out").rglob("images/bad/*.png"))
    assert len(pictures) == 2
    assert (0, 255, 0) in panels(Image.open(pictures[0]))
    assert len(panels(Image.open(pictures[0]))) == 4 + masks


def test_predict_saves_pictures_and_returns_reconstructions(data_root: Path) -> None:
    engine = Engine(default_root_dir=data_root / "out", logger=False)
    batches = engine.predict(GreenModel(), data_path=data_root / "bad", return_predictions=True)
    assert [batch.reconstruction.shape for batch in batches] == [(1, 3, SIDE, SIDE)] * 2
    assert len(list((data_root / "out").rglob("images/bad/*.png"))) == 2

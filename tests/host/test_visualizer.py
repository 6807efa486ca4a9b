"""The reconstruction travels with the batch, and is drawn beside image, anomaly map and mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch, InferenceBatch
from anomalib.engine import Engine
from anomalib.visualization import ImageVisualizer
from PIL import Image

from anomalib_stc.host.batch import ReconstructionBatch, ReconstructionItem, with_reconstruction
from anomalib_stc.host.evaluator import AuproEvaluator
from anomalib_stc.host.post_processor import NormalPostProcessor, summary
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
    model.post_processor.fit_normals(torch.tensor([0.4, 0.5]), summary(torch.rand(2, 1, SIDE, SIDE) / 2, 0.01), 0.01)
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


def test_images_of_one_name_have_pictures_of_their_own(tmp_path: Path) -> None:
    """From two cameras, each with a folder of good images; once more, they are replaced."""
    for camera in ("one", "two"):
        write_images(tmp_path / "images" / camera / "good", [(SIDE, SIDE)] * 2)
    model = GreenModel()
    model.visualizer.output_dir = tmp_path / "out"
    for _ in range(2):
        Engine(logger=False, default_root_dir=tmp_path).predict(model, data_path=tmp_path / "images")
        found = sorted(path.name for path in (tmp_path / "out").rglob("*.png"))
        assert found == ["0.png", "1.png", "two_0.png", "two_1.png"]


def test_every_run_has_a_folder_of_its_own(data_root: Path) -> None:
    model = GreenModel()
    for name in ("first", "second"):
        Engine(default_root_dir=data_root / name, logger=False).predict(model, data_path=data_root / "bad")
        assert len(list((data_root / name).rglob("images/bad/*.png"))) == 2


class RedMapModel(GreenModel):
    """Its map is an image's red channel, normalised by a threshold that the test sets; its pictures are maps only."""

    def __init__(self, threshold: float, **arguments: Any) -> None:
        super().__init__()
        self.post_processor = NormalPostProcessor(**arguments)
        self.post_processor.fit_normals(torch.tensor([threshold]), torch.full((1, 3), threshold), 0.01)
        self.post_processor.pixel_min.fill_(0)
        self.visualizer = ReconstructionVisualizer(
            fields=["anomaly_map"],
            overlay_fields=[("anomaly_map", ["gt_mask"])],
            field_size=(SIDE, SIDE),
            text_config={"enable": False},
        )


def saved(model: GreenModel, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Red channel (H, W) of every image of a folder, and the colours (H, W, 3) of its map in the picture of it."""
    engine = Engine(default_root_dir=folder.parent / "out", logger=False)
    engine.predict(model, data_path=folder, return_predictions=False)
    pictures = {path.stem: path for path in (folder.parent / "out").rglob("*.png")}
    images = {path.stem: np.asarray(Image.open(path))[..., 0] for path in folder.glob("*.png")}
    assert set(pictures) == set(images)
    maps = {name: np.asarray(Image.open(path)).astype(int)[:, :SIDE] for name, path in pictures.items()}
    return {name: (images[name], maps[name]) for name in images}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images: dim, bright, and both."""
    (tmp_path / "images").mkdir()
    steps = np.linspace(0, 120, SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    both = np.where(np.arange(SIDE) < SIDE // 2, steps, steps + 130).astype(np.uint8)
    for name, values in {"dim": steps, "bright": steps + 130, "both": both}.items():
        Image.fromarray(np.stack([values] * 3, axis=-1)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path / "images"


def test_a_saved_picture_is_red_only_above_the_threshold(folder: Path) -> None:
    for name, (values, colours) in saved(RedMapModel(125 / 255), folder).items():
        red = colours[..., 0] > colours[..., 2]
        assert np.array_equal(red, values > 125), name
        assert (colours[..., 0][~red] == 0).all(), "below it there is no red at all"
        assert {"dim": not red.any(), "bright": red.all(), "both": red.mean() == 0.5}[name]


def test_a_value_has_one_colour_in_all_pictures_of_a_run(folder: Path) -> None:
    colours: dict[int, set[tuple[int, ...]]] = {}
    for values, picture in saved(RedMapModel(125 / 255), folder).values():
        for value, colour in zip(values.flatten(), picture.reshape(-1, 3), strict=True):
            colours.setdefault(int(value), set()).add(tuple(colour))
    assert len(colours) > 200
    assert {len(found) for found in colours.values()} == {1}


@pytest.mark.parametrize(
    "given", [{"pixel_sensitivity": 0.3}, {"pixel_sensitivity": 0.7}, {"enable_normalization": False}]
)
def test_red_is_what_the_mask_holds_whatever_the_post_processor_does(folder: Path, given: dict[str, Any]) -> None:
    model = RedMapModel(125 / 255, **given)
    pictures = saved(model, folder)
    masks = {}
    for batch in Engine(default_root_dir=folder.parent / "again", logger=False).predict(model, data_path=folder):
        masks[Path(batch.image_path[0]).stem] = batch.pred_mask[0].numpy()
    for name, (_, colours) in pictures.items():
        assert np.array_equal(colours[..., 0] > 0, masks[name]), name
    assert 0 < sum(mask.mean() for mask in masks.values()) < 3


def test_maps_over_other_fields_have_the_same_colours() -> None:
    batch = predicted(1).update(anomaly_map=torch.tensor([0.2, 0.9]).repeat_interleave(8).expand(1, 1, 16, 16))
    overlays = [("image", ["anomaly_map"]), ("reconstruction", ["anomaly_map"])]
    half = plain_visualizer(fields=["anomaly_map"], overlay_fields=overlays)
    all_of_it = plain_visualizer(
        fields=["image"], overlay_fields=overlays, overlay_fields_config={"anomaly_map": {"alpha": 1.0}}
    )
    colours, over_black, over_green = np.split(np.asarray(half.visualize(batch)).astype(int), 3, 1)
    assert np.abs(over_black - colours / 2).max() <= 2
    assert np.abs(over_green - (colours + np.array([0, 255, 0])) / 2).max() <= 2
    assert np.array_equal(np.split(np.asarray(all_of_it.visualize(batch)), 3, 1)[1], colours)
    assert (colours[:, : PANEL // 2, 0] == 0).all()
    assert (colours[:, PANEL // 2 :, 0] > 0).all()


@pytest.mark.parametrize("which", ["fields_config", "overlay_fields_config"])
@pytest.mark.parametrize("config", [{"normalize": True}, {"colormap": False}])
def test_another_scale_is_refused(which: str, config: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match=r"^Config of 'anomaly_map' came as .*, expected nothing but alpha"):
        ReconstructionVisualizer(**{which: {"anomaly_map": config}})


def test_anomalibs_own_visualizer_draws_our_batches(folder: Path) -> None:
    model = RedMapModel(125 / 255)
    model.visualizer = ImageVisualizer(fields=["image", "anomaly_map"])
    engine = Engine(default_root_dir=folder.parent / "out", logger=False)
    batches = engine.predict(model, data_path=folder)
    assert len(list((folder.parent / "out").rglob("*.png"))) == len(batches) == 3
    assert batches[0].reconstruction is not None


@pytest.mark.parametrize("off", [False, None])
@pytest.mark.parametrize("used", [False, True])
def test_a_visualizer_that_is_switched_off_draws_nothing(folder: Path, off: Any, used: bool) -> None:
    """After a first run too: the engine's trainer still holds it, and would run it before scores are normalised."""
    model = RedMapModel(125 / 255)
    engine = Engine(default_root_dir=folder.parent / "out", logger=False)
    if used:
        engine.predict(model, data_path=folder)
    for picture in (folder.parent / "out").rglob("*.png"):
        picture.unlink()
    model.visualizer = off
    engine.predict(model, data_path=folder)
    assert list((folder.parent / "out").rglob("*.png")) == []


def test_a_visualizer_draws_for_a_checkpoint_that_was_trained_without(folder: Path) -> None:
    model, path = RedMapModel(125 / 255), folder.parent / "model.ckpt"
    model.visualizer = None
    engine = Engine(default_root_dir=folder.parent / "out", logger=False)
    engine.predict(model, data_path=folder)
    engine.trainer.save_checkpoint(path)
    assert list((folder.parent / "out").rglob("*.png")) == []
    engine = Engine(default_root_dir=folder.parent / "out", logger=False)
    engine.predict(RedMapModel(99 / 255), data_path=folder, ckpt_path=path)
    assert len(list((folder.parent / "out").rglob("*.png"))) == 3


def test_turns_are_taken_out_of_the_batch_when_they_are_drawn(folder: Path) -> None:
    class TurnsModel(RedMapModel):
        def predict_step(self, batch: ImageBatch, batch_idx: int, dataloader_idx: int = 0) -> ImageBatch:
            return super().predict_step(batch, batch_idx).update(turns=torch.zeros(len(batch), 2, 5, SIDE, SIDE))

    model = TurnsModel(125 / 255)
    model.visualizer = plain_visualizer()
    engine = Engine(default_root_dir=folder.parent / "out", logger=False)
    assert [batch.turns for batch in engine.predict(model, data_path=folder)] == [None] * 3
    with Image.open(next((folder.parent / "out").rglob("*.png"))) as picture:
        assert picture.size[1] == 3 * PANEL

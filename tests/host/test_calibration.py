"""Curves and thresholds come from normal images not learnt from, before every checkpoint, however training ends."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from anomalib.data import Folder, ImageBatch, ImageItem
from anomalib.engine import Engine
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from anomalib_stc.host import normals
from anomalib_stc.host.calibration import HoldoutCalibration
from anomalib_stc.host.post_processor import NormalPostProcessor, pixel_threshold, summary
from anomalib_stc.host.state import fingerprint, is_of_bank
from anomalib_stc.parts.bank import IMAGES, TERMS, MemoryBank
from anomalib_stc.parts.features import PatchFeatures, Seen
from anomalib_stc.parts.quantile import upper_quantile
from anomalib_stc.parts.score import AnomalyScore
from anomalib_stc.parts.scored_model import ScoredModel
from anomalib_stc.parts.sizes import in_cells
from anomalib_stc.parts.tail import fitted
from tests.host.tiny_model import SIDE, TinyModel, folder_data, write_images

COUNT = 12
OWN = {"red": 2.0, "green": 1.0}
BANK = {"bank_pixel": 1.0, "bank_fine": 1.0}
ITEMS = 300  # of a bank; twelve images have 768 cells


class Inferred(NamedTuple):
    seen: Seen


class Terms(ScoredModel):
    """Two terms of its own, red and green channel, the first times a weight that training changes, and two of a bank.

    Args:
        weights: Of the score.
    """

    def __init__(self, weights: dict[str, float]) -> None:
        super().__init__()
        self.features = PatchFeatures()
        self.bank = MemoryBank(self.features, ITEMS)
        self.weight = nn.Parameter(torch.ones(()))
        self.score = AnomalyScore(weights, sigma=0.0, bank=TERMS)

    def start(self, images: list[Tensor], features: list[Tensor], seed: int) -> None:
        """There is nothing else to fill."""

    def learn(self, image: Tensor) -> Tensor:
        return image

    def infer(self, image: Tensor) -> Inferred:
        assert not self.training
        return Inferred(self.features.see(image))

    def own_residuals(self, inferred: Inferred, names: Iterable[str]) -> dict[str, Tensor]:
        red, green, _ = inferred.seen.image.split(1, dim=1)
        terms = {"red": in_cells(red, red.shape) * self.weight.abs(), "green": 3 * F.avg_pool2d(green, 8)}
        return {name: terms[name] for name in names}


class Calibrated(TinyModel):
    def __init__(self, weights: dict[str, float] = {**OWN, **BANK}) -> None:  # noqa: B006 # never changed
        super().__init__(True, NormalPostProcessor())
        self.model = Terms(weights)
        self.calibration = HoldoutCalibration(0.25, 0.1)
        self.trained_on: set[str] = set()

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """The length is the test's."""
        return {name: value for name, value in super().trainer_arguments.items() if name != "max_epochs"}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.calibration.complete(self, checkpoint)
        super().on_save_checkpoint(checkpoint)

    def on_train_start(self) -> None:
        self.calibration.normals.find(self.trainer)
        self.prepare()
        self.calibration.note_bank(self)

    def prepare(self, seed: int = 0) -> None:
        held_out, training = self.calibration.normals.known(self, IMAGES, seed)
        self.model.prepare(training, seed, held_out)

    def configure_callbacks(self) -> list[Callback]:
        return [*super().configure_callbacks(), self.calibration]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.01)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert self.model.training
        self.trained_on |= set(batch.image_path)
        return self.model.weight.square() * batch.image.mean()


class KeepAll(ModelCheckpoint):
    """A second checkpoint beside anomalib's own."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path / "good", [(SIDE, 80)] * (COUNT + 4))
    write_images(tmp_path / "bad", [(SIDE, 80)] * 2, bright=True, seed=100)
    return tmp_path


def data(root: Path, **arguments: Any) -> Folder:
    """A quarter of the normal images validates, unless told otherwise; `COUNT` are left to train on."""
    settings = {"test_split_mode": "none", "val_split_mode": "from_train", "val_split_ratio": 0.25, **arguments}
    return folder_data(root, normal_dir="good", **settings)


def with_anomalies(root: Path) -> Folder:
    split = {"test_split_mode": "from_dir", "test_split_ratio": 0.25, "val_split_mode": "same_as_test"}
    return data(root, abnormal_dir="bad", **split)


def fit(
    root: Path, datamodule: Folder | None = None, model: Calibrated | None = None, **trainer: Any
) -> tuple[Calibrated, Engine]:
    torch.manual_seed(0)
    model = model or Calibrated()
    engine = Engine(default_root_dir=root / "out", logger=False, enable_progress_bar=False, **trainer)
    engine.fit(model, datamodule=datamodule or data(root))
    return model, engine


def held_out(model: Calibrated) -> list[Tensor]:
    return list(model.calibration.normals.images(model, model.calibration.normals.held_out))


@torch.no_grad()
def assert_own_curves(model: Calibrated, msg: str | None = None) -> None:
    """Assert that the curves of a model's own terms are those of its weights on the held-out images."""
    red, green, _ = torch.cat(held_out(model)).split(1, dim=1)
    expected = {"red": F.avg_pool2d(red, 4) * model.model.weight.abs(), "green": 3 * F.avg_pool2d(green, 8)}
    for name, residual in expected.items():
        torch.testing.assert_close(model.model.score.scale(name), fitted(residual), rtol=1e-5, atol=1e-6, msg=msg)


def test_held_out_images_are_not_trained_on_and_come_back(root: Path) -> None:
    datamodule = data(root)
    model, _ = fit(root, datamodule, max_epochs=1)
    held = set(model.calibration.normals.held_out.samples.image_path)
    assert (len(held), len(model.trained_on)) == (3, 9)
    assert not held & model.trained_on
    assert len(datamodule.train_data) == COUNT


def test_held_out_images_are_seen_as_at_test_time(root: Path) -> None:
    model, _ = fit(root, data(root, train_augmentations=v2.RandomInvert(p=1.0)), max_epochs=1)
    seen = torch.cat(held_out(model))
    assert seen.shape == (3, 3, SIDE, SIDE)
    assert seen.max() < 0.6


def test_held_out_images_go_through_what_the_data_module_does_to_test_images(root: Path) -> None:
    model, _ = fit(root, data(root, augmentations=v2.RandomInvert(p=1.0)), max_epochs=1)
    assert torch.cat(held_out(model)).min() > 0.4
    assert_own_curves(model)


def test_held_out_images_go_through_the_data_modules_collate_function(root: Path) -> None:
    datamodule = data(root)
    datamodule.external_collate_fn = left_half
    model, _ = fit(root, datamodule, max_epochs=1)
    assert torch.cat(held_out(model)).shape == (3, 3, SIDE, SIDE)
    wide = [item.image for item in model.calibration.normals.held_out]
    torch.testing.assert_close(
        torch.cat(held_out(model)),
        torch.stack([model.pre_processor.transform(image[..., : SIDE // 2]) for image in wide]),
    )


def left_half(items: list[Any]) -> ImageBatch:
    """Cut images as a tiled ensemble does."""
    batch = ImageBatch.collate(items)
    return batch.update(image=batch.image[..., : SIDE // 2], gt_mask=None)


def test_images_of_mixed_sizes_are_held_out(tmp_path: Path) -> None:
    write_images(tmp_path / "good", [(SIDE + 3 * number, 80) for number in range(COUNT)])
    model, _ = fit(tmp_path, data(tmp_path, train_batch_size=2), max_epochs=1)
    assert model.model.score.calibrated


def test_more_than_8_bit_is_told(root: Path, recwarn: pytest.WarningsRecorder) -> None:
    Image.fromarray(np.full((SIDE, SIDE), 30000, dtype=np.uint16)).save(root / "good" / "deep.png")
    fit(root, max_epochs=1)
    told = [str(one.message) for one in recwarn if "more than 8 bit" in str(one.message)]
    assert len(told) == 1
    assert "deep.png has more than 8 bit a channel (mode I;16)" in told[0]


def test_a_truncated_image_is_named(root: Path) -> None:
    path = root / "good" / "5.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(OSError, match="truncated") as caught:
        fit(root, data(root, val_split_ratio=0.01), max_epochs=1)
    assert any("5.png cannot be read" in note and "replace or remove it" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("weights", [OWN, {**OWN, **BANK}], ids=["own terms", "bank"])
@torch.no_grad()
def test_thresholds_are_quantiles(root: Path, weights: dict[str, float]) -> None:
    """Of scores and maps of held-out images, or of all that a bank knows, each as if it did not know it."""
    model, _ = fit(root, model=Calibrated(weights), max_epochs=2)
    assert_own_curves(model)
    network = model.model.eval()
    images = torch.cat(held_out(model)) if weights == OWN else known_images(model)
    found = network.predict(images, network.infer(images), range(len(images)))
    scores = found.pred_score if weights == OWN else network.known_scores
    assert len(scores) == (3 if weights == OWN else COUNT)
    assert model.post_processor.image_threshold.item() == pytest.approx(upper_quantile(scores, 0.9).item(), rel=1e-5)
    level = pixel_threshold(summary(found.anomaly_map, 0.1), 0.1)
    assert model.post_processor.pixel_threshold.item() == pytest.approx(level.item(), rel=1e-5)
    assert f"the 0.9 quantile of {len(scores)} normal images" in model.post_processor._fitted_on


def assert_complete(path: Path, model: Calibrated) -> None:
    """A checkpoint has the scales of its own weights on the held-out images, and their thresholds."""
    saved = Calibrated.load_from_checkpoint(path, weights_only=True)
    saved.calibration.normals.held_out = model.calibration.normals.held_out
    assert_own_curves(saved, path.name)
    assert saved.post_processor.normal_image_threshold.isfinite()
    assert saved.post_processor.normal_pixel_threshold.isfinite()


ENDINGS = {
    "epochs": ({"max_epochs": 2}, {3, 6}),
    "steps": ({"max_epochs": -1, "max_steps": 6}, {3, 6}),
    "steps within an epoch": ({"max_epochs": -1, "max_steps": 5}, {3, 5}),
    "steps within the first epoch": ({"max_epochs": -1, "max_steps": 2}, {2}),
    "time": ({"max_epochs": -1, "max_time": {"seconds": 1e-3}}, {1}),
    "rare validation": ({"max_epochs": 3, "check_val_every_n_epoch": 2}, {6}),
}


@pytest.mark.parametrize("datamodule", [data, with_anomalies], ids=["normal validation", "anomalies in validation"])
@pytest.mark.parametrize(("ending", "steps"), ENDINGS.values(), ids=ENDINGS.keys())
def test_every_checkpoint_is_complete(root: Path, ending: Any, steps: set[int], datamodule: Any) -> None:
    keep = KeepAll(root / "kept", filename="{step}", save_top_k=-1, save_last=True)
    model, _ = fit(root, datamodule(root), callbacks=[keep], **ending)
    paths = {path.name: path for path in (root / "kept").glob("*.ckpt")}
    assert {f"step={step}.ckpt" for step in steps} <= paths.keys()
    for path in paths.values():
        assert_complete(path, model)
    assert_own_curves(model)


def test_the_last_checkpoint_is_complete_without_validation(root: Path) -> None:
    model, engine = fit(root, max_epochs=2, limit_val_batches=0)
    assert_complete(Path(engine.trainer.checkpoint_callback.best_model_path), model)


def test_without_a_data_module_the_training_images_serve_and_the_log_says_so(root: Path, caplog: Any) -> None:
    datamodule = data(root)
    datamodule.prepare_data()
    datamodule.setup()
    model = Calibrated()
    engine = Engine(default_root_dir=root / "out", logger=False, enable_progress_bar=False, max_epochs=1)
    engine.fit(model, train_dataloaders=datamodule.train_dataloader())
    assert "scales and thresholds come from the training images themselves" in caplog.text
    assert len(model.calibration.normals.held_out) == len(model.model.known_scores) == COUNT
    assert_own_curves(model)


@pytest.mark.parametrize("held", [True, False])
def test_images_that_are_there_twice_have_the_thresholds_of_once(root: Path, held: bool) -> None:
    """By a data module, or by a loader: leaving an image out leaves out all of its copies."""
    fitted_on = []
    for copies in (1, 3):
        datamodule = data(root, seed=0)
        datamodule.setup()
        whole = datamodule.train_data
        whole.samples = pd.concat([whole.samples] * copies, ignore_index=True)
        whole.samples.attrs["task"] = "segmentation"
        model = Calibrated()
        engine = Engine(default_root_dir=root / "out", logger=False, enable_progress_bar=False, max_epochs=1)
        loader = DataLoader(whole, batch_size=4, collate_fn=whole.collate_fn)
        whole.augmentations = model.pre_processor.transform
        engine.fit(model, **({"datamodule": datamodule} if held else {"train_dataloaders": loader}))
        fitted_on.append(model.post_processor.image_threshold)
        assert len(model.model.known_scores) == COUNT
    assert fitted_on[0] == fitted_on[1]


def test_a_second_fit_calibrates_again(root: Path) -> None:
    datamodule = data(root)
    model, _ = fit(root, datamodule, max_epochs=1)
    model.model.score.calibrate(dict.fromkeys(OWN, torch.tensor(9.0)))
    Engine(default_root_dir=root / "again", logger=False, enable_progress_bar=False, max_epochs=1).fit(
        model, datamodule=datamodule
    )
    assert_own_curves(model)
    assert len(datamodule.train_data) == COUNT


def test_a_model_that_is_loaded_after_a_fit_is_saved_as_it_is(root: Path) -> None:
    """By the trainer of that fit, whose bank it has not."""
    model, engine = fit(root, max_epochs=1)
    other, _ = prepared(root, seed=1)
    other.model.calibrate(lambda: iter([torch.rand(4, 3, SIDE, SIDE)]))
    model.load_state_dict(other.state_dict())
    engine.trainer.save_checkpoint(root / "later.ckpt")
    saved = torch.load(root / "later.ckpt", weights_only=True)["state_dict"]
    assert [key for key, value in other.state_dict().items() if not saved[key].allclose(value, 0, 0, True)] == []


def test_weights_that_are_changed_after_a_fit_are_saved_with_their_curves(root: Path) -> None:
    model, engine = fit(root, max_epochs=1)
    model.model.weight.data.mul_(3)
    engine.trainer.save_checkpoint(root / "later.ckpt")
    assert_own_curves(model)


def prepared(root: Path, seed: int = 0, weights: dict[str, float] | None = None) -> tuple[Calibrated, Folder]:
    """Return a model as a fit prepares it, its images split, and the data."""
    model, datamodule = Calibrated(weights or {**OWN, **BANK}), data(root, seed=0)
    datamodule.setup()
    datamodule.val_data.augmentations = model.pre_processor.transform
    model.calibration.setup(SimpleNamespace(datamodule=datamodule), model, "fit")
    model.prepare(seed)
    model.model.eval()
    return model, datamodule


def known_images(model: Calibrated, seed: int = 0) -> Tensor:
    """Return all images of a bank, held-out ones first."""
    return torch.cat([batch for part in model.calibration.normals.known(model, IMAGES, seed) for batch in part])


def test_curves_of_all_that_needs_no_training_stay_with_a_bank() -> None:
    """An average of weights may have begun before they were there."""
    assert all(is_of_bank(f"score.scale_{name}") for name in TERMS)
    assert not is_of_bank("score.scale_correspondence")


@torch.no_grad()
def test_the_scores_of_a_bank_are_those_of_all_normal_images(root: Path) -> None:
    """Each as if the bank had never seen it."""
    model, _ = prepared(root)
    images = known_images(model)
    assert len(images) == len(model.model.known_scores) == COUNT
    assert torch.equal(images[:3], torch.cat(held_out(model)))
    network = model.model
    crossed = network.bank.crossed([network.features.see(images)], network.score.telling)
    expected = network.score.reduce(network.score.telling_cells(crossed, images.shape[-2:]))
    torch.testing.assert_close(network.known_scores, expected)


@pytest.mark.parametrize("maps", [5, 8, 60])
def test_images_of_the_pixel_threshold_have_the_numbers_that_the_bank_knows_them_by(
    root: Path, maps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they are some of many: an image that is compared with itself makes the threshold too low."""
    monkeypatch.setattr(normals, "MAPS", maps)
    model, _ = prepared(root)
    known = known_images(model)
    found = [
        pair
        for numbers, batch in model.calibration.normals.numbered(model)
        for pair in zip(numbers, batch, strict=True)
    ]
    assert len(found) == min(maps, COUNT)
    assert [number for number, _ in found][:3] == [0, 1, 2], "the held-out ones"
    assert max(number for number, _ in found) > COUNT // 2, "spread over all"
    for number, image in found:
        assert torch.equal(image, known[number])


@torch.no_grad()
def test_maps_of_held_out_images_are_those_of_new_ones(root: Path) -> None:
    """A bank that compared an image with itself would find it more normal than any that comes later."""
    model, datamodule = prepared(root)
    model.calibration._fit(model)
    network, held = model.model, torch.cat(held_out(model))
    new = torch.cat(list(model.calibration.normals.images(model, datamodule.val_data)))
    found = network.predict(held, network.infer(held), range(len(held))).anomaly_map
    later, itself = (network(image).anomaly_map for image in (new, held))
    assert found.mean().item() == pytest.approx(later.mean().item(), rel=0.1)
    assert itself.mean() < 0.9 * later.mean()
    threshold = model.post_processor.pixel_threshold
    assert (later > threshold).float().mean() < 0.05
    assert threshold > pixel_threshold(summary(itself, 0.1), 0.1)


def test_a_bank_knows_a_number_of_images_at_most(root: Path) -> None:
    """Half of them held out, where there are so many; the seed draws the others."""
    model, _ = prepared(root)
    (held, training), (_, others) = (
        [torch.cat(part) for part in model.calibration.normals.known(model, 4, seed)] for seed in (0, 1)
    )
    assert torch.equal(held, torch.cat(held_out(model))[:2])
    known = known_images(model)[3:]
    assert [sum(torch.equal(one, other) for other in known) for one in training] == [1, 1]
    assert not torch.equal(training, others)


def test_many_images_without_a_data_module_are_looked_at_in_part() -> None:
    model = Calibrated()
    items = [ImageItem(image=torch.full((3, SIDE, SIDE), number / 255)) for number in range(IMAGES + 5)]
    loops = SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=SimpleNamespace(_data_source=SimpleNamespace())))
    loops.epoch_loop.val_loop._data_source.instance = None
    loader = DataLoader(items, collate_fn=ImageBatch.collate)
    model.calibration.normals.find(SimpleNamespace(train_dataloader=loader, fit_loop=loops))
    images = known_images(model)
    assert len(images.unique()) == len(images) == len(model.calibration.normals.held_out) == IMAGES
    assert torch.equal(images, torch.cat(held_out(model))), "the numbers of a bank's images are theirs"


def test_other_rules_give_the_scores_of_a_bank_prepared_by_them(root: Path) -> None:
    """What `rescore` does: the images are found again, in their order."""
    other = {"bank_pixel": 3.0, "bank_fine": 1.0}
    (model, _), (expected, _) = prepared(root, seed=5), prepared(root, seed=5, weights={**OWN, **other})
    weights = fingerprint(model.model)
    before, model.model.score = model.model.known_scores, expected.model.score
    model.calibration.refit = True
    model.calibration._fit(model)
    assert not torch.equal(model.model.known_scores, before)
    torch.testing.assert_close(model.model.known_scores, expected.model.known_scores)
    assert fingerprint(model.model) == weights, "they are no other weights"


def test_another_bank_is_told_by_its_fingerprint(root: Path) -> None:
    """So a fit that broke leaves no scores of its beginning's bank."""
    states = [fingerprint(prepared(root, seed)[0].model) for seed in (0, 0, 1)]
    assert states[0] == states[1] != states[2]

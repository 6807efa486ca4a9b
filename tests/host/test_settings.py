"""A checkpoint answers as it was trained, whatever the arguments of the command line; what does not fit is refused."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from anomalib.engine import Engine
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from torch import Tensor
from torchvision.transforms import v2

from anomalib_stc.data import TextureDemo
from anomalib_stc.host.pre_processor import ExactPreProcessor
from anomalib_stc.models import I3ad, ProxyAno
from tests.models.contract import QUIET, images

SIDE = 64
SMALL = {"image_size": SIDE, "superpixels": 20, "memory_items": 16}
OTHER = {"image_score": "mean", "smoothing": 4.0, "score_weights": {"pixel": 1.0, "proxy": 0.5}}


def trained(model: Any, root: Path, out: Path, **trainer: Any) -> Path:
    """Return the checkpoint of a training of one step."""
    settings = trainer or {"max_steps": 1, "limit_val_batches": 0}
    engine = Engine(default_root_dir=out, **settings, **QUIET)
    engine.fit(model, datamodule=TextureDemo(root=root, crop_size=70))
    return Path(engine.trainer.checkpoint_callback.best_model_path)


@pytest.fixture(scope="module")
def checkpoint(few_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(ProxyAno(**SMALL, **OTHER), few_root, tmp_path_factory.mktemp("other"))


def scores(model: Any, checkpoint: Path | None, root: Path, out: Path) -> Tensor:
    """Return the scores of a prediction."""
    engine = Engine(default_root_dir=out, **QUIET)
    data = TextureDemo(root=root, crop_size=70)
    return torch.cat([batch.pred_score for batch in engine.predict(model, datamodule=data, ckpt_path=checkpoint)])


def test_defaults_count_as_not_given(
    checkpoint: Path, few_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = scores(ProxyAno.load_from_checkpoint(checkpoint, weights_only=True), None, few_root, tmp_path)
    with caplog.at_level(logging.INFO):
        found = scores(ProxyAno(), checkpoint, few_root, tmp_path)
    assert torch.equal(found, expected)
    assert "ProxyAno: image_score is 'mean' from the checkpoint, not the default 'top'." in caplog.text
    assert "image_size is 64" in caplog.text


@pytest.mark.parametrize("name", ["image_score", "smoothing", "score_weights", "memory_items", "image_size"])
def test_what_is_given_and_does_not_fit_is_refused(checkpoint: Path, few_root: Path, tmp_path: Path, name: str) -> None:
    given = {"image_score": "max", "smoothing": 1.0, "score_weights": {"pixel": 2.0}, "memory_items": 8}
    wrong = {**given, "image_size": 128}[name]
    sentence = rf"^ProxyAno has {name} .*, but the checkpoint was trained with .*: leave it out, or .*\.$"
    with pytest.raises(ValueError, match=sentence):
        scores(ProxyAno(**{name: wrong}), checkpoint, few_root, tmp_path)
    with pytest.raises(ValueError, match=sentence):
        ProxyAno.load_from_checkpoint(checkpoint, weights_only=True, **{name: wrong})


def test_what_only_a_training_looks_at_does_no_harm(checkpoint: Path, few_root: Path, tmp_path: Path) -> None:
    expected = scores(ProxyAno(), checkpoint, few_root, tmp_path)
    training = {"learning_rate": 1e-4, "train_images": 8, "pseudo_anomalies": 0.1, "loss_weights": {"value": 3.0}}
    assert torch.equal(scores(ProxyAno(**training), checkpoint, few_root, tmp_path), expected)


def test_a_model_without_a_discriminator_loads(few_root: Path, tmp_path: Path) -> None:
    path = trained(ProxyAno(**SMALL, loss_weights={"adversarial": 0.0}), few_root, tmp_path)
    expected = scores(ProxyAno(image_size=(SIDE, SIDE)), path, few_root, tmp_path)
    assert torch.equal(scores(ProxyAno(loss_weights={"adversarial": 0.2}), path, few_root, tmp_path), expected)


def test_turns_are_the_checkpoints(few_root: Path, tmp_path: Path) -> None:
    small = {"image_size": SIDE, "codebook_items": 16, "cell": 8}
    path = trained(I3ad(**small, iterations=1, image_score="mean"), few_root, tmp_path)
    model = I3ad()
    found = scores(model, path, few_root, tmp_path)
    assert model.model.iterations == 1
    loaded = I3ad.load_from_checkpoint(path, weights_only=True)
    assert torch.equal(found, scores(loaded, None, few_root, tmp_path))


def test_a_checkpoint_of_another_model_is_told(checkpoint: Path, few_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^The checkpoint is of .*ProxyAno, expected one of I3ad: give another"):
        scores(I3ad(), checkpoint, few_root, tmp_path)


USERS = {
    "resize": {"pre_processor": lambda: PreProcessor(transform=v2.Resize((96, 80)))},
    "crop": {"pre_processor": lambda: PreProcessor(v2.Compose([v2.Resize((96, 96)), v2.CenterCrop(SIDE)]))},
    "post-processor": {"post_processor": lambda: PostProcessor(image_sensitivity=0.6), "image_size": lambda: SIDE},
    "none": {"post_processor": lambda: False, "image_size": lambda: SIDE},
}


@pytest.mark.parametrize("users", USERS.values(), ids=USERS.keys())
def test_the_hosts_own_parts_load_with_equal_scores(users: dict[str, Any], few_root: Path, tmp_path: Path) -> None:
    parts = {name: make() for name, make in users.items()}
    model = ProxyAno(superpixels=20, memory_items=16, **{"image_size": 128, **parts})
    path = trained(model, few_root, tmp_path, max_epochs=1)
    loaded = ProxyAno.load_from_checkpoint(path, weights_only=True)
    batch = images((75, 110), 2)
    with torch.no_grad():
        expected, found = model.eval()(batch), loaded.eval()(batch)
    assert torch.equal(found.pred_score, expected.pred_score)
    assert torch.equal(found.anomaly_map, expected.anomaly_map)
    assert type(loaded.post_processor) is type(model.post_processor)
    found = scores(ProxyAno(), path, few_root, tmp_path)
    assert torch.equal(found, scores(model, None, few_root, tmp_path))
    assert model.post_processor is None or found.max() <= 1


def test_another_pre_processor_than_the_checkpoints_is_refused(
    checkpoint: Path, few_root: Path, tmp_path: Path
) -> None:
    model = ProxyAno(pre_processor=PreProcessor(transform=v2.Resize((96, 96))))
    sentence = r"has a pre-processor with Resize .*, but the checkpoint was trained with Resize .*: leave it out"
    with pytest.raises(ValueError, match=sentence):
        scores(model, checkpoint, few_root, tmp_path)


OTHER_PARTS = {
    "pre_processor": (lambda: False, lambda: Darker(image_size=SIDE)),
    "post_processor": (lambda: False, lambda: Strict()),
}


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, parts in OTHER_PARTS.items() for part in parts])
def test_another_part_than_the_checkpoints_is_refused(
    checkpoint: Path, few_root: Path, tmp_path: Path, name: str, part: Any
) -> None:
    with pytest.raises(ValueError, match=rf"^The {name} is .*, but the checkpoint was trained with .*: leave it out"):
        scores(ProxyAno(**{name: part()}), checkpoint, few_root, tmp_path)


class Darker(ExactPreProcessor):
    """A user's own pre-processor."""


class Strict(PostProcessor):
    """A user's own post-processor."""


@pytest.mark.parametrize("parts", [{"pre_processor": Darker}, {"post_processor": Strict}])
def test_a_users_own_part_has_to_be_given_again(parts: dict[str, Any], few_root: Path, tmp_path: Path) -> None:
    name, part = next(iter(parts.items()))
    given = {name: part(image_size=SIDE) if part is Darker else part()}
    path = trained(ProxyAno(**SMALL, **given), few_root, tmp_path)
    with pytest.raises(
        ValueError, match=rf"trained with a .*{part.__name__}, which it cannot hold: give one as {name}"
    ):
        ProxyAno.load_from_checkpoint(path, weights_only=True)
    again = {name: part(image_size=SIDE) if part is Darker else part()}
    assert type(getattr(ProxyAno.load_from_checkpoint(path, weights_only=True, **again), name)) is part


def test_a_sensitivity_given_with_a_checkpoint_holds(checkpoint: Path, few_root: Path, tmp_path: Path) -> None:
    usual, dull = ProxyAno(), ProxyAno()
    dull.post_processor.image_sensitivity = 0.01
    labels = []
    for model in (usual, dull):
        batches = Engine(default_root_dir=tmp_path, **QUIET).predict(
            model, datamodule=TextureDemo(root=few_root, crop_size=70), ckpt_path=checkpoint
        )
        labels.append(torch.cat([batch.pred_label for batch in batches]).sum().item())
    assert labels[1] < labels[0]

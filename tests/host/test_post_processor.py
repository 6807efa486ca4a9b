"""Scores keep their order and thresholds come from anomalies where there are some, else from normal images."""

import logging
from pathlib import Path

import pytest
import torch
from anomalib.data import ImageBatch, InferenceBatch
from anomalib.engine import Engine
from anomalib.post_processing import PostProcessor

from anomalib_stc.host.post_processor import NormalPostProcessor, pixel_threshold, summary
from anomalib_stc.parts.quantile import upper_quantile
from tests.host.tiny_model import SIDE, TinyModel, as_input, folder_data, noise, write_images
from tests.runtimes import openvino_program

NORMAL_SCORES = torch.tensor([1.0, 1.5, 2.0, 1.2, 1.7, 1.1])


def fitted(processor: NormalPostProcessor | None = None, rate: float = 0.01) -> NormalPostProcessor:
    """Fit a post-processor, a new one if none is given, by the normal scores and all pixels of their maps."""
    processor, maps = processor or NormalPostProcessor(), normal_maps()
    processor.fit_normals(NORMAL_SCORES, summary(maps, rate), rate)
    return processor


def normal_maps() -> torch.Tensor:
    """Maps (6, 4, 4) whose highest pixels are the scores and whose lowest are zero."""
    maps = torch.zeros(len(NORMAL_SCORES), 4, 4)
    maps[:, 1, 2] = NORMAL_SCORES
    return maps


def validate(processor: PostProcessor, scores: list[float], labels: list[int] | None) -> None:
    maps = torch.tensor(scores)[:, None, None].repeat(1, 4, 4) - 1
    masks = None if labels is None else torch.tensor(labels)[:, None, None].repeat(1, 4, 4)
    batch = ImageBatch(
        image=torch.zeros(len(scores), 3, 4, 4), pred_score=torch.tensor(scores), anomaly_map=maps,
        gt_label=None if labels is None else torch.tensor(labels), gt_mask=masks,
    )  # fmt: skip
    processor.on_validation_batch_end(None, None, batch)
    processor.on_validation_epoch_end(None, None)


def normalised(scores: torch.Tensor, lowest: float = 0.0, highest: float = 2.0, threshold: float = 1.0) -> torch.Tensor:
    return NormalPostProcessor._normalize(scores, *(torch.tensor(value) for value in (lowest, highest, threshold)))


def test_half_exactly_at_the_threshold() -> None:
    assert normalised(torch.tensor(1.0)) == 0.5
    torch.testing.assert_close(normalised(torch.tensor([0.0, 2.0, 4.0])), torch.tensor([0.25, 0.75, 0.875]))


def test_slope_at_the_threshold_is_anomalibs() -> None:
    scores = torch.tensor(1.0, dtype=torch.float64).requires_grad_()
    NormalPostProcessor._normalize(scores + 1e-9, *torch.tensor([0.0, 2.0, 1.0]).double()).backward()
    assert scores.grad.item() == pytest.approx(0.5, abs=1e-6)


def test_strictly_monotone_where_anomalib_saturates() -> None:
    scores = torch.cat([-torch.logspace(2, -3, 500), torch.logspace(-3, 2, 500)]) + 1
    values = normalised(scores)
    assert (values.diff() > 0).all()
    assert values.min() > 0
    assert values.max() < 1
    theirs = PostProcessor._normalize(scores, *torch.tensor([0.0, 2.0, 1.0]))
    assert theirs.unique().numel() < 0.7 * scores.numel()


def test_order_survives_extreme_scores() -> None:
    values = normalised(torch.tensor([-1e30, -1e6, -1e5, 1e5, 1e6]))
    assert (values.diff() > 0).all()


def test_equal_validation_scores_do_not_divide_by_zero() -> None:
    values = normalised(torch.tensor([0.0, 1.0, 2.0]), lowest=1.0, highest=1.0)
    assert values.isfinite().all()
    assert (values.diff() > 0).all()


def test_without_any_fit_scores_pass_as_they_are() -> None:
    scores = torch.tensor([0.3, 7.0])
    output = NormalPostProcessor()(InferenceBatch(pred_score=scores, anomaly_map=torch.rand(2, 1, 4, 4)))
    assert torch.equal(output.pred_score, scores)


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [
        (torch.empty(0), 0.01, "0 values came"),
        (torch.tensor([1.0, torch.nan]), 0.01, "finite ones only"),
        (torch.ones(3), 0.0, "Quantile 1.0 came"),
    ],
)
def test_unusable_scores_are_refused(scores: torch.Tensor, rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NormalPostProcessor().fit_normals(scores, summary(torch.rand(3, 1, 4, 4), 0.01), rate)


def test_missing_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="0 values came"):
        NormalPostProcessor().fit_normals(NORMAL_SCORES, torch.empty(0, 3), 0.01)


def test_no_validation_uses_the_normal_thresholds() -> None:
    processor, maps = fitted(rate=0.1), normal_maps()
    expected = upper_quantile(NORMAL_SCORES, 0.9)
    assert processor.image_threshold == expected
    assert processor.pixel_threshold == pixel_threshold(summary(maps, 0.1), 0.1)
    output = processor(InferenceBatch(pred_score=torch.stack([expected, expected * 1.01]), anomaly_map=maps))
    assert output.pred_label.tolist() == [False, True]
    assert output.pred_mask.sum() == 6


def test_a_summary_has_the_ends_of_every_map_and_what_few_pixels_exceed() -> None:
    """A twentieth of a hundred pixels: those from 95 on, and from 195 on."""
    maps = torch.arange(200.0).reshape(2, 1, 10, 10)
    assert summary(maps, 0.5).tolist() == [[0, 99, 94], [100, 199, 194]]


def test_a_strange_normal_image_does_not_set_the_pixel_threshold() -> None:
    """Its pixels are the highest hundredth of all, and were above a quantile of all pixels together."""
    maps = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    usual = pixel_threshold(summary(maps, 0.1), 0.1)
    maps[7] += 100
    assert pixel_threshold(summary(maps, 0.1), 0.1) < usual + 0.01 < 1.01


@pytest.mark.parametrize(
    ("count", "told"), [(10, " (so few support a rate of 0.091 by themselves, not 0.05)"), (19, "")]
)
def test_the_log_says_what_few_normals_support(count: int, told: str, caplog: pytest.LogCaptureFixture) -> None:
    processor = NormalPostProcessor()
    processor.fit_normals(torch.arange(float(count)), summary(normal_maps(), 0.05), 0.05)
    with caplog.at_level(logging.INFO):
        processor.on_fit_end(None, None)
    assert caplog.messages[-1].endswith(f", the 0.95 quantile of {count} normal images{told}.")


def test_what_is_forgotten_is_in_force_no_more() -> None:
    processor = fitted()
    validate(processor, [1.0, 2.0, 30.0, 40.0], [0, 0, 1, 1])
    processor.forget()
    unfitted = NormalPostProcessor().state_dict()
    for name, value in processor.state_dict().items():
        torch.testing.assert_close(value, unfitted[name], equal_nan=True, msg=name)


@pytest.mark.parametrize("labels", [[0, 0, 0], None])
@pytest.mark.parametrize("validate_first", [True, False])
def test_validation_without_anomalies_changes_nothing(labels, validate_first: bool, caplog) -> None:
    processor = NormalPostProcessor()
    if validate_first:
        validate(processor, [5.0, 6.0, 7.0], labels)
    fitted(processor)
    if not validate_first:
        validate(processor, [5.0, 6.0, 7.0], labels)
    for name, value in fitted().state_dict().items():
        torch.testing.assert_close(processor.state_dict()[name], value, equal_nan=True)
    assert "does not contain any anomalous" not in caplog.text


@pytest.mark.parametrize("validate_first", [True, False])
def test_validation_with_anomalies_keeps_anomalibs_thresholds(validate_first: bool) -> None:
    processor, theirs = NormalPostProcessor(), PostProcessor()
    if validate_first:
        validate(processor, [1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1])
    fitted(processor)
    if not validate_first:
        validate(processor, [1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1])
    validate(theirs, [1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1])
    assert processor.image_threshold == theirs.image_threshold == 3
    assert processor.pixel_threshold == theirs.pixel_threshold == 2
    assert (processor.image_min, processor.image_max) == (1, 4)
    assert (processor.pixel_min, processor.pixel_max) == (0, 3)


def test_labels_without_masks_give_an_image_threshold_only() -> None:
    processor = fitted()
    batch = ImageBatch(
        image=torch.zeros(2, 3, 4, 4), pred_score=torch.tensor([1.0, 9.0]), anomaly_map=torch.rand(2, 4, 4),
        gt_label=torch.tensor([0, 1]),
    )  # fmt: skip
    processor.on_validation_batch_end(None, None, batch)
    processor.on_validation_epoch_end(None, None)
    assert processor.image_threshold == 9
    assert processor.pixel_threshold == fitted().pixel_threshold


def test_a_later_folder_of_normals_replaces_old_anomalies() -> None:
    processor = NormalPostProcessor()
    validate(processor, [1.0, 2.0, 30.0, 40.0], [0, 0, 1, 1])
    validate(processor, [1.0, 2.0], [0, 0])
    fitted(processor)
    assert processor.image_threshold == fitted().image_threshold
    assert processor.image_max == fitted().image_max


def test_unfitted_normals_only_is_anomalibs_maximum() -> None:
    processor = NormalPostProcessor()
    validate(processor, [1.0, 2.0, 1.5], [0, 0, 0])
    assert processor.image_threshold == 2
    assert processor.pixel_threshold == 1


class FittedModel(TinyModel):
    """Calls ``fit_normals`` before the first validation, as a trained model does."""

    def __init__(self) -> None:
        super().__init__(post_processor=NormalPostProcessor())

    def on_train_epoch_start(self) -> None:
        images = torch.cat([as_input(noise((SIDE, SIDE), seed)) for seed in range(6)])
        predictions = self.model(images)
        self.post_processor.fit_normals(predictions.pred_score, summary(predictions.anomaly_map, 0.01), 0.01)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    write_images(tmp_path / "good", [(SIDE, SIDE)] * 8, seed=10)
    write_images(tmp_path / "bad", [(SIDE, SIDE)] * 4, bright=True, seed=30)
    return tmp_path


@pytest.mark.parametrize(
    ("split", "limit", "from_normals"),
    [("from_train", 1.0, True), ("from_train", 0, True), ("same_as_test", 1.0, False)],
    ids=["normals", "none", "anomalies"],
)
def test_training_tells_which_threshold_holds(data_root: Path, caplog, split: str, limit, from_normals: bool) -> None:
    data = folder_data(
        data_root, normal_dir="good", abnormal_dir="bad", mask_dir="bad_masks",
        val_split_mode=split, val_split_ratio=0.25,
    )  # fmt: skip
    model = FittedModel()
    engine = Engine(default_root_dir=data_root / "out", logger=False, limit_val_batches=limit)
    with caplog.at_level(logging.INFO):
        engine.fit(model, datamodule=data)
    assert ("the 0.99 quantile of 6 normal images" in caplog.text) is from_normals
    assert torch.isnan(model.post_processor._image_threshold).item() is from_normals
    engine.trainer.save_checkpoint(data_root / "model.ckpt")
    restored = FittedModel.load_from_checkpoint(data_root / "model.ckpt", weights_only=True)
    for name, value in model.post_processor.state_dict().items():
        torch.testing.assert_close(restored.post_processor.state_dict()[name], value, equal_nan=True)


def test_export_carries_the_thresholds(tmp_path: Path) -> None:
    model = FittedModel().eval()
    model.on_train_epoch_start()
    images = torch.cat([as_input(noise((99, 80), 50)), as_input(noise((99, 80), 51))])
    images[1, :, 30:60, 30:60] = 1.0
    expected = model(images)
    program = openvino_program(model.to_openvino(tmp_path))
    assert expected.pred_label.flatten().tolist() == [False, True]
    for count in (2, 1):
        result = program(images[:count].numpy())
        for name in ("pred_score", "anomaly_map"):
            exported = torch.from_numpy(result[name])
            torch.testing.assert_close(exported, getattr(expected, name)[:count], atol=1e-5, rtol=0)
        for name in ("pred_label", "pred_mask"):
            assert torch.equal(torch.from_numpy(result[name]).bool(), getattr(expected, name)[:count])


def labelled(processor: PostProcessor) -> InferenceBatch:
    """Return what a post-processor with thresholds of anomalies says of some scores and maps."""
    validate(processor, [1.0, 1.5, 2.0, 3.0, 4.0], [0, 0, 1, 0, 1])
    scores = torch.tensor([0.1, 0.9, 1.1, 1.4, 1.9, 2.2, 2.6, 3.1, 3.7, 9.0])
    maps = scores[:, None, None, None].repeat(1, 1, 4, 4) - 1
    return processor(InferenceBatch(pred_score=scores, anomaly_map=maps))


@pytest.mark.parametrize("sensitivity", [0.2, 0.3, 0.5, 0.7, 0.8, 1.0])
def test_a_sensitivity_calls_the_same_anomalous_as_anomalibs_own(sensitivity: float) -> None:
    settings = {"image_sensitivity": sensitivity, "pixel_sensitivity": sensitivity}
    expected, found = (labelled(kind(**settings)) for kind in (PostProcessor, NormalPostProcessor))
    assert torch.equal(found.pred_label, expected.pred_label)
    assert torch.equal(found.pred_mask, expected.pred_mask)


def test_raw_scores_have_the_labels_of_normalised_ones() -> None:
    """anomalib's own compares raw scores with 0.5."""
    raw, normalised = (labelled(NormalPostProcessor(enable_normalization=on)) for on in (False, True))
    assert torch.equal(raw.pred_label, normalised.pred_label)
    assert torch.equal(raw.pred_mask, normalised.pred_mask)


def test_without_anomalies_the_range_is_that_of_the_normals_again() -> None:
    """Whatever was validated on in between: the same images have the same scores."""
    processor = fitted()
    expected = processor(InferenceBatch(pred_score=NORMAL_SCORES, anomaly_map=normal_maps()[:, None]))
    validate(processor, [1.0, 1.5, 9.0], [0, 0, 1])
    validate(processor, [1.0, 1.5, 1.2], [0, 0, 0])
    found = processor(InferenceBatch(pred_score=NORMAL_SCORES, anomaly_map=normal_maps()[:, None]))
    assert torch.equal(found.pred_score, expected.pred_score)
    assert torch.equal(found.anomaly_map, expected.anomaly_map)

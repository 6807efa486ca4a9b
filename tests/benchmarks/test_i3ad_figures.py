"""The program that measures I3AD's own claims runs, and says what it should of a small set."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from anomalib_stc.data.demo_set import Recipe, write_demo_set
from anomalib_stc.models import I3ad
from anomalib_stc.models.i3ad.torch_model import Turn
from benchmarks import iterations
from tests.small_sets import keep


def test_a_table_of_all_arms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_demo_set(tmp_path, Recipe("gravel", 64, 0))
    keep(folder, test=4, train=20)
    where = ["--data-root", str(folder.parent), "--categories", folder.name, "--output", str(tmp_path / "t.csv")]
    iterations.main([*where, "--seeds", "0", "--image-size", "64", "--train-images", "16"])
    table = pd.read_csv(tmp_path / "t.csv").set_index(["arm", "turns"])
    assert list(table.index) == [
        *[("features", turns) for turns in (0, 1, 2, 4, 8)],
        *[(f"features, {name}", 4) for name in ("last", "mean", "mean_first")],
        *[(mask, turns) for mask in ("pixels", "l1") for turns in (1, 4)],
        ("no skips", 0),
        ("autoencoder", 0),
    ]
    of_masks = ["snr", "snr_cut", "psnr_normal", "psnr_cut"]  # a mask that hides nothing has none
    assert table[["image_auroc", "aupro", "snr_map"]].notna().all(axis=None)
    assert table.loc[table["hidden"] > 0, of_masks].notna().all(axis=None)
    first = [("features", 0), ("no skips", 0), ("autoencoder", 0)]
    assert table.loc[first, "hidden"].tolist() == [1, 1, 1]
    for measure in ("snr", "psnr_normal"):  # with everything hidden nothing is cut
        assert table.loc[first, measure].tolist() == table.loc[first, f"{measure.split('_')[0]}_cut"].tolist()
    assert (table["hidden"].drop(first) <= 0.5).all()
    assert "aupro" in capsys.readouterr().out
    monkeypatch.setattr(iterations, "rows", lambda *_: pytest.fail("it is finished"))
    iterations.main([*where, "--seeds", "0", "--image-size", "64", "--train-images", "16"])
    assert pd.read_csv(tmp_path / "t.csv").set_index(["arm", "turns"]).equals(table)


def test_arms_are_one_network() -> None:
    model = I3ad(64, backbone="none", codebook_items=4, visualizer=False)
    weights = {name: value for name, value in model.state_dict().items() if "suspicion" not in name}
    iterations.load(model, weights)
    del weights["model.mask.threshold"]
    with pytest.raises(RuntimeError, match="threshold"):
        iterations.load(model, weights)


def test_signal_to_noise_by_hand() -> None:
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    truth[0, :, :2] = True
    residual = torch.where(truth, 3.0, 1.5)
    residual[1] = 100  # without a defect it does not count
    assert iterations.signal_to_noise(residual, truth) == pytest.approx(2)


def test_psnr_by_hand() -> None:
    where = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    where[..., 0] = True
    image = torch.zeros(1, 3, 2, 2)
    other = torch.where(where, 0.1, 1.0).expand_as(image)
    assert iterations.psnr(image, other, where) == pytest.approx(20)


def test_images_whose_mask_stays_are_settled() -> None:
    masks = [torch.zeros(2, 1, 4, 4), torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, 4, 4)]
    turns = [Turn(mask, mask, {}) for mask in masks]
    assert iterations.settled(turns[:1]) == 0
    assert iterations.settled(turns) == 0.5

"""anomalib's own journeys, by its command line where it has them: one model goes all ways, the others the short half.

What an export computes, and what a resumed training comes to, is measured in `tests.models.contract`.
"""

import json
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from anomalib.data import ImageBatch
from anomalib.engine import Engine
from anomalib.models import get_model
from anomalib.pipelines.tiled_ensemble import EvalTiledEnsemble, TrainTiledEnsemble
from anomalib.post_processing import PostProcessor
from anomalib.pre_processing import PreProcessor
from lightning.pytorch.trainer.states import TrainerFn
from sklearn.model_selection import KFold
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torchvision.transforms import v2

from anomalib_stc.data import TextureDemo
from tests.models.contract import QUIET
from tests.models.training_contract import command
from tests.small_sets import keep

SMALL: dict[str, dict[str, Any]] = {
    "proxy_ano": {"image_size": 64, "superpixels": 20, "memory_items": 32, "train_images": 96},
    "stcm": {"image_size": 64, "memory_items": 32, "train_images": 96},
    "i3ad": {"image_size": 64, "codebook_items": 32, "cell": 8, "train_images": 96},
}
ALL = list(SMALL)
LONG = [name if name == "proxy_ano" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
QUIETLY = ["--trainer.enable_progress_bar", "false", "--trainer.logger", "false", "--trainer.accelerator", "cpu"]


@pytest.fixture(scope="module")
def root(few_root: Path) -> Path:
    """Give a small set of real textures with planted defects."""
    return few_root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a set that is large enough to learn a texture."""
    root = tmp_path_factory.mktemp("many")
    TextureDemo(root=root, crop_size=130).prepare_data()
    return root


def small(name: str, **arguments: Any) -> Any:
    return get_model(name, **{**SMALL[name], **arguments})


def data(root: Path, **arguments: Any) -> TextureDemo:
    return TextureDemo(root=root, crop_size=70, **arguments)


def as_options(name: str, root: Path) -> list[str]:
    """Return the command line's options of a small model, its data, and a quiet trainer."""
    model = [word for key, value in SMALL[name].items() for word in (f"--model.{key}", str(value))]
    named = ["--data", "anomalib_stc.data.TextureDemo", "--data.root", str(root), "--data.crop_size", "70"]
    return ["--model", name, *model, *named, *QUIETLY]


@pytest.fixture(scope="module", params=ALL)
def journey(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Give the name of a model, and the folder in which the command line has trained it at its default length."""
    place = tmp_path_factory.mktemp(request.param)
    command("train", *as_options(request.param, root), "--default_root_dir", str(place), cwd=place)
    return request.param, place


def checkpoint_in(place: Path) -> Path:
    return next(place.rglob("model.ckpt"))


def defect_in(root: Path) -> Path:
    return min(path for path in root.rglob("*.png") if path.parent.parent.name == "test" and path.parent.name != "good")


class TestByTheCommandLine:
    """In turn, in one process: what a user does after a training, with no argument of the model but its name."""

    def again(self, journey: tuple[str, Path], root: Path, what: str, *more: str) -> str:
        name, place = journey
        options = ["--model", name, "--ckpt_path", str(checkpoint_in(place)), "--default_root_dir", str(place)]
        named = ["--data", "anomalib_stc.data.TextureDemo", "--data.root", str(root), "--data.crop_size", "70"]
        return command(what, *options, *(more or named), *QUIETLY, cwd=place)

    def test_train(self, journey: tuple[str, Path]) -> None:
        assert len(list(journey[1].rglob("*.png"))) == 12, "a picture of every test image"

    @pytest.mark.parametrize("what", ["validate", "test"])
    def test_evaluate(self, journey: tuple[str, Path], root: Path, what: str) -> None:
        printed = self.again(journey, root, what)
        assert ("image_AUROC" in printed) == (what == "test")

    @pytest.mark.parametrize("file", [False, True])
    def test_predict(self, journey: tuple[str, Path], root: Path, file: bool) -> None:
        image = defect_in(root)
        for old in journey[1].rglob(f"{image.parent.name}/{image.name}"):
            old.unlink()
        self.again(journey, root, "predict", "--data", str(image if file else image.parent))
        assert list(journey[1].rglob(f"{image.parent.name}/{image.name}"))

    @pytest.mark.parametrize(
        ("kind", "suffix"),
        [
            ("torch", "model.pt"),
            pytest.param("onnx", "model.onnx", marks=pytest.mark.slow),  # the contract exports by Python
            pytest.param("openvino", "model.xml", marks=pytest.mark.slow),  # the README's own command, in test_readme
        ],
    )
    def test_export(self, journey: tuple[str, Path], kind: str, suffix: str) -> None:
        name, place = journey
        if name != "proxy_ano" and kind != "torch":
            pytest.skip("the contract of every model exports it to ONNX and OpenVINO")
        options = ["--model", name, "--export_type", kind, "--ckpt_path", str(checkpoint_in(place))]
        command("export", *options, "--export_root", str(place / kind), cwd=place)
        assert list((place / kind).rglob(suffix))

    def test_train_longer(self, journey: tuple[str, Path], root: Path) -> None:
        """From the checkpoint of a training that is over, for one more epoch than its default length."""
        name, place = journey
        path = checkpoint_in(place)
        epochs = torch.load(path, weights_only=True)["epoch"] + 2
        longer = place / "longer"
        options = ["--ckpt_path", str(path), "--default_root_dir", str(longer), "--trainer.max_epochs", str(epochs)]
        command("fit", *as_options(name, root), *options, cwd=place)
        assert torch.load(checkpoint_in(longer), weights_only=True)["epoch"] == epochs - 1


def assert_usable(path: Path, name: str) -> Any:
    """Assert that a checkpoint predicts; return its model."""
    model = type(get_model(name)).load_from_checkpoint(path, weights_only=True).eval()
    with torch.no_grad():
        found = model(torch.rand(2, 3, 90, 70, generator=torch.Generator().manual_seed(0)))
    assert found.pred_score.isfinite().all()
    assert found.pred_label.dtype == torch.bool
    assert model.post_processor.image_threshold.isfinite()
    return model


KILLED = """
import os, signal, sys, json
from anomalib.engine import Engine
from anomalib.models import get_model
from lightning.pytorch import Callback
from anomalib_stc.data import TextureDemo

class Kill(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.current_epoch * 4 >= 3 * trainer.max_epochs:
            os.kill(os.getpid(), signal.SIGKILL)

name, arguments, root, out = sys.argv[1:]
engine = Engine(callbacks=[Kill()], default_root_dir=out, logger=False, enable_progress_bar=False, accelerator="cpu")
engine.fit(get_model(name, **json.loads(arguments)), datamodule=TextureDemo(root=root, crop_size=70))
"""


@pytest.mark.parametrize("name", LONG)
def test_killed_and_resumed_at_default_length(name: str, root: Path, tmp_path: Path) -> None:
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    arguments = [sys.executable, program, name, json.dumps(SMALL[name]), root, tmp_path]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    path = checkpoint_in(tmp_path)
    assert_usable(path, name)
    before = torch.load(path, weights_only=True)["epoch"]
    engine = Engine(default_root_dir=tmp_path / "resumed", **QUIET)
    engine.fit(small(name), datamodule=data(root), ckpt_path=path)
    assert engine.trainer.current_epoch > before + 1
    assert_usable(checkpoint_in(tmp_path / "resumed"), name)


@pytest.mark.parametrize("name", ALL)
def test_without_validation(name: str, root: Path, tmp_path: Path) -> None:
    engine = Engine(default_root_dir=tmp_path, limit_val_batches=0, **QUIET)
    engine.fit(small(name, train_images=24), datamodule=data(root))
    assert_usable(checkpoint_in(tmp_path), name)


def plain(dataset: Any, model: Any) -> DataLoader:
    """Return a user's own loader."""
    for leaf in dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]:
        leaf.augmentations = model.pre_processor.transform
    return DataLoader(dataset, batch_size=8, shuffle=True, collate_fn=ImageBatch.collate)


@pytest.mark.parametrize("name", ALL)
def test_plain_loaders(name: str, root: Path, tmp_path: Path) -> None:
    module, model = data(root), small(name, train_images=24)
    module.setup()
    train = plain(ConcatDataset([module.train_data, module.train_data]), model)
    Engine(default_root_dir=tmp_path, **QUIET).fit(model, train_dataloaders=train)
    assert_usable(checkpoint_in(tmp_path), name)


@pytest.mark.parametrize("name", LONG)
def test_k_fold(name: str, root: Path, tmp_path: Path) -> None:
    """By plain loaders over subsets, and by a data module whose training images are a part."""
    module = data(root)
    module.setup(TrainerFn.FITTING)
    whole = module.train_data
    for number, (train, rest) in enumerate(KFold(2).split(range(len(whole)))):
        model = small(name, train_images=24)
        whole.augmentations = model.pre_processor.transform
        loaders = [DataLoader(Subset(whole, fold), batch_size=8, collate_fn=whole.collate_fn) for fold in (train, rest)]
        engine = Engine(default_root_dir=tmp_path / str(number), **QUIET)
        engine.fit(model, *loaders)
        held = model.calibration.normals.held_out
        assert len(held) == 6
        assert_usable(checkpoint_in(tmp_path / str(number)), name)
        module.train_data = whole.subsample(train.tolist())
        model = small(name, train_images=24)
        Engine(default_root_dir=tmp_path / f"{number}m", **QUIET).fit(model, datamodule=module)
        assert len(module.train_data) == 6
        assert_usable(checkpoint_in(tmp_path / f"{number}m"), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_tiled_ensemble(name: str, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four models of a tile each find planted defects of the whole."""
    monkeypatch.chdir(tmp_path)
    folder = next(path.parent for path in many.rglob("train") if path.is_dir())
    config = {
        "seed": 0,
        "accelerator": "cpu",
        "default_root_dir": str(tmp_path / "results"),
        "tiling": {"image_size": [128, 128], "tile_size": [64, 64], "stride": 64},
        "normalization_stage": "image",
        "thresholding_stage": "image",
        "data": {
            "class_path": "anomalib.data.MVTecAD",
            "init_args": {
                "root": str(folder.parent),
                "category": folder.name,
                "train_batch_size": 8,
                "eval_batch_size": 8,
                "num_workers": 0,
                "val_split_mode": "same_as_test",
                "test_split_mode": "from_dir",
            },
        },
        "SeamSmoothing": {"apply": True, "sigma": 2, "width": 0.1},
        "TrainModels": {
            "model": {"class_path": type(get_model(name)).__name__},
            "trainer": {"max_epochs": 3, "enable_progress_bar": False, "logger": False},
        },
    }
    path = tmp_path / "tiled.yaml"
    path.write_text(yaml.safe_dump(config))
    training = TrainTiledEnsemble()
    training.run(Namespace(config=path))
    EvalTiledEnsemble(training.root_dir).run(Namespace(config=path))
    log = (tmp_path / "runs" / "pipeline.log").read_text() if (tmp_path / "runs" / "pipeline.log").exists() else ""
    assert "Traceback" not in log, log[-3000:]
    checkpoints = sorted(training.root_dir.rglob("*.ckpt"))
    assert [one.stem for one in checkpoints] == ["model0_0", "model0_1", "model1_0", "model1_1"]
    thresholds = {
        torch.load(one, weights_only=True)["state_dict"]["post_processor.normal_image_threshold"].item()
        for one in checkpoints
    }
    assert len(thresholds) == 4, "every model is calibrated on its own tile"
    figures = next(training.root_dir.rglob("*metric*.csv")).read_text().splitlines()
    measured = dict(zip(figures[0].split(","), map(float, figures[1].split(",")), strict=True))
    assert measured["image_AUROC"] > 0.75
    assert measured["pixel_AUROC"] > 0.8


@pytest.mark.parametrize("name", ALL)
def test_the_hosts_own_parts(name: str, root: Path, tmp_path: Path) -> None:
    """As programs in public repositories give them, but for `Normalize`, which is refused."""
    parts = {
        "pre_processor": PreProcessor(transform=v2.Compose([v2.Resize((96, 80))])),
        "post_processor": PostProcessor(image_sensitivity=0.4),
    }
    model = get_model(name, **{**SMALL[name], "image_size": 256}, **parts)
    engine = Engine(default_root_dir=tmp_path, max_epochs=1, **QUIET)
    engine.fit(model, datamodule=data(root))
    path = checkpoint_in(tmp_path)
    loaded = type(model).load_from_checkpoint(path, weights_only=True).eval()
    image = torch.rand(2, 3, 50, 60, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(image).pred_score, model.eval()(image).pred_score)
    assert loaded.post_processor.image_sensitivity == 0.4
    with pytest.raises(ValueError, match="take it out"):
        get_model(name, pre_processor=PreProcessor(v2.Compose([v2.Resize((64, 64)), v2.Normalize([0.5] * 3, [1] * 3)])))


@pytest.mark.parametrize("name", LONG)
def test_two_fits_in_one_process(name: str, root: Path, tmp_path: Path) -> None:
    """Of two models by one engine, and of one model on other images."""
    engine = Engine(default_root_dir=tmp_path, **QUIET)
    first, second = small(name, train_images=24), small(name, train_images=24)
    for model in (first, second):
        engine.fit(model, datamodule=data(root))
        assert engine.trainer.global_step > 0
        assert engine.test(model, datamodule=data(root), verbose=False)[0]["image_AUROC"] > 0
    other = tmp_path / "other"
    TextureDemo(root=other, category="grass", crop_size=70).prepare_data()
    keep(other, test=3, train=12)
    before = {key: value.clone() for key, value in first.model.state_dict().items() if "scale_" in key}
    codes = prepared(first)
    engine.fit(first, datamodule=TextureDemo(root=other, category="grass", crop_size=70))
    assert not torch.equal(prepared(first), codes)
    assert all(not torch.equal(first.model.state_dict()[key], value) for key, value in before.items())


def prepared(model: Any) -> torch.Tensor:
    """Return what a model keeps of the images it was prepared with."""
    state = model.model.state_dict()
    names = [key for key in state if key.endswith(("codebook.items", "semantic.centres", "memory.values"))]
    return torch.cat([state[key].flatten() for key in names]).clone()

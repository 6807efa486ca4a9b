"""The runner repeats nothing that is finished, loses nothing, and counts nothing that is half done."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torchvision.utils import save_image

from benchmarks import runner, settings
from benchmarks.__main__ import main
from benchmarks.manifest import device, last_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two small categories in MVTec AD layout."""
    for category in ("a", "deep/b"):
        for name in ("train/good/0", "train/good/1", "test/good/0", "test/bad/0", "ground_truth/bad/0"):
            path = tmp_path / "data" / category / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)), path)
    return tmp_path / "data"


@pytest.fixture
def ran(monkeypatch) -> list[Path]:
    """Run folders in the order in which they were run, by a run that writes its row and does nothing else."""
    folders: list[Path] = []

    def process(folder: Path, environment: dict[str, str]) -> bool:
        job = OmegaConf.load(folder / "job.yaml")
        folders.append(folder)
        (folder / "engine").mkdir()
        (folder / "log.txt").write_text("Traceback\nValueError: the cause\n\n")
        (folder / "row.json").write_text(json.dumps({"set": job.set, "model": job.model, "seed": job.seed}))
        return job.model != "broken"

    monkeypatch.setattr(runner, "process", process)
    return folders


def start(root: Path, output: Path, *more: str) -> int:
    """Run the command line on both categories."""
    common = ["--data-root", str(root), "--categories", "a", "deep/b", "--output", str(output), "--seeds", "0", "1"]
    return main(["run", *common, *more])


def rows(output: Path) -> list[tuple[str, str, int]]:
    """Set, model and seed of every row of the table."""
    table = pd.read_csv(output / "runs.csv")
    return sorted(zip(table["set"], table["model"], table["seed"], strict=True))


def test_every_category_model_and_seed_is_run_once(root: Path, tmp_path: Path, ran: list[Path]) -> None:
    assert start(root, tmp_path / "out", "--models", "stcm", "padim", "--jobs", "2") == 0
    learned = {(name, model, seed) for name in ("a", "deep/b") for model in ("stcm", "padim") for seed in (0, 1)}
    assert set(rows(tmp_path / "out")) == learned | {("a", "statistic", 0), ("deep/b", "statistic", 0)}
    assert len(ran) == len(set(ran)) == 10


def test_a_second_start_repeats_nothing(root: Path, tmp_path: Path, ran: list[Path]) -> None:
    start(root, tmp_path / "out", "--models", "padim")
    before = rows(tmp_path / "out")
    assert start(root, tmp_path / "out", "--models", "padim") == 0
    assert len(ran) == len(before) == 6
    assert rows(tmp_path / "out") == before


def test_a_killed_run_counts_for_nothing_and_is_run_again(root: Path, tmp_path: Path, ran: list[Path]) -> None:
    start(root, tmp_path / "out", "--models", "padim")
    killed = runner.run_folder(tmp_path / "out", "a", "padim", 1)
    killed.rename(killed.with_name("seed1.partial"))
    runner.write_table(tmp_path / "out")
    assert ("a", "padim", 1) not in rows(tmp_path / "out")
    start(root, tmp_path / "out", "--models", "padim")
    assert len(ran) == 7
    assert not killed.with_name("seed1.partial").exists()
    assert ("a", "padim", 1) in rows(tmp_path / "out")


def test_a_failed_run_is_named_and_the_others_go_on(root: Path, tmp_path: Path, ran: list[Path], capsys) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("models: {broken: {model: none, args: {}, batch_size: 8}, padim: {model: padim, args: {}}}")
    assert start(root, tmp_path / "out", "--config", str(config)) == 1
    assert {model for _, model, _ in rows(tmp_path / "out")} == {"padim", "statistic"}
    assert "broken/seed0.partial/log.txt: ValueError: the cause" in capsys.readouterr().err
    assert runner.run_folder(tmp_path / "out", "a", "broken", 0).with_name("seed0.partial").is_dir()


def test_a_run_that_was_told_to_stop_has_failed(root: Path, tmp_path: Path, monkeypatch) -> None:
    """Lightning ends its process as if all were well."""
    monkeypatch.setattr(runner, "process", lambda folder, environment: (folder / "log.txt").write_text("stop") > 0)
    for _ in range(2):
        assert start(root, tmp_path / "out", "--models", "padim") == 1
    assert not runner.run_folder(tmp_path / "out", "a", "padim", 0).exists()


def test_other_settings_do_not_mix_with_finished_runs(root: Path, tmp_path: Path, ran: list[Path], capsys) -> None:
    start(root, tmp_path / "out", "--models", "padim")
    assert start(root, tmp_path / "out", "--models", "padim", "--image-size", "128") == 2
    assert "other settings" in capsys.readouterr().err


def test_a_model_has_the_same_settings_on_other_sets(root: Path, tmp_path: Path, ran: list[Path], capsys) -> None:
    """One line of a table would hold two experiments."""
    start(root, tmp_path / "out", "--models", "padim", "--categories", "a")
    config = tmp_path / "own.yaml"
    config.write_text("models: {padim: {model: padim, args: {n_features: 9}}}")
    assert start(root, tmp_path / "out", "--config", str(config), "--categories", "deep/b") == 2
    assert "other settings" in capsys.readouterr().err
    config.write_text("models: {padim_9: {model: padim, args: {n_features: 9}}}")
    assert start(root, tmp_path / "out", "--config", str(config), "--categories", "deep/b") == 0


def test_other_images_do_not_mix_with_finished_runs(root: Path, tmp_path: Path, ran: list[Path], capsys) -> None:
    start(root, tmp_path / "out", "--models", "padim")
    save_image(torch.zeros(3, 8, 8), root / "a" / "train" / "good" / "2.png")
    assert start(root, tmp_path / "out", "--models", "padim") == 2
    assert "images of a" in capsys.readouterr().err


def test_only_the_first_run_of_a_model_is_timed_and_it_runs_alone(root: Path, tmp_path: Path) -> None:
    changes = {"data.root": str(root), "data.categories": ["a", "deep/b"], "output": str(tmp_path), "threads": 1}
    jobs = [run.job for run in runner.planned(settings.load(settings.DEFAULT, changes))]
    timed = [(job["set"], job["model"], job["seed"], job["threads"]) for job in jobs if job["latency"]]
    assert timed == [("a", model, 0, None) for model in ("stcm", "proxy_ano", "i3ad", "padim", "patchcore")]
    assert {job["threads"] for job in jobs if not job["latency"]} == {1}


def test_the_manifest_names_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None)
    assert device() == "CPU"
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert device() == "MPS"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert device() == "a card"


def test_the_manifest_says_what_was_run(root: Path, tmp_path: Path, ran: list[Path]) -> None:
    start(root, tmp_path / "out", "--models", "padim")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert set(manifest["images"]) == {"a", "deep/b"}
    assert manifest["config"]["seeds"] == [0, 1]
    assert list(manifest["config"]["models"]) == ["padim"]
    assert manifest["command"].startswith("python -m benchmarks run")
    assert manifest["device"]
    assert str(tmp_path) not in json.dumps(manifest)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--categories", "none"], "There is no folder"),
        (["--models", "none"], "There is no model none"),
        (["--config", "none.yaml"], "There is no configuration none.yaml"),
    ],
)
def test_a_mistake_is_one_sentence(root: Path, tmp_path: Path, arguments: list[str], cause: str, capsys) -> None:
    assert start(root, tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_wrong_name_in_a_configuration_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("sedes: [1]")
    with pytest.raises(ValueError, match="sedes"):
        settings.load(config, {})


def test_shipped_configurations_load() -> None:
    for path in sorted(settings.CONFIGS.glob("*.yaml")):
        assert settings.load(path, {}).models


def test_a_run_ends_with_what_started_it(tmp_path: Path) -> None:
    """A number that is no longer this process's parent stands for a runner that was killed."""
    command = [sys.executable, "-m", "benchmarks.one", str(tmp_path), "1"]
    done = subprocess.run(command, cwd=runner.CHECKOUT, capture_output=True, timeout=300, check=False)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_second_runner_is_kept_out(root: Path, tmp_path: Path, ran: list[Path], capsys) -> None:
    with runner.alone_in(tmp_path / "out"):
        assert start(root, tmp_path / "out") == 2
    assert "Another benchmark runs" in capsys.readouterr().err
    assert ran == []


def test_two_starts_share_a_folder_but_not_two_image_sizes(root: Path, tmp_path: Path, ran: list[Path]) -> None:
    start(root, tmp_path / "out", "--models", "padim", "--seeds", "0")
    assert start(root, tmp_path / "out", "--models", "stcm", "--seeds", "1", "--image-size", "128") == 2
    assert start(root, tmp_path / "out", "--models", "stcm", "--seeds", "1") == 0
    config = json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]
    assert (list(config["models"]), config["seeds"]) == (["padim", "stcm"], [0, 1])


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("/home/me/x", "x"),
        ("--data-root=/home/me/x", "--data-root=x"),
        ("../me/x", "x"),
        ("local-dir:/home/me/x", "x"),
        ("deep/b", "deep/b"),
        ("--seeds", "--seeds"),
    ],
)
def test_where_paths_lie_is_left_out(argument: str, kept: str) -> None:
    assert last_name(argument) == kept


def test_weather_that_was_measured_is_not_in_the_way_and_what_lacks_it_is(
    root: Path, tmp_path: Path, ran: list[Path]
) -> None:
    start(root, tmp_path / "with", "--models", "padim", "--weather")
    assert start(root, tmp_path / "with", "--models", "padim") == 0
    start(root, tmp_path / "without", "--models", "padim")
    assert start(root, tmp_path / "without", "--models", "padim", "--weather") == 2
    assert len(ran) == 12

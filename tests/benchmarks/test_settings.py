"""Settings of a run: what a model has of its own, what it takes from the default, and mistakes in one sentence."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from anomalib_stc.parts.bank import TERMS
from benchmarks import settings


def loaded(folder: Path, text: str) -> dict[str, Any]:
    """The settings of a file, as plain data."""
    path = folder / "own.yaml"
    path.write_text(text)
    return settings.plain(settings.load(path, {}))


def test_a_model_like_another_has_its_arguments_and_changes_its_own(tmp_path: Path) -> None:
    default: Any = OmegaConf.to_container(OmegaConf.load(settings.DEFAULT))
    found = loaded(tmp_path, "models: {few: {like: patchcore, normals: 5, batch_size: 3, args: {num_neighbors: 1}}}")
    patchcore = default["models"]["patchcore"]
    assert found["models"]["few"]["args"] == patchcore["args"] | {"num_neighbors": 1}
    assert found["models"]["few"]["model"] == "patchcore"
    assert (found["models"]["few"]["normals"], found["models"]["few"]["batch_size"]) == (5, 3)


def test_a_model_s_own_images_go_before_those_of_all(tmp_path: Path) -> None:
    found = loaded(tmp_path, "{normals: 9, draw: 2, models: {a: {like: stcm, normals: 5}, b: {like: stcm}}}")
    runs = {name: settings.for_run(found, spec) for name, spec in found["models"].items()}
    assert (runs["a"]["normals"], runs["a"]["draw"], runs["a"]["contamination"]) == (5, 2, 0.0)
    assert (runs["b"]["normals"], runs["b"]["false_alarm_rate"], runs["b"]["weather"]) == (9, 0.05, False)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("normals: 1", "normals is 1"),
        ("contamination: 0.6", "contamination is 0.6"),
        ("false_alarm_rate: 0.0", "false_alarm_rate is 0.0"),
        ("models: {a: {like: stcm, contamination: -0.1}}", "contamination is -0.1"),
        ("models: {a: {like: none}}", "no model none"),
        ("models: {a: {like: stcm, weather: true}}", "Model a is"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause) as raised:
        loaded(tmp_path, text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "key", "values"), [("few", "normals", {5, 15, 30, 60}), ("contamination", "contamination", {0, 0.05, 0.1})]
)
def test_shipped_models_differ_in_their_images_alone(name: str, key: str, values: set[float]) -> None:
    found = settings.plain(settings.load(settings.CONFIGS / f"{name}.yaml", {}))
    default = settings.plain(settings.load(settings.DEFAULT, {}))["models"]
    assert {settings.for_run(found, spec)[key] for spec in found["models"].values()} == values
    for spec in found["models"].values():
        if spec["model"] == "i3ad":
            assert spec["args"].pop("train_images") == 1, "what is trained is not in the score"
        assert {part: spec[part] for part in settings.MODEL_DEFAULTS} in [
            {part: known[part] for part in settings.MODEL_DEFAULTS} for known in default.values()
        ]


@pytest.mark.parametrize("name", ["ablation_stcm", "ablation_stcm_full", "ablation_proxy_ano", "batch_size"])
def test_what_is_asked_of_trained_parts_asks_no_memory_bank(name: str) -> None:
    found = settings.plain(settings.load(settings.CONFIGS / f"{name}.yaml", {}))
    for spec in found["models"].values():
        weights = spec["args"]["score_weights"]
        assert [term for term in TERMS if weights.get(term, 1.0) != 0] == []
        assert any(weight > 0 for weight in weights.values())

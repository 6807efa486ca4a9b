"""The models' configurations hold every number of the code, with a reason each; what differs comes in small files."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from anomalib.cli import AnomalibCLI
from anomalib.models import AnomalibModule
from omegaconf import OmegaConf

from anomalib_stc.host.evaluator import AuproEvaluator
from anomalib_stc.models import I3ad, ProxyAno, Stcm

CONFIGS = Path(__file__).parents[2] / "configs"
WHOLE = {"stcm": Stcm, "proxy_ano": ProxyAno, "i3ad": I3ad}
DELTAS = {
    "proxy_ano_medical": {"image_score": "mean"},
    "proxy_ano_128": {"image_size": 128, "superpixels": 150, "smoothing": 2.0},
}
COMPONENTS = {"self", "pre_processor", "post_processor", "evaluator", "visualizer"}


@pytest.mark.parametrize(("name", "model"), WHOLE.items())
def test_config_equals_the_code(name: str, model: type[AnomalibModule]) -> None:
    written: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml").model.init_args)
    assert written.pop("evaluator") == {"class_path": f"{AuproEvaluator.__module__}.AuproEvaluator"}
    parameters = inspect.signature(model.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in COMPONENTS}
    assert written == {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}


@pytest.mark.parametrize("name", [*WHOLE, *DELTAS])
def test_every_number_has_its_reason(name: str) -> None:
    model = (CONFIGS / f"{name}.yaml").read_text().split("init_args:")[-1]
    numbers = [line for line in model.splitlines() if any(letter.isdigit() for letter in line.split("#")[0])]
    assert [line for line in numbers if "#" not in line] == []


@pytest.mark.parametrize(("name", "changed"), DELTAS.items())
def test_a_second_config_changes_what_it_names_and_nothing_else(name: str, changed: dict[str, Any]) -> None:
    """Only parsed: the command line is told to build nothing."""
    whole = CONFIGS / f"{name.rsplit('_', 1)[0]}.yaml"
    parsed = [
        AnomalibCLI(args=["train", *[f"--config={path}" for path in paths]], run=False).config["train"]["model"]
        for paths in ([whole], [whole, CONFIGS / f"{name}.yaml"])
    ]
    before, after = (config["init_args"].as_dict() for config in parsed)
    assert parsed[1]["class_path"].endswith("ProxyAno")
    assert {key for key in before if before[key] != after[key]} == set(changed)
    assert {key: after[key] for key in changed} == changed

"""The models' configurations hold every number of the code, with a reason each; what differs comes in small files."""

import inspect
import json
import re
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
    "proxy_ano_128": {"image_size": 128, "superpixels": 150, "smoothing": 1.0},
}
FROM_THE_HOST = {"self", "pre_processor", "post_processor", "evaluator", "visualizer"}


@pytest.mark.parametrize(("name", "model"), WHOLE.items())
def test_config_equals_the_code(name: str, model: type[AnomalibModule]) -> None:
    written: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml").model.init_args)
    assert written.pop("evaluator") == {"class_path": f"{AuproEvaluator.__module__}.AuproEvaluator"}
    parameters = inspect.signature(model.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in FROM_THE_HOST}
    assert written == defaults


@pytest.mark.parametrize(("name", "model"), WHOLE.items())
def test_help_equals_the_code(name: str, model: type[AnomalibModule], capsys: pytest.CaptureFixture) -> None:
    """What ``--help`` shows of every argument is its default, every weight with its number."""
    with pytest.raises(SystemExit):
        AnomalibCLI(args=["train", f"--model.help={model.__module__}.{model.__name__}"])
    shown = " ".join(capsys.readouterr().out.partition("Help for")[2].split()) + " --model."
    for argument, parameter in inspect.signature(model.__init__).parameters.items():
        if argument not in FROM_THE_HOST:
            start = shown.index(f"--model.{argument} ")
            text = shown[start : shown.index("--model.", start + 1)]
            default = json.dumps(parameter.default) if isinstance(parameter.default, dict) else str(parameter.default)
            assert f"default: {default}".replace('"', "'") in text.replace("null", "None").replace('"', "'"), argument


@pytest.mark.parametrize(("model", "most"), [(Stcm, 13), (ProxyAno, 14), (I3ad, 13)])
def test_a_user_can_read_the_constructor(model: type[AnomalibModule], most: int) -> None:
    assert len(set(inspect.signature(model.__init__).parameters) - FROM_THE_HOST) <= most


@pytest.mark.parametrize("model", WHOLE.values())
def test_one_weight_on_the_command_line_leaves_the_others(model: type[AnomalibModule]) -> None:
    path = f"{model.__module__}.{model.__name__}"
    arguments = ["--model", path, "--model.loss_weights.adversarial", "0", "--model.image_size", "64"]
    built: Any = AnomalibCLI(args=["train", *arguments, "--data", "MVTecAD"], run=False).model
    defaults = inspect.signature(model.__init__).parameters["loss_weights"].default
    assert built.loss.weights == {**defaults, "adversarial": 0}


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


WRONG = {
    "--model.memory_items=0": "Memory items came as 0, expected a whole number, 1 or more.",
    "--model.smoothing=-1": "Smoothing came as -1.0, expected 0 pixels or more, as 2.",
    "--model.smoothing=.nan": "Smoothing came as nan, expected 0 pixels or more, as 2.",
    "--model.smoothing=90": "Smoothing came as 90.0, expected at most 84 pixels where a side has 256.",
    "--model.loss_weights.pixel=.inf": "Loss weights are {'pixel': inf",
    "--model.score_weights.bank_pixel=.nan": "Score weights are {'bank_pixel': nan",
    "--model.image_size=0": "Image size 0 came where one number or (height, width) is expected",
    "--model.image_size=48": "Image size 48 came where one number or (height, width) is expected",
    "--model.score_weights.edges=1": "Score weights has edges, expected some of bank_pixel, bank_fine",
    "--model.backbone=resnet0": "Backbone 'resnet0' cannot be built",
    "--model.image_size=70": "Image size 70 came where one number or (height, width) is expected",
}


@pytest.mark.parametrize(("argument", "sentence"), WRONG.items())
def test_a_wrong_argument_ends_in_its_sentence(argument: str, sentence: str) -> None:
    """What a user reads last, by the entry point's name and by the class path."""
    for model in ("stcm", "anomalib_stc.models.Stcm"):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
            AnomalibCLI(args=["train", f"--model={model}", argument, "--data", "MVTecAD"], run=False)


def test_a_wrong_argument_of_the_hosts_model_is_the_hosts_own_error() -> None:
    with pytest.raises(ValueError, match="Does not validate against any of the Union subtypes"):
        AnomalibCLI(args=["train", "--model=Padim", "--model.backbone=resnet0", "--data", "MVTecAD"], run=False)

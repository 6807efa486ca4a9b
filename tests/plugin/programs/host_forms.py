"""Print what every way of naming a model in anomalib gives, with no import of the plugin by this program."""

import contextlib
import io
import json
import sys
from pathlib import Path

import yaml
from anomalib.cli import AnomalibCLI  # first: it imports anomalib.models half-way through
from anomalib.models import AnomalibModule, Padim, _get_model_class_by_name, get_model, list_models
from anomalib.pipelines.benchmark.generator import BenchmarkJobGenerator

SPELLINGS = ["stcm", "Stcm", "STCM", "anomalib_stc.models.Stcm", "edge_bank", "edgebank", "EdgeBank", "q3ad", "Q3AD"]
SUBCOMMANDS = ["train", "fit", "validate", "test", "predict", "export"]
BENCHMARK = {"seed": 1, "model": {"class_path": "Stcm"}, "data": {"class_path": "MVTecAD"}}


def printed(*arguments: str) -> str:
    """Return what the command line prints before it exits."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.parser.parse_args(list(arguments))
    return out.getvalue()


def class_path(*arguments: str) -> str:
    """Return the class path of the model in the configuration that the command line prints."""
    return yaml.safe_load(printed(*arguments, "--print_config"))["model"]["class_path"]


cli = AnomalibCLI(args=["train", "--model", "stcm", "--data", "MVTecAD"], run=False)
cli.subcommand_parsers["train"].save(cli.config["train"], "saved.yaml")  # as Lightning's SaveConfigCallback does
config = printed("train", "--model", "stcm", "--print_config")
Path("printed.yaml").write_text(config)
Path("by_path.yaml").write_text("model:\n  class_path: anomalib_stc.models.Stcm\n")
Path("by_name.yaml").write_text("model:\n  class_path: edge_bank\n  init_args:\n    width: 5\n")

facts = {
    "listed": sorted(list_models()),
    "cli_model": type(cli.model).__name__,
    "by_string": {name: type(get_model(name)).__name__ for name in SPELLINGS if "." not in name},
    "by_class_path": [type(get_model({"class_path": name})).__name__ for name in ("Stcm", "EdgeBank", "Q3AD")],
    "benchmark": type(next(BenchmarkJobGenerator("cpu").generate_jobs(BENCHMARK, None)).model).__name__,
    "cli": {name: class_path("train", "--model", name) for name in SPELLINGS},
    "subcommands": {name: class_path(name, "--model=stcm") for name in SUBCOMMANDS},
    "class_path_key": class_path("train", "--model.class_path", "stcm"),
    "read_back": printed("train", "-c", "printed.yaml", "--print_config") == config,
    "saved": yaml.safe_load(Path("saved.yaml").read_text())["model"]["class_path"],
    "saved_read_back": class_path("train", "-c", "saved.yaml"),
    "help": printed("train", "--model.help", "edge_bank"),
    "from_config": [type(AnomalibModule.from_config(name)).__name__ for name in ("by_name.yaml", "by_path.yaml")],
    "from_config_width": AnomalibModule.from_config("by_name.yaml").width,
    "padim": _get_model_class_by_name("padim") is Padim,
    "builtin": class_path("train", "--model", "Padim"),
    "twin": sorted(name for name in sys.modules if name.startswith("twin.")),
    "hook_left": [type(finder).__name__ for finder in sys.meta_path].count("ModelsHook"),
}
print(json.dumps(facts))

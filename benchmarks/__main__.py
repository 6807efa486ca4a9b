"""``python -m benchmarks run`` measures models on your images, ``python -m benchmarks report`` shows what it found."""

import argparse
import sys
from pathlib import Path

from benchmarks import settings

DEFAULT_OUTPUT = Path("results/benchmark")


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        return options.command(options, arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(required=True)
    run = commands.add_parser("run", help="train and measure; what is finished is not repeated")
    run.add_argument("--config", type=Path, default=settings.DEFAULT, help="settings (%(default)s)")
    run.add_argument("--data-root", help="folder that holds a folder for every category")
    run.add_argument("--categories", nargs="+", help="folders under the root")
    run.add_argument("--models", nargs="+", help="some of the configuration's models")
    run.add_argument("--seeds", nargs="+", type=int)
    run.add_argument("--image-size", type=int, help="side in pixels, for every model")
    run.add_argument("--output", help="folder of the results")
    run.add_argument("--jobs", type=int, help="runs at a time")
    run.add_argument("--threads", type=int, help="threads of every run")
    run.add_argument("--weather", action="store_true", default=None, help="test again in other light, focus, ...")
    run.set_defaults(command=run_command)
    report = commands.add_parser("report", help="write report.md and report.html into a folder of results")
    report.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder of the results (%(default)s)")
    report.add_argument("--few", type=Path, help="folder of results of configs/few.yaml, to be shown as well")
    report.set_defaults(command=report_command)
    return top


def run_command(options: argparse.Namespace, arguments: list[str]) -> int:
    """Run what is not finished."""
    from benchmarks.runner import run_all

    changes = {
        "data.root": options.data_root,
        "data.categories": options.categories,
        **{name: getattr(options, name) for name in ("seeds", "image_size", "output", "jobs", "threads", "weather")},
    }
    chosen = settings.choose_models(settings.load(options.config, changes), options.models)
    failed = run_all(chosen, arguments)
    for run in failed:
        print(f"failed: {run.log}: {last_line(run.log)}", file=sys.stderr)
    return 1 if failed else 0


def last_line(path: Path) -> str:
    """Return the last line of a log that has something in it: the cause, where a run ended with an error."""
    return next((line for line in reversed(path.read_text(errors="replace").splitlines()) if line.strip()), "no log")


def report_command(options: argparse.Namespace, arguments: list[str]) -> int:
    """Write the report of a folder."""
    del arguments
    from benchmarks.report import write_report

    for path in write_report(options.output, options.few):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

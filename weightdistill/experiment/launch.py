"""Runs experiments/Snakefile in a folder, and shows how far its trainings are.

    python -m weightdistill.experiment.launch --folder DIR -- SNAKEMAKE OPTIONS

The folder is locked meanwhile. What a run finished, the next one in the same folder does not repeat.
"""

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from weightdistill.errors import DistillationError, reported
from weightdistill.experiment.progress import run_workflow
from weightdistill.installation import resources, stage_environment


def launch(folder: Path, options: Sequence[str]) -> int:
    """Run the workflow, and print what it prints.

    Args:
        folder: Where everything is written.
        options: Options of Snakemake, with the files of settings among them.

    Returns:
        Snakemake's exit code.

    Raises:
        DistillationError: Another run is using the folder.
    """
    # Snakemake 7 knows no parts of its output that can be left out.
    quiet = [] if version("snakemake").startswith("7.") else ["--quiet", "host", "reason"]
    command = [sys.executable, "-m", "snakemake", *quiet, "--rerun-triggers", "mtime", "params", "input"]
    # Its own lock would outlive a run that was killed.
    command += ["--rerun-incomplete", "--nolock", "--snakefile", str(resources() / "experiments" / "Snakefile")]
    os.environ.update(stage_environment())
    with _locked(folder):
        return run_workflow([*command, "--directory", str(folder), *options], folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, as long as this process or one that it started lives."""
    with (folder / ".lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DistillationError(
                f"another run is using {folder}; wait for its end, or name another folder"
            ) from error
        yield


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder that receives everything")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of Snakemake, after --")
    arguments = parser.parse_args()
    options = arguments.options[1:] if arguments.options[:1] == ["--"] else arguments.options
    code = launch(arguments.folder, options)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    with reported("launch"):
        main()

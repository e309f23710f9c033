"""What is installed, and where: the stages and settings of experiments, the environment they run in, and the versions.

Imports only the standard library. Knows nothing about what the stages do.
"""

import os
import sys
from importlib import metadata
from pathlib import Path

import weightdistill

# What decides about a result. Python 3.10 takes fairseq, later versions take fairseq-fixed.
_PACKAGES = ("fairseq", "fairseq-fixed", "torch", "ctranslate2", "sacrebleu")


def resources() -> Path:
    """The folder that holds `scripts/` and `experiments/`: the project's in a checkout, else the package's own."""
    package = Path(__file__).resolve().parent
    return package if (package / "scripts").is_dir() else package.parent


def stage_environment() -> dict[str, str]:
    """The variables of this process, and the one that makes the stages in `scripts/` use this Python environment."""
    return {**os.environ, "WEIGHTDISTILL_VENV": sys.prefix}


def versions() -> dict[str, str]:
    """The versions of weightdistill, Python, and the packages that decide about a result, without importing them."""
    installed = {"weightdistill": weightdistill.__version__, "Python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed

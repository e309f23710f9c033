"""Installs the project from its wheel into an environment of its own, and runs commands there as a user does.

The environment takes the dependencies from that of the tests, so nothing is downloaded. The project's folder and its
editable installation are out of its sight.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

from commands import BIN, ROOT

# What a wheel is built from. A copy of it, since setuptools writes beside its sources.
SOURCES = (
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "experiments",
    "fairseq_plugins",
    "scripts",
    "weightdistill",
)


def build_wheel(folder: Path) -> Path:
    """Build the sdist, and from it the wheel; both lie in the folder."""
    sources = folder / "sources"
    sources.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, sources)
    _build("sdist", sources, folder)
    (sdist,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    _build("wheel", unpacked, folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """Install a wheel into a new environment; the path of its `weightdistill`."""
    venv.create(environment, symlinks=True)
    places = {"base": str(environment), "platbase": str(environment)}
    packages, scripts = (Path(sysconfig.get_path(name, "posix_prefix", places)) for name in ("purelib", "scripts"))
    # A folder that a .pth file names is searched last, and .pth files in it have no effect: the tests' environment
    # gives its packages, but not the project.
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    python = scripts / "python"
    # Without --ignore-installed, pip would look for an installation to remove in the tests' environment.
    options = ("--quiet", "--no-index", "--no-deps", "--ignore-installed")
    run_installed(python, "-m", "pip", "install", *options, wheel, cwd=environment)
    for entry_point in metadata.entry_points(group="console_scripts"):
        command = scripts / entry_point.name
        if (BIN / entry_point.name).exists() and not command.exists():
            text = (BIN / entry_point.name).read_text(encoding="utf-8")
            command.write_text(f"#!{python}\n" + text.partition("\n")[2], encoding="utf-8")
            command.chmod(0o755)
    return scripts / "weightdistill"


def run_installed(command: object, *arguments: object, cwd: Path) -> str:
    """Run a command by its path to its end, in a shell that knows no environment; both of its outputs together."""
    words = [str(word) for word in (command, *arguments)]
    result = subprocess.run(
        words, env=_variables(), cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert result.returncode == 0, f"exit code {result.returncode} of {words}:\n{result.stdout[-6000:]}"
    return result.stdout


def _build(kind: str, sources: Path, folder: Path) -> None:
    program = "import sys; from setuptools import build_meta; getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2])"
    run_installed(sys.executable, "-c", program, kind, folder, cwd=sources)


def _variables() -> dict[str, str]:
    """Those of a shell in which nothing of the tests' environment can be found."""
    path = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(folder) != BIN]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "WEIGHTDISTILL_VENV", "VIRTUAL_ENV")
    }
    return {**inherited, "PATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

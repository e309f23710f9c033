"""Runs a command of the user's at each checkpoint of a training, which fairseq itself has no place for."""

import functools
import logging
import shlex
import subprocess
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils

logger = logging.getLogger(__name__)


def at_each_checkpoint(command: str) -> None:
    """From now on, run a shell command after each checkpoint that fairseq writes in this process.

    Training waits for it, and so do the other processes of a training, on GPUs no longer than NCCL's timeout: let a
    long command run in the background (`... &`). One that fails is reported, and training goes on.

    Args:
        command: in it `{}` stands for the checkpoint's path. Of files that are the same, it is that of the epoch or
            update, not checkpoint_best.pt or checkpoint_last.pt.
    """
    save = getattr(checkpoint_utils.save_checkpoint, "__wrapped__", checkpoint_utils.save_checkpoint)

    @functools.wraps(save)
    def save_and_run(config: Any, *args: Any, **kwargs: Any) -> Any:
        folder = Path(config.save_dir)
        before = _checkpoints(folder)
        result = save(config, *args, **kwargs)
        if written := [path for path, time in _checkpoints(folder).items() if before.get(path) != time]:
            copies = "checkpoint_best", "checkpoint_last", "checkpoint.best"
            _run(command, min(written, key=lambda path: (path.name.startswith(copies), path.name)))
        return result

    checkpoint_utils.save_checkpoint = save_and_run


def _checkpoints(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("checkpoint*.pt")}


def _run(command: str, path: Path) -> None:
    line = command.replace("{}", shlex.quote(str(path)))
    logger.info("checkpoint command: %s", line)
    code = subprocess.run(line, shell=True, check=False).returncode
    if code:
        logger.warning("the checkpoint command ended with exit code %d; training goes on", code)

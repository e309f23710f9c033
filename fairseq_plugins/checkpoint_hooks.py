"""Around fairseq's checkpoints: a command after each, and checks around loading; fairseq has no hooks for either."""

import functools
import logging
import shlex
import subprocess
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from weightdistill.errors import DistillationError
from weightdistill.places import require_separate, separated_paths

logger = logging.getLogger(__name__)


def at_each_checkpoint(command: str) -> None:
    """From now on, run a shell command after each checkpoint that fairseq writes in this process.

    Training waits for the command, in all of its processes; on GPUs NCCL's timeout limits how long. Let a long command
    run in the background (`... &`). A command that fails is reported, and training continues.

    Args:
        command: the command, in which `{}` stands for the checkpoint's path. fairseq writes the same checkpoint under
            several names; the path is that of the epoch or update, not checkpoint_best.pt or checkpoint_last.pt.
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


def check_around_loading() -> None:
    """From now on, show the task each checkpoint before a training loads it, and end a training that is finished.

    A task that wants to see it has a method `before_loading`, which takes the checkpoint's path and whether the
    training resumes. One that starts from the weights alone (--finetune-from-model, --reset-optimizer) does not resume.
    Such a task's trainings must also not write where their teachers' checkpoints lie.

    fairseq compares the number of updates with --max-update only after a further update, so that a training which was
    killed after its last checkpoint, or is just started again, would have one too many. May be called more than once.
    """
    load = getattr(Trainer.load_checkpoint, "__wrapped__", Trainer.load_checkpoint)

    @functools.wraps(load)
    def check_and_load(
        trainer: Trainer, filename: str, reset_optimizer: bool = False, *args: Any, **named_args: Any
    ) -> Any:
        check = getattr(trainer.task, "before_loading", None)
        if check is not None:
            _require_own_folder(trainer)
            if Path(filename).is_file():
                check(Path(filename), resumes=not reset_optimizer)
        try:
            loaded = load(trainer, filename, reset_optimizer, *args, **named_args)
        except Exception as error:  # fairseq's, which takes the place of the model's
            if isinstance(error.__context__, DistillationError):
                raise error.__context__ from None
            raise
        if 0 < trainer.cfg.optimization.max_update <= (updates := trainer.get_num_updates()):
            logger.info("nothing to train: %s has all %d updates", filename, updates)
            raise SystemExit(0)
        return loaded

    Trainer.load_checkpoint = check_and_load


def _require_own_folder(trainer: Trainer) -> None:
    """Refuse to train in the folder of the teacher or of the student that the training starts from."""
    folder, start = trainer.cfg.checkpoint.save_dir, trainer.cfg.checkpoint.finetune_from_model
    require_separate(
        {"--save-dir": sorted(_checkpoints(Path(folder)))},
        {
            "--teacher-path": separated_paths(getattr(trainer.task.cfg, "teacher_path", None) or ""),
            "--finetune-from-model": Path(start) if start else None,
        },
    )


def _checkpoints(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("checkpoint*.pt")}


def _run(command: str, path: Path) -> None:
    line = command.replace("{}", shlex.quote(str(path)))
    logger.info("checkpoint command: %s", line)
    code = subprocess.run(line, shell=True, check=False).returncode
    if code:
        logger.warning("the checkpoint command ended with exit code %d; training continues", code)

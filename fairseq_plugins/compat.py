"""What stock fairseq needs in order to load and resume its own checkpoints with today's torch.

- torch >= 2.6 loads with weights_only=True and refuses the `argparse.Namespace` in fairseq's checkpoints. Declaring
  that one class safe, as `weightdistill.checkpoint` does, keeps loading safe.
- fairseq copies a finished checkpoint to `checkpoint_last.pt` in place: a process that is killed meanwhile leaves half
  a file, from which nothing resumes. Copying beside it and renaming leaves the old file or the new one. (Where the
  optional package iopath is installed, fairseq writes through that, and this does not apply.)
"""

import os
import shutil

from fairseq.file_io import IOPathManager, PathManager

from weightdistill import checkpoint as checkpoint  # declares argparse.Namespace safe


def apply() -> None:
    """Put the second in place; may be called more than once. Importing this module did the first."""
    if IOPathManager is None:
        PathManager.copy = staticmethod(_copy)


def _copy(source: str, destination: str, overwrite: bool = False) -> bool:
    """`PathManager.copy` for local files, such that the destination is never half written."""
    temporary = f"{destination}.tmp"
    shutil.copyfile(source, temporary)
    os.replace(temporary, destination)
    return True

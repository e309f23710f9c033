"""Checkpoint averaging: the mean weights of several checkpoints of one training.

    python -m weightdistill.average OUTPUT CHECKPOINT...

The settings are those of the last checkpoint; the optimiser state is left out. Knows nothing about models.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from weightdistill import checkpoint
from weightdistill.errors import DistillationError, reported
from weightdistill.places import require_separate


def average(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Average the weights of checkpoints.

    Args:
        paths: The checkpoints, in order.

    Returns:
        The last checkpoint with the mean weights and without the optimiser state. The weights are summed in float32
        or float64, and stored in their original type. Integers are those of the last checkpoint.

    Raises:
        DistillationError: There is no checkpoint, one cannot be read or holds NaN or infinity, or their weights differ
            in names or shapes.
    """
    if not paths:
        raise DistillationError("an average needs at least one checkpoint, but there is none; give their paths")
    sums: dict[str, torch.Tensor] = {}
    state: dict[str, Any] = {}
    for path in tqdm(paths, "averaging", unit="checkpoint", disable=None):
        state = checkpoint.read(path)
        checkpoint.require_finite(state, path)
        weights = {name: weight for name, weight in state["model"].items() if weight.is_floating_point()}
        if sums and {name: sums[name].shape for name in sums} != {name: weights[name].shape for name in weights}:
            different = {
                name
                for name in sums.keys() | weights.keys()
                if name not in sums or name not in weights or sums[name].shape != weights[name].shape
            }
            raise DistillationError(
                f"checkpoints must hold the same weights, but {path} differs from {paths[0]} in {len(different)}, "
                f"e.g. {min(different)}; average checkpoints of one training"
            )
        for name, weight in weights.items():
            exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
            sums[name] = sums[name] + exact if name in sums else exact.clone()
    means: dict[object, torch.Tensor] = {}  # by memory location, so that tied weights stay tied
    for name, total in sums.items():
        last = state["model"][name]
        location = last.untyped_storage().data_ptr(), last.storage_offset(), last.shape, last.stride()
        state["model"][name] = means.setdefault(location, (total / len(paths)).to(last.dtype))
    state.pop("last_optimizer_state", None)
    return state


def main(arguments: list[str]) -> None:
    """Run the command line. Wrong arguments print the usage, and end with exit code 1."""
    match arguments:
        case [output, *paths] if paths:
            require_separate({"the average": Path(output)}, {"a checkpoint": map(Path, paths)})
            checkpoint.write(average(paths), output)
            print(f"wrote {output}: the average of {len(paths)} checkpoints")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    with reported("average"):
        main(sys.argv[1:])

"""Compares what two runs made, exactly: the weights of checkpoints, and text.

Says how many files of each kind are equal, and fails where one differs.

    python tests/system/slurm/compare.py DIR DIR NAME...

NAME is a file, or a pattern, in both folders. Knows nothing about clusters.
"""

import sys
from pathlib import Path

import torch

from weightdistill import checkpoint


def equal(first: Path, second: Path) -> bool:
    """Whether two files hold the same weights, bit by bit, or the same text."""
    if first.suffix != ".pt":
        return first.read_bytes() == second.read_bytes()
    weights = [checkpoint.read(path)["model"] for path in (first, second)]
    return weights[0].keys() == weights[1].keys() and all(
        torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items()
    )


def main() -> None:
    """Run the command line."""
    first, second = Path(sys.argv[1]), Path(sys.argv[2])
    counts = []
    for pattern in sys.argv[3:]:
        names = sorted(path.relative_to(first) for path in first.glob(pattern))
        if not names:
            sys.exit(f"{first} has no {pattern}")
        if different := [str(name) for name in names if not equal(first / name, second / name)]:
            sys.exit(f"not equal in {first} and {second}: {', '.join(different)}")
        counts.append(f"{pattern} ({len(names)})")
    print(", ".join(counts))


if __name__ == "__main__":
    main()

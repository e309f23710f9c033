"""Counts the tokens in a folder of fairseq-preprocess from its indexes, without torch or fairseq.

Knows the heads of fairseq's two index formats, nothing else of them.
"""

import struct
from pathlib import Path

from weightdistill.errors import DistillationError

_BYTES_PER_TOKEN = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8}
"""Of the codes by which an `mmap` index names its type of number."""


def target_tokens(data: Path, target: str | None = None) -> int:
    """Count the target tokens of the training data, with the ends of the sentences; of train, train1, ... together.

    Args:
        data: Folder of fairseq-preprocess.
        target: Target language; by default, the one in the names of the files.

    Raises:
        DistillationError: The folder has no binarised training data, or that of several language pairs.
    """
    if not data.is_dir():
        raise DistillationError(f"{data}: no such folder; give a data-bin of prepare.sh or fairseq-preprocess")
    # train.SOURCE-TARGET.LANGUAGE.idx
    pairs = [(path, path.name.split(".")) for path in sorted(data.glob("train*.*-*.*.idx"))]
    targets = {path: parts[2] for path, parts in pairs if parts[1].partition("-")[2] == parts[2]}
    targets = {path: language for path, language in targets.items() if target in (None, language)}
    if not targets:
        raise DistillationError(
            f"{data} has no train.SOURCE-{target or 'TARGET'}.{target or 'TARGET'}.idx; binarise the training data "
            "with fairseq-preprocess or prepare.sh, or give --lr, --warmup-updates, --max-update and --max-tokens"
        )
    if len(languages := sorted(set(targets.values()))) > 1:
        raise DistillationError(
            f"{data} has several target languages ({', '.join(languages)}); choose with --target-lang"
        )
    return sum(_tokens(path) for path in targets)


def _tokens(index: Path) -> int:
    """The tokens of one side of one part."""
    with index.open("rb") as file:
        head = file.read(32)
    if head.startswith(b"MMIDIDX") and len(head) > 17 and head[17] in _BYTES_PER_TOKEN:
        size = _BYTES_PER_TOKEN[head[17]]  # behind 9 bytes of the format's name and 8 of its version
    elif head.startswith(b"TNTIDX") and len(head) == 32:
        size = struct.unpack("<Q", head[24:])[0]  # behind 8 bytes each of name, version and type of number
    else:
        raise DistillationError(
            f"{index} is of a format that cannot be counted (only mmap, lazy and cached can); give --lr, "
            "--warmup-updates, --max-update and --max-tokens"
        )
    return index.with_suffix(".bin").stat().st_size // size

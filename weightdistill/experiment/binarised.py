"""Counts the tokens in a folder of fairseq-preprocess from its indexes, and checks these, without torch or fairseq.

Knows fairseq's two index formats, not what the tokens mean.
"""

import struct
from pathlib import Path

import numpy as np

from weightdistill.errors import DistillationError

_MMAP, _CACHED = b"MMIDIDX\x00\x00", b"TNTIDX\x00\x00"
_BYTES_PER_TOKEN = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8}
"""Of the codes by which an index names its type of number."""


def dictionaries(folder: Path | None) -> list[Path]:
    """Return the dictionaries in a data folder, if one is given."""
    return [] if folder is None else sorted(folder.glob("dict.*.txt"))


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


def require_whole_index(index: Path) -> None:
    """Check that an index and the data beside it are whole: neither is cut, and the sentences fill the data.

    Args:
        index: A file that ends in .idx.

    Raises:
        DistillationError: One is cut, damaged or missing, or the index is in neither format.
    """
    data = index.with_suffix(".bin")
    try:
        content, size = index.read_bytes(), data.stat().st_size
    except OSError as error:
        raise DistillationError(
            f"{error.filename} cannot be read: {error.strerror}; binarise the text again"
        ) from error
    try:
        filled = _filled(content)
    except (struct.error, ValueError, KeyError) as error:
        raise DistillationError(f"{index} is cut or damaged; binarise the text again") from error
    if filled != size:
        raise DistillationError(
            f"{data} must have the {filled} bytes of which {index.name} lists the sentences, but has {size}; binarise "
            "the text again"
        )


def _filled(index: bytes) -> int:
    """Return the bytes of the sentences that an index lists.

    Raises:
        struct.error, ValueError or KeyError: It is not whole.
    """
    if index.startswith(_MMAP):
        version, number_type, count = struct.unpack_from("<QBQ", index, len(_MMAP))
        begin = len(_MMAP) + 17
        sizes = np.frombuffer(index, "<i4", count, begin).astype(np.int64) * _BYTES_PER_TOKEN[number_type]
        starts = np.frombuffer(index, "<i8", count, begin + 4 * count)
        ends, whole = np.cumsum(sizes), begin + 12 * count
        right = np.array_equal(starts, ends - sizes)
        total = int(ends[-1]) if count else 0
    else:
        name, version, number_type, width, count, sizes_count = struct.unpack_from("<8sQQQQQ", index)
        if name != _CACHED or width != _BYTES_PER_TOKEN[number_type]:
            raise ValueError("another format")
        dimensions, starts = np.frombuffer(index, "<i8", 2 * (count + 1), 48).reshape(2, -1)
        sizes = np.frombuffer(index, "<i8", sizes_count, 48 + 16 * (count + 1))
        whole = 48 + 16 * (count + 1) + 8 * sizes_count
        # Sentences have one dimension.
        right = np.array_equal(dimensions, np.arange(count + 1)) and np.array_equal(np.diff(starts), sizes)
        right = right and starts[0] == 0
        total = int(starts[-1]) * width
    if version != 1 or len(index) != whole or not right or (sizes < 0).any():
        raise ValueError("not whole")
    return total


def _tokens(index: Path) -> int:
    """The tokens of one side of one part."""
    with index.open("rb") as file:
        head = file.read(32)
    if head.startswith(_MMAP) and len(head) > 17 and head[17] in _BYTES_PER_TOKEN:
        size = _BYTES_PER_TOKEN[head[17]]  # behind 9 bytes of the format's name and 8 of its version
    elif head.startswith(_CACHED) and len(head) == 32 and any(head[24:]):
        size = struct.unpack("<Q", head[24:])[0]  # behind 8 bytes each of name, version and type of number
    else:
        raise DistillationError(
            f"{index} is of a format that cannot be counted (only mmap, lazy and cached can); give --lr, "
            "--warmup-updates, --max-update and --max-tokens"
        )
    return index.with_suffix(".bin").stat().st_size // size

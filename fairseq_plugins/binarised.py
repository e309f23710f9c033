"""Takes over training data that a user has binarised: files for fairseq, and pieces for sequence-level distillation.

python -m fairseq_plugins.binarised TRAIN_BIN SOURCE TARGET PREPARED
"""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary, data_utils

from fairseq_plugins import compat
from weightdistill.errors import DistillationError, reported
from weightdistill.files import writing

compat.apply()


def take_over(folder: Path, source: str, target: str, prepared: Path) -> int:
    """Link binarised training data into `prepared/data-bin`, and write its pieces to `prepared/pieces`.

    Args:
        folder: output of fairseq-preprocess with train.SOURCE-TARGET.* or train.TARGET-SOURCE.* and the dictionaries;
            train1, train2 and so on belong to it, as for fairseq.
        source: source language.
        target: target language.
        prepared: receives the data.

    Returns:
        the number of sentence pairs.

    Raises:
        DistillationError: the folder holds no such data, its sides do not align, or an output cannot be written.
    """
    prefixes = list(_prefixes(folder, source, target))
    dictionaries = {language: Dictionary.load(str(folder / f"dict.{language}.txt")) for language in (source, target)}
    datasets = {
        language: [_open(Path(f"{prefix}.{language}"), dictionary) for prefix in prefixes]
        for language, dictionary in dictionaries.items()
    }
    counts = [sum(map(len, parts)) for parts in datasets.values()]
    if counts[0] != counts[1]:
        raise DistillationError(
            f"both sides of {prefixes[0]} must have the same number of sentences, but {source} has {counts[0]} and "
            f"{target} has {counts[1]}; binarise them again"
        )
    with contextlib.ExitStack() as stack:  # both files, or neither
        for language, parts in datasets.items():
            temporary = stack.enter_context(writing(prepared / "pieces" / f"train.{language}"))
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                for prefix, dataset in zip(prefixes, parts, strict=True):
                    for line in _lines(dataset, dictionaries[language], f"{prefix}.{language}.bin"):
                        file.write(f"{line}\n")
    for number, prefix in enumerate(prefixes):
        for part in prefix.parent.glob(f"{prefix.name}.*"):
            ending = part.name.removeprefix(prefix.name)
            link = prepared / "data-bin" / f"train{number or ''}.{source}-{target}{ending}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.realpath(part))
    return counts[0]


def count(folder: Path, source: str, target: str) -> tuple[int, int]:
    """Count the sentence pairs and the target tokens of binarised training data.

    Args:
        folder: see `take_over`.
        source: source language.
        target: target language.

    Raises:
        DistillationError: the folder holds no such data.
    """
    parts = [_open(Path(f"{path}.{target}")) for path in _prefixes(folder, source, target)]
    return sum(map(len, parts)), int(sum(part.sizes.sum() for part in parts))


def _open(path: Path, dictionary: Dictionary | None = None) -> Any:
    if (dataset := data_utils.load_indexed_dataset(str(path), dictionary)) is None:
        raise DistillationError(f"{path}.bin does not exist; give a folder of fairseq-preprocess")
    return dataset


def _lines(dataset: Any, dictionary: Dictionary, name: str) -> Iterator[str]:
    """Yield the pieces of each sentence, separated by blanks."""
    if dataset.supports_prefetch:  # the format `cached` has nothing else to read from
        dataset.prefetch(range(len(dataset)))
    for number in range(len(dataset)):
        tokens = dataset[number]
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < len(dictionary):
            raise DistillationError(
                f"{name}: sentence {number + 1} has a piece that its dictionary of {len(dictionary)} lacks; "
                "binarise the text again"
            )
        yield dictionary.string(tokens)


def _prefixes(folder: Path, source: str, target: str) -> Iterator[Path]:
    """Yield the path of each part of the training data, without language and ending."""
    for language in (source, target):
        if not (folder / f"dict.{language}.txt").is_file():
            raise DistillationError(f"{folder} has no dict.{language}.txt; give a folder of fairseq-preprocess")
    for number in itertools.count():
        pairs = [folder / f"train{number or ''}.{pair}" for pair in (f"{source}-{target}", f"{target}-{source}")]
        part = next((pair for pair in pairs if Path(f"{pair}.{source}.idx").is_file()), None)
        if part is None:
            if number == 0:
                raise DistillationError(
                    f"{folder} has no {pairs[0].name}.{source}.idx; give a folder of fairseq-preprocess"
                )
            return
        yield part


def main(arguments: list[str]) -> None:
    """Run the command line. Wrong arguments print the usage, and end with exit code 1."""
    match arguments:
        case [folder, source, target, prepared]:
            count = take_over(Path(folder), source, target, Path(prepared))
            print(f"train: {count} sentence pairs of {folder}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    with reported("binarised"):
        main(sys.argv[1:])

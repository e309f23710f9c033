"""Parallel text, one sentence per line: read, filtered and written. Every pair is kept, or counted as left out.

Knows nothing about subwords or fairseq.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightdistill.errors import DistillationError
from weightdistill.files import decode, reading, writing
from weightdistill.places import require_separate


@dataclass(frozen=True)
class CleanSettings:
    """Which pairs of a parallel corpus are kept. Lengths are in words, i.e. text between blanks.

    Raises:
        DistillationError: A value is out of range.
    """

    max_length: int = 0
    """Most words of either side; 0 for no limit."""
    max_ratio: float = 0.0
    """Largest ratio of the two lengths, whichever side is longer; 0 for no limit."""
    deduplicate: bool = False
    """Keep only the first of several equal pairs."""
    drop_empty: bool = False
    """Leave out pairs with an empty side. Otherwise such a pair is an error."""

    def __post_init__(self) -> None:
        if self.max_length < 0:
            raise DistillationError(f"max length must be 0 or more, but is {self.max_length}; give 0 for no limit")
        if self.max_ratio and not self.max_ratio >= 1:
            raise DistillationError(f"max ratio must be 0 or at least 1, but is {self.max_ratio}; give 0 for no limit")


@dataclass
class CleanCounts:
    """Number of pairs that were read, left out for each reason (checked in this order), and kept."""

    pairs: int = 0
    empty: int = 0
    too_long: int = 0
    ratio: int = 0
    duplicate: int = 0
    kept: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """List all counts in one line."""
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.as_dict().items())


def clean(
    source: Path, target: Path, output_source: Path, output_target: Path, settings: CleanSettings | None = None
) -> CleanCounts:
    """Write the pairs of a parallel corpus that are fit for training.

    Args:
        source: Source side, one sentence per line, which may be gzipped.
        target: Target side, likewise.
        output_source: File to write.
        output_target: File to write.
        settings: What to leave out; default: nothing.

    Returns:
        Counts of all pairs.

    Raises:
        DistillationError: A file cannot be read, a line is not UTF-8, a side is empty, the sides differ in their
            number of lines, no pair is kept, or an output would replace an input or the other. The message names file
            and line; nothing is written.
    """
    settings = settings or CleanSettings()
    require_separate(
        {"--output-source": output_source, "--output-target": output_target}, {"--source": source, "--target": target}
    )
    counts, digests = CleanCounts(), set[bytes]()
    with writing(output_source) as temporary_source, writing(output_target) as temporary_target:
        with (
            temporary_source.open("w", encoding="utf-8", newline="\n") as source_file,
            temporary_target.open("w", encoding="utf-8", newline="\n") as target_file,
        ):
            for pair in read_pairs(source, target):
                counts.pairs += 1
                outcome = _outcome(pair, settings, digests)
                if outcome == "empty" and not settings.drop_empty:
                    path = source if not pair[0] else target
                    raise DistillationError(
                        f"{path}: line {counts.pairs} is empty; fix it, or leave out such pairs (--drop-empty)"
                    )
                setattr(counts, outcome, getattr(counts, outcome) + 1)
                if outcome == "kept":
                    source_file.write(pair[0] + "\n")
                    target_file.write(pair[1] + "\n")
        if not counts.kept:
            raise DistillationError(
                f"at least one pair must be kept, but {source} and {target} gave {counts}; relax the limits"
            )
    return counts


def read_pairs(
    source: Path, target: Path, encoding: str = "utf-8", target_encoding: str = "utf-8"
) -> Iterator[tuple[str, str]]:
    """Read the sentence pairs of parallel text.

    Args:
        source: Source side, one sentence per line, which may be gzipped.
        target: Target side, likewise.
        encoding: Encoding of the source, by its name in Python; one in which a line feed is a single byte, which does
            not occur within another character.
        target_encoding: Encoding of the target.

    Yields:
        Source and target sentence, with one blank between words.

    Raises:
        DistillationError: A file cannot be read, a line is not in its encoding, or the sides differ in their number of
            lines. The message names file and line.
    """
    _require_line_feed(source, encoding)
    _require_line_feed(target, target_encoding)
    sides = _lines(source, encoding), _lines(target, target_encoding)
    number = 0
    while True:
        number += 1
        pair = [next(side, None) for side in sides]
        if pair[0] is not None and pair[1] is not None:
            yield pair[0], pair[1]
            continue
        if pair == [None, None]:
            return
        shorter, longer = (source, target) if pair[0] is None else (target, source)
        raise DistillationError(
            f"both sides must have the same number of lines, but {shorter} ends after {number - 1} and {longer} does "
            "not; give two files of one corpus"
        )


def write_pairs(pairs: Iterable[tuple[str, str]], source: Path, target: Path) -> int:
    """Write parallel text, one sentence per line: both files, or neither if anything fails.

    Args:
        pairs: Source and target sentences, without line ends.
        source: File of the source sentences.
        target: File of the target sentences.

    Returns:
        The number of pairs.

    Raises:
        DistillationError: There is no pair, or an output cannot be written.
    """
    count = 0
    with (
        writing(source) as temporary_source,
        writing(target) as temporary_target,
        temporary_source.open("w", encoding="utf-8", newline="\n") as source_file,
        temporary_target.open("w", encoding="utf-8", newline="\n") as target_file,
    ):
        for pair in pairs:
            source_file.write(pair[0] + "\n")
            target_file.write(pair[1] + "\n")
            count += 1
        if not count:
            raise DistillationError(
                f"{source} and {target} must get a sentence pair, but there is none; check the input"
            )
    return count


def _outcome(pair: tuple[str, str], settings: CleanSettings, digests: set[bytes]) -> str:
    """Return the field of `CleanCounts` that a pair belongs to: a reason to leave it out, or `kept`."""
    shorter, longer = sorted(len(side.split()) for side in pair)
    if shorter == 0:
        return "empty"
    if settings.max_length and longer > settings.max_length:
        return "too_long"
    if settings.max_ratio and longer > settings.max_ratio * shorter:
        return "ratio"
    if settings.deduplicate:
        digest = hashlib.blake2b("\n".join(pair).encode(), digest_size=12).digest()
        if digest in digests:
            return "duplicate"
        digests.add(digest)
    return "kept"


def _lines(path: Path, encoding: str) -> Iterator[str]:
    remedy = "name its encoding, or convert the file first"
    with reading(path) as file:
        # Only a line feed ends a line; a separator within one would misalign the sides later.
        for number, line in enumerate(file, start=1):
            yield " ".join(decode(line, path, encoding, number, remedy).removeprefix("\ufeff").split())


def _require_line_feed(path: Path, encoding: str) -> None:
    """Refuse an encoding in which the byte of a line feed is not a line feed, such as UTF-16."""
    try:
        usable = b"\n".decode(encoding) == "\n"
    except UnicodeError:
        usable = False
    except LookupError:
        return  # decoding says so
    if not usable:
        raise DistillationError(
            f"{path}: encoding must be one in which a line feed is a single byte, but is {encoding!r}; convert the "
            "file to UTF-8"
        )

"""Cleans parallel text: both sides are checked line by line, unfit pairs are left out and counted, none is lost unseen.

Knows text files, one sentence a line; nothing about subwords or fairseq.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from weightdistill.errors import DistillationError
from weightdistill.files import writing

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True)
class CleanSettings:
    """Which pairs of a parallel corpus are kept. Lengths are counted in words, which are separated by blanks."""

    max_length: int = 0
    """Most words of a side; 0 for any number."""
    max_ratio: float = 0.0
    """Largest ratio of both lengths, either way; 0 for any."""
    deduplicate: bool = False
    """Keep the first of equal pairs."""
    drop_empty: bool = False
    """Leave out pairs with an empty side; otherwise they are an error."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            DistillationError: one is out of its range.
        """
        if self.max_length < 0:
            raise DistillationError(f"max length must be 0 or more, but is {self.max_length}")
        if self.max_ratio and not self.max_ratio >= 1:
            raise DistillationError(f"max ratio must be 0 or at least 1, but is {self.max_ratio}")


@dataclass
class CleanCounts:
    """How many pairs came in, were left out for which reason (in this order), and came out."""

    pairs: int = 0
    empty: int = 0
    too_long: int = 0
    ratio: int = 0
    duplicate: int = 0
    kept: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same as a dictionary, for JSON."""
        return asdict(self)


def clean(
    source: Path, target: Path, output_source: Path, output_target: Path, settings: CleanSettings | None = None
) -> CleanCounts:
    """Write the pairs that are fit to train on.

    Args:
        source: one side, a sentence a line, maybe gzipped (.gz).
        target: the other side.
        output_source: file to write.
        output_target: file to write.
        settings: what is left out; default: nothing.

    Returns:
        Counts of all pairs.

    Raises:
        DistillationError: a file that cannot be read, a line that is not UTF-8, an empty side, numbers of lines that
            differ, or no pair left; file and line are named, and nothing is written.
    """
    settings = settings or CleanSettings()
    counts, seen = CleanCounts(), set[bytes]()
    with writing(output_source) as own, writing(output_target) as other:
        with (
            own.open("w", encoding="utf-8", newline="\n") as left,
            other.open("w", encoding="utf-8", newline="\n") as right,
        ):
            for pair in read_pairs(source, target):
                counts.pairs += 1
                reason = _reason(pair, settings, seen)
                if reason == "empty" and not settings.drop_empty:
                    path = source if not pair[0] else target
                    raise DistillationError(
                        f"{path}: line {counts.pairs} is empty; mend it, or leave such pairs out (drop empty)"
                    )
                setattr(counts, reason, getattr(counts, reason) + 1)
                if reason == "kept":
                    left.write(pair[0] + "\n")
                    right.write(pair[1] + "\n")
        if not counts.kept:
            raise DistillationError(f"no pair of {source} and {target} is left of {counts.pairs}; loosen the limits")
    return counts


def read_tmx(path: Path, source: str, target: str) -> Iterator[tuple[str, str]]:
    """The sentence pairs of a translation memory (TMX), maybe gzipped; units that lack a language are passed over.

    Args:
        path: the file.
        source: one language, as the file's `xml:lang` names it, in any case and with or without its region.
        target: the other language.

    Raises:
        DistillationError: the file cannot be read, is not TMX, or has no such pair.
    """
    empty = True
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            body = None
            for event, element in ElementTree.iterparse(file, ("start", "end")):
                if event == "start" and element.tag == "body":
                    body = element
                if event == "start" or element.tag != "tu":
                    continue
                texts = {}
                for variant in element.iter("tuv"):
                    segment = variant.find("seg")
                    if segment is not None:
                        language = variant.get(_LANGUAGE, variant.get("lang", "")).lower()
                        text = " ".join("".join(_words(segment)).split())
                        texts[language] = texts[language.partition("-")[0]] = text
                if source.lower() in texts and target.lower() in texts:
                    empty = False
                    yield texts[source.lower()], texts[target.lower()]
                if body is not None:
                    body.clear()  # of what was read; memories are larger than memory
    except (OSError, EOFError, zlib.error, ElementTree.ParseError) as error:
        raise DistillationError(f"{path} cannot be read as TMX: {error}") from error
    if empty:
        raise DistillationError(f"{path} has no pair of {source} and {target}; name languages that it has")


def read_pairs(
    source: Path, target: Path, encoding: str = "utf-8", target_encoding: str = "utf-8"
) -> Iterator[tuple[str, str]]:
    """Both sides of parallel text, a sentence a line, with one blank between words.

    Args:
        source: one side, maybe gzipped (.gz).
        target: the other side.
        encoding: of the source, as Python names it; one in which no other character contains a line feed's byte.
        target_encoding: of the target.

    Raises:
        DistillationError: a file that cannot be read, a line that is not in its encoding, or numbers of lines that
            differ; file and line are named.
    """
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
            f"both sides must have as many lines, but {shorter} ends after {number - 1} and {longer} does not"
        )


def write_pairs(pairs: Iterable[tuple[str, str]], source: Path, target: Path) -> int:
    """Write both sides of parallel text, a sentence a line; both files or, where something fails, none.

    Args:
        pairs: both sides of each, without line ends.
        source: file of the first sides.
        target: file of the second sides.

    Returns:
        The number of pairs.

    Raises:
        DistillationError: an output cannot be written.
    """
    count = 0
    with (
        writing(source) as own,
        writing(target) as other,
        own.open("w", encoding="utf-8") as left,
        other.open("w", encoding="utf-8") as right,
    ):
        for pair in pairs:
            left.write(pair[0] + "\n")
            right.write(pair[1] + "\n")
            count += 1
    return count


def _words(segment: ElementTree.Element) -> Iterator[str]:
    """The text of a segment without the codes of a format in it."""
    yield segment.text or ""
    for child in segment:
        if child.tag not in ("bpt", "ept", "ph", "it", "ut"):
            yield from _words(child)
        yield child.tail or ""


def _reason(pair: tuple[str, str], settings: CleanSettings, seen: set[bytes]) -> str:
    """Why a pair is left out, as a field of `CleanCounts`; `kept` if it is not."""
    lengths = sorted(len(side.split()) for side in pair)
    if lengths[0] == 0:
        return "empty"
    if settings.max_length and lengths[1] > settings.max_length:
        return "too_long"
    if settings.max_ratio and lengths[1] > settings.max_ratio * lengths[0]:
        return "ratio"
    if settings.deduplicate:
        digest = hashlib.blake2b("\n".join(pair).encode(), digest_size=12).digest()
        if digest in seen:
            return "duplicate"
        seen.add(digest)
    return "kept"


def _lines(path: Path, encoding: str) -> Iterator[str]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    # Only line feeds end a line; other separators within it would misalign the sides later.
                    yield " ".join(line.decode(encoding).removeprefix("\ufeff").split())
                except UnicodeDecodeError as error:
                    raise DistillationError(
                        f"{path}: line {number} is not {encoding.upper()}; name its encoding, or convert the file first"
                    ) from error
                except LookupError as error:
                    raise DistillationError(
                        f"{path}: encoding must be one that Python knows, but is {encoding!r}"
                    ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DistillationError(f"{path} cannot be read: {error}; give the path of a text file") from error

"""Reads translation memories in TMX. Knows nothing about models or subwords."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from weightdistill.errors import DistillationError
from weightdistill.files import decode_blocks, reading
from weightdistill.places import require_separate
from weightdistill.text.corpus import write_pairs
from weightdistill.text.markup import HEAD, encoding_of

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_FORMAT_CODES = ("bpt", "ept", "ph", "it", "ut")


@dataclass
class Counts:
    """What a translation memory gave, and what was left out."""

    pairs: int = 0
    """Units with both languages."""
    one_sided: int = 0
    """Units without both languages, which give no pair."""
    variants: int = 0
    """Further variants of a language in units that give a pair, such as `en-US` beside `en-GB`."""


def read_tmx(path: Path, source: str, target: str, counts: Counts | None = None) -> Iterator[tuple[str, str]]:
    """Read the sentence pairs of a translation memory. Units without both languages are skipped.

    Of several variants of a language, the one whose code is the given one is read, or else the first.

    Args:
        path: The file, which may be gzipped.
        source: Source language as in the file's `xml:lang`, in either case, with or without its region.
        target: Target language, likewise.
        counts: Is increased by what was read and left out.

    Yields:
        Source and target sentence of each unit, with one blank between words.

    Raises:
        DistillationError: The file cannot be read, is not TMX, or has no pair of these languages.
    """
    counts = Counts() if counts is None else counts
    body = None
    with reading(path, "give a .tmx or .tmx.gz file") as file:
        for event, element in _events(file, path):
            if event == "start" and element.tag == "body":
                body = element
            if event == "start" or element.tag != "tu":
                continue
            sides = [_variants(element, language.lower()) for language in (source, target)]
            if all(sides):
                counts.pairs += 1
                counts.variants += sum(len(variants) - 1 for variants in sides)
                yield _sentence(sides[0][0]), _sentence(sides[1][0])
            else:
                counts.one_sided += 1
            if body is not None:
                body.clear()  # a whole translation memory may not fit into main memory
    if not counts.pairs:
        raise DistillationError(f"{path} has no pair of {source} and {target}; name two languages that it has")


def convert_tmx(path: Path, source: str, target: str, output: str | Path) -> Counts:
    """Write a translation memory as parallel text, OUTPUT.SOURCE and OUTPUT.TARGET.

    Args:
        path: See `read_tmx`.
        source: Source language, see `read_tmx`; also the suffix of its file.
        target: Target language, likewise.
        output: Prefix of both files.

    Returns:
        How many pairs were written, and what was left out.

    Raises:
        DistillationError: See `read_tmx`; or an output cannot be written, or would replace the memory or the other.
    """
    paths = Path(f"{output}.{source}"), Path(f"{output}.{target}")
    require_separate({"--source": paths[0], "--target": paths[1]}, {"the translation memory": path})
    counts = Counts()
    write_pairs(read_tmx(path, source, target, counts), *paths)
    return counts


def _events(file: BinaryIO, path: Path) -> Iterator[Any]:
    """Yield the starts and the ends of the elements of an XML file.

    It may be in any encoding; the parser itself knows only few.
    """
    head = file.peek(HEAD)[:HEAD]  # type: ignore[attr-defined]  # every buffered binary file has it
    encoding = encoding_of(head, path) or "utf-8"
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
    try:
        for text in decode_blocks(file, path, encoding, "declare the encoding that the file is in"):
            parser.feed(text)
            yield from parser.read_events()
        parser.close()
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        raise DistillationError(f"{path} cannot be read as TMX: {error}; give a .tmx or .tmx.gz file") from error


def _variants(unit: Any, language: str) -> list[Any]:
    """Return the segments of a unit in a language: those with its very code first, then those of its regions."""
    segments = [
        (variant.get(_LANGUAGE, variant.get("lang", "")).lower(), variant.find("seg"))
        for variant in unit.findall("tuv")
    ]
    exact = [segment for code, segment in segments if code == language and segment is not None]
    regional = [segment for code, segment in segments if code.startswith(f"{language}-") and segment is not None]
    return exact + regional


def _sentence(segment: ElementTree.Element) -> str:
    """Return the text of a segment without the formatting codes inside it, with one blank between words."""
    for code in [element for element in segment.iter() if element.tag in _FORMAT_CODES]:
        after = code.tail
        code.clear()
        code.tail = after
    return " ".join("".join(segment.itertext()).split())

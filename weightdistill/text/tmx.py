"""Reads translation memories in TMX. Knows nothing about models or subwords."""

from collections.abc import Iterator
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


def read_tmx(path: Path, source: str, target: str) -> Iterator[tuple[str, str]]:
    """Read the sentence pairs of a translation memory. Units without both languages are skipped.

    Args:
        path: The file, which may be gzipped.
        source: Source language as in the file's `xml:lang`, in either case, with or without its region.
        target: Target language, likewise.

    Yields:
        Source and target sentence of each unit, with one blank between words.

    Raises:
        DistillationError: The file cannot be read, is not TMX, or has no pair of these languages.
    """
    empty = True
    body = None
    with reading(path, "give a .tmx or .tmx.gz file") as file:
        for event, element in _events(file, path):
            if event == "start" and element.tag == "body":
                body = element
            if event == "start" or element.tag != "tu":
                continue
            sentences = {}
            for variant in element.findall("tuv"):
                segment = variant.find("seg")
                if segment is not None:
                    language = variant.get(_LANGUAGE, variant.get("lang", "")).lower()
                    sentences[language] = sentences[language.partition("-")[0]] = _sentence(segment)
            if source.lower() in sentences and target.lower() in sentences:
                empty = False
                yield sentences[source.lower()], sentences[target.lower()]
            if body is not None:
                body.clear()  # a whole translation memory may not fit into main memory
    if empty:
        raise DistillationError(f"{path} has no pair of {source} and {target}; name two languages that it has")


def convert_tmx(path: Path, source: str, target: str, output: str | Path) -> int:
    """Write a translation memory as parallel text, OUTPUT.SOURCE and OUTPUT.TARGET.

    Args:
        path: See `read_tmx`.
        source: Source language, see `read_tmx`; also the suffix of its file.
        target: Target language, likewise.
        output: Prefix of both files.

    Returns:
        The number of pairs.

    Raises:
        DistillationError: See `read_tmx`; or an output cannot be written, or would replace the memory or the other.
    """
    paths = Path(f"{output}.{source}"), Path(f"{output}.{target}")
    require_separate({"--source": paths[0], "--target": paths[1]}, {"the translation memory": path})
    return write_pairs(read_tmx(path, source, target), *paths)


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


def _sentence(segment: ElementTree.Element) -> str:
    """Return the text of a segment without the formatting codes inside it, with one blank between words."""
    for code in [element for element in segment.iter() if element.tag in _FORMAT_CODES]:
        after = code.tail
        code.clear()
        code.tail = after
    return " ".join("".join(segment.itertext()).split())

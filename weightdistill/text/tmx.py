"""Reads translation memories in TMX. Knows nothing about models or subwords."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from weightdistill.errors import DistillationError
from weightdistill.files import require_separate
from weightdistill.text.corpus import write_pairs

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_FORMAT_CODES = ("bpt", "ept", "ph", "it", "ut")


def read_tmx(path: Path, source: str, target: str) -> Iterator[tuple[str, str]]:
    """Read the sentence pairs of a translation memory. Units without both languages are skipped.

    Args:
        path: The file, gzipped if it ends in .gz.
        source: Source language as in the file's `xml:lang`, in either case, with or without its region.
        target: Target language, likewise.

    Yields:
        Source and target sentence of each unit, with one blank between words.

    Raises:
        DistillationError: The file cannot be read, is not TMX, or has no pair of these languages.
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
                sentences = {}
                for variant in element.iter("tuv"):
                    segment = variant.find("seg")
                    if segment is not None:
                        language = variant.get(_LANGUAGE, variant.get("lang", "")).lower()
                        sentence = " ".join("".join(_text(segment)).split())
                        sentences[language] = sentences[language.partition("-")[0]] = sentence
                if source.lower() in sentences and target.lower() in sentences:
                    empty = False
                    yield sentences[source.lower()], sentences[target.lower()]
                if body is not None:
                    body.clear()  # a whole translation memory may not fit into main memory
    except (OSError, EOFError, zlib.error, ElementTree.ParseError) as error:
        raise DistillationError(f"{path} cannot be read as TMX: {error}; give a .tmx or .tmx.gz file") from error
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


def _text(segment: ElementTree.Element) -> Iterator[str]:
    """Yield the text of a segment without the formatting codes inside it."""
    yield segment.text or ""
    for child in segment:
        if child.tag not in _FORMAT_CODES:
            yield from _text(child)
        yield child.tail or ""

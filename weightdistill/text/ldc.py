"""Parallel text as the LDC distributes it: one sentence per line, or SGML documents whose segments are aligned.

The alignment is a file of its own (as in LDC2005T10: `<ALIGNMENT docid=...>`, `<SentPair EnglishSegId= "1,2"
ChineseSegId= "1">`), or segments with equal ids belong together. Automatic alignments refer to segments that do not
exist; such links are counted and skipped. Knows ids and text; neither words nor encodings.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightdistill.errors import DistillationError
from weightdistill.files import decode_lines
from weightdistill.places import require_separate
from weightdistill.text.corpus import read_pairs, write_pairs
from weightdistill.text.markup import decode, read_bytes, tags, without_comments
from weightdistill.text.sgm import Documents, read

LANGUAGES = {"ar": "arabic", "en": "english", "zh": "chinese"}
"""Names of the languages in the attributes of an alignment."""
_WITHOUT_BLANKS = ("ja", "zh")
_SGML_SUFFIXES = {".sgm", ".sgml", ".SGM", ".SGML"}
_LINK = re.compile("segid", re.IGNORECASE)
"""In the names of all attributes of a link."""
_MARKUP = re.compile(r"<(!doctype|\?xml|/?(doc|seg|s|p|hl|body|text)\b[^<>]*>)", re.IGNORECASE)


@dataclass(frozen=True)
class CorpusFiles:
    """One part of a corpus.

    Attributes:
        source: File in the source language.
        target: File in the target language.
        alignment: File with the alignment; None if segments with equal ids belong together.
    """

    source: Path
    target: Path
    alignment: Path | None = None


@dataclass(frozen=True)
class Link:
    """Segments of one document that translate each other. A side is empty if the other was not translated."""

    document: str
    source: Sequence[str]
    target: Sequence[str]


@dataclass
class AlignedText:
    """The sentence pairs of two files, and the number of links that gave none.

    Attributes:
        pairs: Source and target text of each link.
        one_sided: Number of links with an empty side.
        missing: Number of links to a document or segment that does not exist.
    """

    pairs: list[tuple[str, str]]
    one_sided: int = 0
    missing: int = 0


def read_table(lines: Iterable[bytes], name: str) -> list[CorpusFiles]:
    """Read the table of a corpus: one line per part, with its two or three file names separated by tabs.

    Args:
        lines: The lines of the table, as a binary file gives them.
        name: Name of the table, for error messages.

    Raises:
        DistillationError: A line is not UTF-8 or does not name two or three files, or there is none; the message names
            the line.
    """
    parts = []
    for number, line in enumerate(decode_lines(lines, name), start=1):
        names = line.rstrip("\t").split("\t")
        if len(names) not in (2, 3) or not all(names):
            raise DistillationError(
                f"{name}: line {number} must name a source file, a target file and optionally an alignment file, "
                f"separated by tabs, but is {names}; fix the line"
            )
        parts.append(CorpusFiles(*map(Path, names)))
    if not parts:
        raise DistillationError(
            f"{name}: line 1 must name a source file and a target file, but the table is empty; list the corpus's files"
        )
    return parts


def convert_corpus(
    parts: Sequence[CorpusFiles],
    source: str,
    target: str,
    output: str | Path,
    *,
    encoding: str | None = None,
    target_encoding: str = "utf-8",
    report: Callable[[CorpusFiles, AlignedText], object] = lambda part, text: None,
) -> int:
    """Write a corpus as parallel text, OUTPUT.SOURCE and OUTPUT.TARGET.

    Args:
        parts: The files of the corpus.
        source: Code of the source language, and suffix of its file.
        target: Code of the target language, and suffix of its file.
        output: Prefix of both files.
        encoding: Encoding of the source files, see `read_aligned`.
        target_encoding: Encoding of the target files.
        report: Called with each part and its text.

    Returns:
        The number of pairs.

    Raises:
        DistillationError: See `read_aligned`; or an output cannot be written, or would replace an input or the other.
    """
    paths = Path(f"{output}.{source}"), Path(f"{output}.{target}")
    read = [path for part in parts for path in (part.source, part.target, part.alignment) if path is not None]
    require_separate({"--source": paths[0], "--target": paths[1]}, {"a part of the corpus": read})

    def pairs() -> Iterator[tuple[str, str]]:
        for part in parts:
            text = read_aligned(part.source, part.target, source, target, part.alignment, encoding, target_encoding)
            yield from text.pairs
            report(part, text)

    return write_pairs(pairs(), *paths)


def read_aligned(
    source_file: Path,
    target_file: Path,
    source: str,
    target: str,
    alignment: Path | None = None,
    encoding: str | None = None,
    target_encoding: str = "utf-8",
) -> AlignedText:
    """Read the sentence pairs of two files.

    Args:
        source_file: SGML documents in the source language. Without an alignment, a file that does not end in .sgm or
            .sgml has one sentence per line. Every file may be gzipped.
        target_file: The same in the target language.
        source: Code of the source language. Segments of one link are joined as the language joins words.
        target: Code of the target language.
        alignment: File with the alignment; default: segments with equal ids belong together.
        encoding: Encoding of the source file and the alignment. Default: the one that they declare, else UTF-8, else,
            for SGML, GB 18030.
        target_encoding: Encoding of the target file.

    Raises:
        DistillationError: A file cannot be read or decoded, or holds no documents; the files differ in their number of
            lines; a language is unknown; or no link names existing segments.
    """
    if alignment is None and not {*source_file.suffixes, *target_file.suffixes} & _SGML_SUFFIXES:
        return AlignedText(_sentences(source_file, target_file, encoding or "utf-8", target_encoding))
    source_documents, target_documents = _documents(source_file, encoding), _documents(target_file, target_encoding)
    if alignment is None:
        links = _links_of_equal_ids(source_documents, target_documents)
    else:
        links = read_links(alignment, source, target, encoding)
    text = AlignedText([])
    for link in links:
        if not link.source or not link.target:
            text.one_sided += 1
            continue
        try:
            source_text = _join(source_documents[link.document], link.source, source)
            target_text = _join(target_documents[link.document], link.target, target)
        except KeyError:
            text.missing += 1
        else:
            text.pairs.append((source_text, target_text))
    if not text.pairs and not (text.one_sided and not text.missing):
        raise DistillationError(
            f"{source_file} and {target_file} have no segments that belong together; name two files of one corpus, and "
            "their alignment if equal ids do not align them"
        )
    return text


def read_links(path: Path, source: str, target: str, encoding: str | None = None) -> Iterator[Link]:
    """Read the links of an alignment file, in its order.

    Args:
        path: The file.
        source: Code of the source language, one of `LANGUAGES`.
        target: Code of the target language, likewise.
        encoding: See `read_aligned`.

    Raises:
        DistillationError: The file cannot be read or is cut, a language is unknown, or a link lacks a language or a
            document.
    """
    for language in (source, target):
        if language not in LANGUAGES:
            raise DistillationError(f"language must be one of {', '.join(LANGUAGES)}, but is {language!r}")
    text, document, position, end = decode(read_bytes(path), path, encoding)[0], "", 0, 0

    def error(position: int, problem: str) -> DistillationError:
        return DistillationError(f"{path}: line {text.count(chr(10), 0, position) + 1}: {problem}; fix the file")

    for position, after, closing, tag, attributes in tags(text):
        if damaged := _LINK.search(text, end, position):
            raise error(damaged.start(), "a link is damaged")
        end = after
        if tag == "alignment":
            document = "" if closing else attributes.get("docid", "")
        elif tag == "sentpair" and not closing:
            sides = [attributes.get(f"{LANGUAGES[language]}segid") for language in (source, target)]
            if not document or None in sides:
                raise error(position, "a link must be in an alignment with a docid and name segments of both languages")
            yield Link(document, *map(_segment_ids, sides))
        elif _LINK.search(text, position, end):
            raise error(position, "a link must be a SentPair")
    if document:
        raise error(position, f"the alignment of document {document!r} has no end tag, so the file is cut")
    if "<" in without_comments(text[end:]):
        raise error(end, "a tag has no end, so the file is cut")


def _sentences(source_file: Path, target_file: Path, encoding: str, target_encoding: str) -> list[tuple[str, str]]:
    pairs = list(read_pairs(source_file, target_file, encoding, target_encoding))
    for number, pair in enumerate(pairs, start=1):
        for path, line in zip((source_file, target_file), pair, strict=True):
            if _MARKUP.match(line):
                raise DistillationError(
                    f"{path}: line {number} must be a sentence, but begins with markup ({line[:20]!r}); rename SGML "
                    "files to .sgm, or remove the tags"
                )
    return pairs


def _documents(path: Path, encoding: str | None) -> Documents:
    sets = read(path, encoding)
    if len(sets) != 1:
        raise DistillationError(
            f"{path} must hold the documents of one language, but has {', '.join(map(str, sets))}; split the file"
        )
    return sets[0].documents


def _segment_ids(listed: str | None) -> list[str]:
    return [segment.strip() for segment in (listed or "").split(",") if segment.strip()]


def _links_of_equal_ids(source: Documents, target: Documents) -> Iterator[Link]:
    """Link all segments of the source in their order, then those that only the target has."""
    for document, segments in source.items():
        for segment in segments:
            yield Link(document, [segment], [segment])
    for document, segments in target.items():
        for segment in segments:
            if segment not in source.get(document, {}):
                yield Link(document, [segment], [segment])


def _join(segments: dict[str, str], ids: Sequence[str], language: str) -> str:
    return ("" if language in _WITHOUT_BLANKS else " ").join(segments[segment] for segment in ids)

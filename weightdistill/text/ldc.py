"""Parallel text as the LDC ships it: a sentence a line, or SGML documents and which of their segments belong together.

That is said by a file of alignments (as in LDC2005T10: `<ALIGNMENT docid=...>`, `<SentPair EnglishSegId= "1,2"
ChineseSegId= "1">`), or by equal ids. Automatic alignments miss here and there: what they miss is counted, and is no
error. Knows ids and text; neither words nor encodings.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightdistill.errors import DistillationError
from weightdistill.text.corpus import read_pairs
from weightdistill.text.sgm import Documents, decode, read, tags

LANGUAGES = {"ar": "arabic", "en": "english", "zh": "chinese"}
"""How the attributes of alignments name the languages."""
_WITHOUT_BLANKS = ("ja", "zh")
_MARKUP = re.compile(r"<(!doctype|\?xml|/?(doc|seg|s|p|hl|body|text)\b[^<>]*>)", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """Segments of one document that are each other's translation; a side without any was not translated."""

    document: str
    source: Sequence[str]
    target: Sequence[str]


@dataclass
class Aligned:
    """Parallel text, and what is not in it.

    Attributes:
        pairs: both sides of each.
        one_sided: how many links have an empty side.
        missing: how many links name a document or segment that is not there.
    """

    pairs: list[tuple[str, str]]
    one_sided: int = 0
    missing: int = 0


def read_aligned(
    source_file: Path,
    target_file: Path,
    source: str,
    target: str,
    alignment: Path | None = None,
    encoding: str | None = None,
    target_encoding: str = "utf-8",
) -> Aligned:
    """Read one pair of files.

    Args:
        source_file: documents in the source language; without alignments, and with another ending than .sgm or .sgml,
            a sentence a line, maybe gzipped (.gz).
        target_file: the same in the target language.
        source: code of the source language; the segments of a link are joined as it joins words.
        target: code of the target language.
        alignment: which segments belong together; default: those of equal ids.
        encoding: of the source file and the alignments; default: what they declare, else UTF-8, else, for SGML,
            GB 18030.
        target_encoding: of the target file.

    Raises:
        DistillationError: a file cannot be read or decoded, or holds no documents; numbers of lines that differ; a
            language whose name is not known; links, none of which names segments that are there.
    """
    if alignment is None and not {*source_file.suffixes, *target_file.suffixes} & {".sgm", ".sgml", ".SGM", ".SGML"}:
        pairs = list(read_pairs(source_file, target_file, encoding or "utf-8", target_encoding))
        for number, pair in enumerate(pairs, start=1):
            for path, line in zip((source_file, target_file), pair, strict=True):
                if _MARKUP.match(line):
                    raise DistillationError(
                        f"{path}: line {number} begins with markup ({line[:20]!r}); SGML must be named so, .sgm, and "
                        "sentences a line have no tags"
                    )
        return Aligned(pairs)
    own, other = _documents(source_file, encoding), _documents(target_file, target_encoding)
    links = read_links(alignment, source, target, encoding) if alignment else _equal_ids(own, other)
    found = Aligned([])
    for link in links:
        if not link.source or not link.target:
            found.one_sided += 1
            continue
        try:
            found.pairs.append(
                (_joined(own[link.document], link.source, source), _joined(other[link.document], link.target, target))
            )
        except KeyError:
            found.missing += 1
    if found.missing and not found.pairs:
        raise DistillationError(
            f"{source_file} and {target_file} have no segments that belong together; name two files of one corpus, and "
            "their alignments if equal ids do not align them"
        )
    return found


def read_links(path: Path, source: str, target: str, encoding: str | None = None) -> Iterator[Link]:
    """The links of a file of alignments, in its order.

    Args:
        path: the file.
        source: code of the source language, one of `LANGUAGES`.
        target: code of the target language, too.
        encoding: see `read_aligned`.

    Raises:
        DistillationError: the file cannot be read; a language is not known; a link lacks a language, or is in no
            document.
    """
    for language in (source, target):
        if language not in LANGUAGES:
            raise DistillationError(f"language must be one of {', '.join(LANGUAGES)}, but is {language!r}")
    text, document = decode(path, encoding), ""
    for position, _, closing, tag, attributes in tags(text):
        if tag == "alignment":
            document = "" if closing else attributes.get("docid", "")
        elif tag == "sentpair" and not closing:
            sides = [attributes.get(f"{LANGUAGES[language]}segid") for language in (source, target)]
            if not document or None in sides:
                line = text.count("\n", 0, position) + 1
                raise DistillationError(
                    f"{path}: line {line}: a link must be in an alignment with a docid and name segments of both "
                    "languages; mend the file"
                )
            yield Link(document, *map(_names, sides))


def _documents(path: Path, encoding: str | None) -> Documents:
    sets = read(path, encoding)
    if len(sets) != 1:
        raise DistillationError(f"{path} must hold the documents of one language, but has {', '.join(map(str, sets))}")
    return sets[0].documents


def _names(listed: str | None) -> list[str]:
    return [name.strip() for name in (listed or "").split(",") if name.strip()]


def _equal_ids(own: Documents, other: Documents) -> Iterator[Link]:
    names = [(document, name) for document in own for name in own[document]]
    names += [(document, name) for document in other for name in other[document] if name not in own.get(document, {})]
    for document, name in names:
        yield Link(document, [name], [name])


def _joined(segments: dict[str, str], names: Sequence[str], language: str) -> str:
    return ("" if language in _WITHOUT_BLANKS else " ").join(segments[name] for name in names)

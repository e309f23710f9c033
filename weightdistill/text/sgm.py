"""Test sets as NIST, LDC and WMT distribute them: read as aligned segments; translations are written as a `tstset`.

Reads the SGML of NIST's evaluations (`srcset`, `refset`, `tstset`; tags in either case, attributes with or without
quotes, `hl` and `p` around segments), the same inside `mteval`, the XML of WMT since 2021 (`dataset`), and documents
outside any set, as the LDC has them (`weightdistill.text.ldc`). Knows neither tokens nor scores.
"""

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weightdistill.errors import DistillationError
from weightdistill.files import writing
from weightdistill.text.markup import ENCODINGS, decode, read_bytes, tags, unescape, without_comments

_CHINESE = ("chi", "cmn", "mandarin", "zh")
"""Beginnings of the names and codes of the language."""

_KINDS = {"srcset": "source", "refset": "reference", "tstset": "translation"}
_WMT_KINDS = {"src": "source", "ref": "reference", "hyp": "translation"}
_LEVELS = {"mteval": 0, "dataset": 1, **dict.fromkeys(_KINDS, 1), "doc": 2}
"""Elements whose end tags are required, and how deep they lie. The LDC leaves out those of others."""
_SEGMENT_TAG = re.compile(r"</?seg(?![\w.-])", re.IGNORECASE)
Documents = dict[str, dict[str, str]]
"""Text of each segment, by document and segment id, both in the order of the file."""


@dataclass
class TextSet:
    """The source of a test set, one reference, or one system's translation; or documents outside any set.

    Attributes:
        kind: `source`, `reference`, `translation` or `text`.
        system: The author (NIST's sysid, WMT's translator or system); empty for a source without one.
        set_id: Name of the test set.
        source_language: As in the file; may be empty.
        target_language: Likewise.
        documents: Text of each segment, by document and segment id.
    """

    kind: str
    system: str
    set_id: str = ""
    source_language: str = ""
    target_language: str = ""
    documents: Documents = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the segments of all documents."""
        return sum(map(len, self.documents.values()))

    @property
    def language(self) -> str:
        """Language of the text, as in the file; empty for documents outside any set."""
        return self.target_language if self.kind in ("reference", "translation") else self.source_language

    def lines(self, order: "TextSet | None" = None) -> list[str]:
        """Return the segments as lines, in the order of another set's documents and segments.

        Args:
            order: The other set, usually the source; default: this set.

        Raises:
            DistillationError: One of the two sets lacks a document or a segment, which is named.
        """
        if order is None:
            return [text for segments in self.documents.values() for text in segments.values()]
        _require_same(order.documents, self.documents, "document", order, self)
        for name, segments in order.documents.items():
            _require_same(segments, self.documents[name], f"document {name!r}, segment", order, self)
        return [self.documents[name][number] for name, segments in order.documents.items() for number in segments]

    def require_text(self) -> None:
        """Check that no segment is empty.

        Raises:
            DistillationError: A segment is empty; it and its document are named.
        """
        for name, segments in self.documents.items():
            for number, text in segments.items():
                if not text:
                    raise DistillationError(
                        f"document {name!r}, segment {number!r} of the {self} is empty; fix it in its file, since no "
                        "segment of a test set may be left out"
                    )

    def __str__(self) -> str:
        """Name the set in messages."""
        return f"{self.kind} {self.system!r}" if self.system else self.kind


def read(path: str | Path, encoding: str | None = None, reference_encoding: str | None = None) -> list[TextSet]:
    """Read a file of NIST, WMT or LDC.

    Args:
        path: The file.
        encoding: Encoding by its name in Python. Default: the one in the XML declaration, else UTF-8, else GB 18030,
            unless all sets of the file declare other languages than Chinese.
        reference_encoding: Encoding of a file that holds only references; default: `encoding`.

    Returns:
        The sets in the order of the file: a source, each reference or each system.

    Raises:
        DistillationError: The file cannot be read or decoded, holds no set, or ends within one; or a segment occurs
            twice, is outside a document, or has no id or end tag. The message names the line.
    """
    path = Path(path)
    data = read_bytes(path)
    if reference_encoding:
        anyhow = decode(data, path, "latin-1")[0]  # which decodes any bytes
        kinds = {text_set.kind for text_set in _Reader(path, anyhow).sets()}
        encoding = reference_encoding if kinds == {"reference"} else encoding
    text, foreign_line = decode(data, path, encoding)
    sets = _Reader(path, text).sets()
    # GB 18030 decodes almost any bytes: it turns parts of English text in Latin-1 into Chinese.
    languages = [text_set.language.lower() for text_set in sets]
    if foreign_line and not any(not language or language.startswith(_CHINESE) for language in languages):
        raise DistillationError(
            f"{path}: line {foreign_line} is not {ENCODINGS[0]}, and no set is Chinese; name the file's encoding, or "
            "fix the line"
        )
    return sets


def write_translation(
    path: str | Path, translations: Sequence[str], source: TextSet, system: str, language: str
) -> None:
    """Write a system's output as a `tstset` for mteval.

    Args:
        path: File to write.
        translations: One line for each segment of the source, in its order.
        source: The set that was translated.
        system: Name of the system.
        language: Target language.

    Raises:
        DistillationError: The number of translations differs from that of the segments, or the file cannot be written.
    """
    if len(translations) != len(source):
        raise DistillationError(
            f"there must be a translation for each of the {len(source)} segments, but there are {len(translations)}; "
            "translate the whole set again"
        )
    remaining = iter(translations)
    head = {"setid": source.set_id, "srclang": source.source_language, "trglang": language}
    lines = [f"<tstset{_attributes(head)}>"]
    for document, segments in source.documents.items():
        lines.append(f"<DOC{_attributes({'docid': document, 'sysid': system})}>")
        lines += [
            f'<seg id="{html.escape(number)}">{html.escape(next(remaining), quote=False)}</seg>' for number in segments
        ]
        lines.append("</DOC>")
    lines.append("</tstset>")
    with writing(Path(path)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _attributes(values: Mapping[str, str]) -> str:
    return "".join(f' {name}="{html.escape(value)}"' for name, value in values.items())


def _require_same(
    expected: Mapping[str, object], actual: Mapping[str, object], what: str, order: TextSet, text_set: TextSet
) -> None:
    remedy = "give files of one test set"
    for name in expected:
        if name not in actual:
            raise DistillationError(f"{what} {name!r} is in the {order}, but not in the {text_set}; {remedy}")
    for name in actual:
        if name not in expected:
            raise DistillationError(f"{what} {name!r} is in the {text_set}, but not in the {order}; {remedy}")


class _Reader:
    """Walks through the tags of one file, once."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text
        self._sets: list[TextSet] = []
        self._of_system: dict[tuple[str, str], list[TextSet]] = {}  # by kind and system
        self._occurrences: Counter[tuple[str, str, str]] = Counter()  # of a document, by kind, system and its id
        self._open: list[tuple[str, int]] = []  # elements of _LEVELS that have not ended, and their starts
        self._enclosing: TextSet | None = None  # holds the attributes of the open set
        self._blocks: dict[tuple[str, str], int] = {}  # number of the enclosing set in which a system's last set began
        self._block = 0
        self._document = ""
        self._name_begin: int | None = None  # start of the document's name, if an element holds it
        self._current: TextSet | None = None  # the set that the following segments belong to
        self._segment: tuple[dict[str, str], str, int] | None = None  # its document, its id, and the start of its text

    def sets(self) -> list[TextSet]:
        end = 0
        for position, end, closing, tag, attributes in tags(self._text):
            if self._segment is not None:
                segments, number, begin = self._segment
                if tag == "seg" and closing:
                    self._require_no_other(begin, position, number)
                    segments[number] = " ".join(unescape(without_comments(self._text[begin:position])).split())
                    self._segment = None
                elif tag in ("seg", *_LEVELS):
                    raise self._error(begin, f"segment {number!r} has no end tag")
                # Anything else in angle brackets is text of the segment, e.g. <unk>.
                continue
            if tag in _LEVELS:
                self._nest(tag, position, closing)
            if tag in (*_KINDS, "dataset"):
                self._open_set(tag, attributes, closing)
            elif tag == "doc":
                self._open_document(position, attributes, closing)
            elif tag in ("docid", "docno"):
                self._name_document(position, end, closing)
            elif tag in _WMT_KINDS and not closing and self._enclosing is not None:
                if self._enclosing.kind == "dataset":
                    self._open_side(tag, attributes, self._enclosing)
            elif tag == "seg":
                self._open_segment(position, end, attributes, closing)
        self._require_end(end)
        sets = [text_set for text_set in self._sets if text_set.documents]
        if not sets:
            raise DistillationError(
                f"{self._path} holds no segments in a srcset, refset, tstset, dataset or document; give a file of "
                "NIST, LDC or WMT"
            )
        return sets

    def _require_no_other(self, begin: int, end: int, number: str) -> None:
        """Check that a segment holds no part of another: what hides its tag is a comment or a tag without its end."""
        if tag := _SEGMENT_TAG.search(self._text, begin, end):
            raise self._error(tag.start(), f"segment {number!r} holds {tag[0]!r} in a comment or a tag without an end")

    def _nest(self, tag: str, position: int, closing: bool) -> None:
        """Check that elements begin and end within each other: a cut or damaged file would lose segments."""
        level = _LEVELS[tag]
        if closing and (not self._open or _LEVELS[self._open[-1][0]] < level):
            raise self._error(position, f"</{tag}> ends what has not begun")
        if self._open and _LEVELS[self._open[-1][0]] >= level + closing:
            name, begin = self._open[-1]
            raise self._error(begin, f"<{name}> has no end tag")
        if closing:
            self._open.pop()
        else:
            self._open.append((tag, position))

    def _require_end(self, end: int) -> None:
        """Check that the file is not cut.

        Args:
            end: End of its last tag.
        """
        if self._segment is not None:
            _, number, begin = self._segment
            raise self._error(begin, f"segment {number!r} has no end tag")
        if self._open:
            name, begin = self._open[-1]
            raise self._error(begin, f"<{name}> has no end tag, so the file is cut")
        if (cut := self._text.find("<", end)) >= 0 and without_comments(self._text[cut:]).strip():
            raise self._error(cut, "a tag has no end, so the file is cut")

    def _open_set(self, tag: str, attributes: Mapping[str, str], closing: bool) -> None:
        self._block += 1
        self._enclosing = None
        if not closing:
            self._enclosing = TextSet(
                _KINDS.get(tag, tag),
                attributes.get("sysid") or attributes.get("refid", ""),
                attributes.get("setid") or attributes.get("id", ""),
                attributes.get("srclang", ""),
                attributes.get("trglang", ""),
            )

    def _open_document(self, position: int, attributes: Mapping[str, str], closing: bool) -> None:
        self._current = None
        if closing:
            return
        self._document = attributes.get("docid") or attributes.get("id", "")
        if self._enclosing is None:
            self._name_begin = None
            if self._document:
                self._select("text", "", TextSet("text", ""), position)
            # Otherwise its name follows in an element.
            return
        if not self._document:
            raise self._error(position, "a document must have a docid")
        if self._enclosing.kind != "dataset":
            system = attributes.get("sysid") or self._enclosing.system
            self._select(self._enclosing.kind, system, self._enclosing, position)

    def _name_document(self, position: int, end: int, closing: bool) -> None:
        if self._enclosing is None and self._current is None:
            if not closing:
                self._name_begin = end
            elif self._name_begin is not None:
                self._document = unescape(self._text[self._name_begin : position]).strip()
                self._select("text", "", TextSet("text", ""), position)

    def _open_side(self, tag: str, attributes: Mapping[str, str], enclosing: TextSet) -> None:
        language = attributes.get("lang") or attributes.get("language", "")
        system = attributes.get("translator") or attributes.get("system", "")
        languages = (language, "") if tag == "src" else ("", language)
        self._select(_WMT_KINDS[tag], system, TextSet(enclosing.kind, "", enclosing.set_id, *languages), None)

    def _select(self, kind: str, system: str, enclosing: TextSet, position: int | None) -> None:
        """Choose the set of the following segments. A later set with the same sysid may be another reference."""
        key = kind, "" if kind == "source" else system
        sets = self._of_system.setdefault(key, [])
        # Each further set has the documents of which the earlier sets have all that occurred.
        document = *key, self._document
        number = 0 if position is None else self._occurrences[document]
        if number == len(sets):
            if position is not None and sets and self._blocks[key] == self._block:
                raise self._error(position, f"the {sets[-1]} has document {self._document!r} twice")
            name = key[1] if number == 0 else f"{key[1]}#{number + 1}"
            languages = enclosing.source_language, enclosing.target_language
            sets.append(TextSet(kind, name, enclosing.set_id, *languages))
            self._sets.append(sets[-1])
            self._blocks[key] = self._block
        self._current = sets[number]
        self._occurrences[document] += 1
        self._current.documents.setdefault(self._document, {})

    def _open_segment(self, position: int, end: int, attributes: Mapping[str, str], closing: bool) -> None:
        if closing:
            raise self._error(position, "</seg> ends what has not begun")
        if self._current is None:
            raise self._error(position, "a segment is in no document")
        if not (number := attributes.get("id", "")):
            raise self._error(position, "a segment must have an id")
        segments = self._current.documents[self._document]
        if number in segments:
            raise self._error(position, f"document {self._document!r} has segment {number!r} twice")
        self._segment = segments, number, end

    def _error(self, position: int, problem: str) -> DistillationError:
        line = self._text.count("\n", 0, position) + 1
        return DistillationError(f"{self._path}: line {line}: {problem}; fix the file")

"""Test sets as NIST, LDC and WMT ship them: read as aligned segments, and translations written as a `tstset`.

SGML of NIST's evaluations (`srcset`, `refset`, `tstset`; tags in either case, attributes with or without quotes, `hl`
and `p` around segments), the same inside `mteval`, the XML of WMT since 2021 (`dataset`), and documents in no set, as
the LDC has them (`weightdistill.text.ldc`). Knows no tokens and no scores.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weightdistill.errors import DistillationError
from weightdistill.files import writing

ENCODINGS = ("utf-8", "gb18030")
"""Tried in this order where a file declares none, the latter for Chinese; GB 18030 contains GBK and GB 2312."""
_CHINESE = ("chi", "cmn", "mandarin", "zh")
"""How the names and codes of the language begin."""

_SUPERSETS = {"utf-8": "utf-8-sig", "gb2312": "gb18030", "gbk": "gb18030"}
_DECLARATION = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")
_MARKUP = re.compile(r"<!--.*?-->|<[?!][^>]*>|<(/?)([A-Za-z][\w.-]*)((?:\s[^<>]*?)?)(/?)>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ATTRIBUTE = re.compile(r"""([\w:-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""")
# With its semicolon only: "AT&T" and "R&D" are text.
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z]\w*);")
_KINDS = {"srcset": "source", "refset": "reference", "tstset": "translation"}
_WMT_KINDS = {"src": "source", "ref": "reference", "hyp": "translation"}
Documents = dict[str, dict[str, str]]
"""Text by document and segment, both in the file's order."""


@dataclass
class TextSet:
    """The source of a test set, one reference or one system's translation of it; or documents that are in no set.

    Attributes:
        kind: `source`, `reference`, `translation` or `text`.
        system: who wrote it (NIST's sysid, WMT's translator or system); empty for a source without one.
        set_id: name of the test set.
        source_language: as the file has it, maybe empty.
        target_language: the same.
        documents: text by document and segment.
    """

    kind: str
    system: str
    set_id: str = ""
    source_language: str = ""
    target_language: str = ""
    documents: Documents = field(default_factory=dict)

    def __len__(self) -> int:
        """Segments in all documents."""
        return sum(map(len, self.documents.values()))

    @property
    def language(self) -> str:
        """Of the text, as the file has it; of documents that are in no set nothing is known."""
        return self.target_language if self.kind in ("reference", "translation") else self.source_language

    def lines(self, order: "TextSet | None" = None) -> list[str]:
        """The segments as lines, in the order of another set's documents and segments.

        Args:
            order: usually the source; default: the set's own order.

        Raises:
            DistillationError: a document or segment that one of both lacks, which is named.
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
            DistillationError: one is; it and its document are named.
        """
        for name, segments in self.documents.items():
            for number, text in segments.items():
                if not text:
                    raise DistillationError(
                        f"document {name!r}, segment {number!r} of the {self} is empty; mend it in its file, since a "
                        "test set loses nothing"
                    )

    def __str__(self) -> str:
        """What the set is, for messages."""
        return f"{self.kind} {self.system!r}" if self.system else self.kind


def read(path: str | Path, encoding: str | None = None, reference_encoding: str | None = None) -> list[TextSet]:
    """Read a file of NIST, WMT or LDC.

    Args:
        path: the file.
        encoding: Python's name of its encoding; default: what its XML declaration says, else UTF-8, else, unless all
            of its sets say that they are in other languages than Chinese, GB 18030.
        reference_encoding: that of a file that holds references alone; default: `encoding`.

    Returns:
        Its sets in the file's order: a source, each reference or each system.

    Raises:
        DistillationError: the file cannot be read or decoded, or holds no set; a segment is there twice, outside a
            document, or without id or end tag; the line is named.
    """
    path = Path(path)
    if reference_encoding:
        kinds = {own.kind for own in _Reader(path, decode(path, "latin-1")).sets()}  # which reads any bytes
        encoding = reference_encoding if kinds == {"reference"} else encoding
    text, foreign = _decode(path, encoding)
    sets = _Reader(path, text).sets()
    # Almost any bytes are something in GB 18030: of English in Latin-1 it makes Chinese here and there.
    if foreign and not any(not own.language or own.language.lower().startswith(_CHINESE) for own in sets):
        raise DistillationError(
            f"{path}: line {foreign} is not {ENCODINGS[0]}, and no set is Chinese; name the file's encoding, or mend it"
        )
    return sets


def write_translation(
    path: str | Path, translations: Sequence[str], source: TextSet, system: str, language: str
) -> None:
    """Write a system's output as a `tstset`, as mteval reads it.

    Args:
        path: file to write.
        translations: a line for each segment of the source, in its order.
        source: the set that was translated.
        system: name of the system.
        language: target language.

    Raises:
        DistillationError: another number of translations than of segments; an output that cannot be written.
    """
    if len(translations) != len(source):
        raise DistillationError(
            f"there must be a translation for each of the {len(source)} segments, but there are {len(translations)}"
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


def decode(path: Path, encoding: str | None) -> str:
    """The text of a file in its own encoding, see `read`.

    Raises:
        DistillationError: the file cannot be read or decoded; the line is named.
    """
    return _decode(path, encoding)[0]


def _decode(path: Path, encoding: str | None) -> tuple[str, int]:
    """The text, and its first line that is not in the first encoding that was tried; 0 if there is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DistillationError(
            f"{path} cannot be read: {error.strerror}; give the path of an SGML or XML file"
        ) from error
    declared = _DECLARATION.match(data)
    names = (encoding,) if encoding else (declared[1].decode("ascii"),) if declared else ENCODINGS
    line = 0
    for name in names:
        try:
            return data.decode(_SUPERSETS.get(name.lower(), name)), line
        except UnicodeDecodeError as error:
            line = line or data[: error.start].count(b"\n") + 1
        except LookupError as error:
            raise DistillationError(f"{path}: encoding must be one that Python knows, but is {name!r}") from error
    raise DistillationError(f"{path}: line {line} is not {' nor '.join(names)}; name the file's encoding, or mend it")


def tags(text: str) -> Iterator[tuple[int, int, bool, str, dict[str, str]]]:
    """The tags of SGML or XML: where each begins and ends, whether it closes, its name (lower case), its attributes."""
    for match in _MARKUP.finditer(text):
        if match[2]:
            values = {name.lower(): value.strip("\"'").strip() for name, value in _ATTRIBUTE.findall(match[3])}
            yield (
                match.start(),
                match.end(),
                bool(match[1]),
                match[2].lower(),
                {name: _text(value) for name, value in values.items()},
            )
            if match[4]:
                yield match.end(), match.end(), True, match[2].lower(), {}


def _require_same(
    wanted: Mapping[str, object], found: Mapping[str, object], what: str, order: TextSet, other: TextSet
) -> None:
    for name in wanted:
        if name not in found:
            raise DistillationError(f"{what} {name!r} is in the {order}, but not in the {other}")
    for name in found:
        if name not in wanted:
            raise DistillationError(f"{what} {name!r} is in the {other}, but not in the {order}")


class _Reader:
    """Walks through the tags of one file, once."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text
        self._found: dict[tuple[str, str], TextSet] = {}
        self._set: TextSet | None = None  # the attributes of the set that is open
        self._blocks: dict[tuple[str, str], int] = {}  # in which of the file's sets a system was met first
        self._block = 0
        self._document = ""
        self._name_begin: int | None = None  # where the name of the document begins, if an element has it
        self._owner: TextSet | None = None  # whose segments follow
        self._segment: tuple[dict[str, str], str, int] | None = None  # its document, its id, and where its text begins

    def sets(self) -> list[TextSet]:
        for position, end, closing, tag, attributes in tags(self._text):
            if self._segment is not None:
                segments, number, begin = self._segment
                if tag == "seg" and closing:
                    segments[number] = " ".join(_text(_COMMENT.sub("", self._text[begin:position])).split())
                    self._segment = None
                elif tag in ("seg", "doc", *_KINDS):
                    raise self._error(begin, f"segment {number!r} has no end tag")
                # anything else in angle brackets is the segment's text, e.g. <unk>
            elif tag in (*_KINDS, "dataset"):
                self._open_set(tag, attributes, closing)
            elif tag == "doc":
                self._open_document(position, attributes, closing)
            elif tag in ("docid", "docno"):
                self._name_document(position, end, closing)
            elif tag in _WMT_KINDS and not closing and self._set is not None and self._set.kind == "dataset":
                self._open_side(tag, attributes, self._set)
            elif tag == "seg" and not closing:
                self._open_segment(position, end, attributes)
        if self._segment is not None:
            _, number, begin = self._segment
            raise self._error(begin, f"segment {number!r} has no end tag")
        found = [found for found in self._found.values() if found.documents]
        if not found:
            raise DistillationError(f"{self._path} holds no segments in a srcset, refset, tstset, dataset or document")
        return found

    def _open_set(self, tag: str, attributes: Mapping[str, str], closing: bool) -> None:
        self._block += 1
        self._set = None
        if not closing:
            self._set = TextSet(
                _KINDS.get(tag, tag),
                attributes.get("sysid") or attributes.get("refid", ""),
                attributes.get("setid") or attributes.get("id", ""),
                attributes.get("srclang", ""),
                attributes.get("trglang", ""),
            )

    def _open_document(self, position: int, attributes: Mapping[str, str], closing: bool) -> None:
        self._owner = None
        if closing:
            return
        self._document = attributes.get("docid") or attributes.get("id", "")
        if self._set is None:
            self._name_begin = None
            if self._document:
                self._own("text", "", TextSet("text", ""), position)
            # else its name follows in an element
            return
        if not self._document:
            raise self._error(position, "a document must have a docid")
        if self._set.kind != "dataset":
            self._own(self._set.kind, attributes.get("sysid") or self._set.system, self._set, position)

    def _name_document(self, position: int, end: int, closing: bool) -> None:
        if self._set is None and self._owner is None:
            if not closing:
                self._name_begin = end
            elif self._name_begin is not None:
                self._document = _text(self._text[self._name_begin : position]).strip()
                self._own("text", "", TextSet("text", ""), position)

    def _open_side(self, tag: str, attributes: Mapping[str, str], given: TextSet) -> None:
        language = attributes.get("lang") or attributes.get("language", "")
        system = attributes.get("translator") or attributes.get("system", "")
        languages = (language, "") if tag == "src" else ("", language)
        self._own(_WMT_KINDS[tag], system, TextSet(given.kind, "", given.set_id, *languages), None)

    def _own(self, kind: str, system: str, given: TextSet, position: int | None) -> None:
        """Find whose segments follow. A later set of the file with the same sysid may be another reference."""
        system = "" if kind == "source" else system
        key, number = (kind, system), 1
        while (
            position is not None
            and key in self._found
            and self._document in self._found[key].documents
            and self._blocks[key] != self._block
        ):
            number += 1
            key = (kind, f"{system}#{number}")
        if key not in self._found:
            own = TextSet(kind, key[1], given.set_id, given.source_language, given.target_language)
            self._found[key], self._blocks[key] = own, self._block
        self._owner = self._found[key]
        if position is not None and self._document in self._owner.documents:
            raise self._error(position, f"the {self._owner} has document {self._document!r} twice")
        self._owner.documents.setdefault(self._document, {})

    def _open_segment(self, position: int, end: int, attributes: Mapping[str, str]) -> None:
        if self._owner is None:
            raise self._error(position, "a segment is in no document")
        if not (number := attributes.get("id", "")):
            raise self._error(position, "a segment must have an id")
        segments = self._owner.documents[self._document]
        if number in segments:
            raise self._error(position, f"document {self._document!r} has segment {number!r} twice")
        self._segment = segments, number, end

    def _error(self, position: int, problem: str) -> DistillationError:
        line = self._text.count("\n", 0, position) + 1
        return DistillationError(f"{self._path}: line {line}: {problem}; mend the file")


def _text(raw: str) -> str:
    return _ENTITY.sub(lambda match: html.unescape(match[0]), raw)

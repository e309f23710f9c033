"""SGML and XML as NIST, LDC and WMT write them: encodings, tags and entities. Does not know what the tags mean."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from weightdistill.errors import DistillationError

ENCODINGS = ("utf-8", "gb18030")
"""Tried in this order if a file declares none. GB 18030 contains GBK and GB 2312."""
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)

_SUPERSETS = {"utf-8": "utf-8-sig", "gb2312": "gb18030", "gbk": "gb18030"}
_DECLARATION = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")
_MARKUP = re.compile(r"<!--.*?-->|<[?!][^>]*>|<(/?)([A-Za-z][\w.-]*)((?:\s[^<>]*?)?)(/?)>", re.DOTALL)
_ATTRIBUTE = re.compile(r"""([\w:-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""")
# The semicolon is required: "AT&T" and "R&D" are text.
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z]\w*);")


def decode(path: Path, encoding: str | None) -> tuple[str, int]:
    """Decode a file.

    Args:
        path: The file.
        encoding: Encoding by its name in Python. Default: the one in the XML declaration, else the first of ENCODINGS
            that decodes the file.

    Returns:
        The text, and the number of the first line that the first encoding tried could not decode (0: it decoded all).

    Raises:
        DistillationError: The file cannot be read or decoded. The message names the line.
    """
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
            raise DistillationError(
                f"{path}: encoding must be one that Python knows, but is {name!r}; e.g. utf-8 or gb18030"
            ) from error
    raise DistillationError(
        f"{path}: line {line} is not {' or '.join(names)}; name the file's encoding, or fix the line"
    )


def tags(text: str) -> Iterator[tuple[int, int, bool, str, dict[str, str]]]:
    """Yield each tag of a text: its start and end, whether it closes, its name in lower case, and its attributes."""
    for match in _MARKUP.finditer(text):
        if match[2]:
            values = {name.lower(): value.strip("\"'").strip() for name, value in _ATTRIBUTE.findall(match[3])}
            yield (
                match.start(),
                match.end(),
                bool(match[1]),
                match[2].lower(),
                {name: unescape(value) for name, value in values.items()},
            )
            if match[4]:
                yield match.end(), match.end(), True, match[2].lower(), {}


def unescape(raw: str) -> str:
    """Replace the entities of a text by their characters. An entity must end with a semicolon."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), raw)

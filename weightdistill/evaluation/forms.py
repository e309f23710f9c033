"""Tells whether translations are plain text: pieces are refused, tokenised text gets a warning. Knows only lines."""

import re
from collections.abc import Sequence

from weightdistill.errors import DistillationError

_PIECES = re.compile(r"@@( |$)|\u2581")
_TOKENISED = re.compile(r"&(apos|quot|amp|lt|gt|#124|#91|#93);| @-@ | [.,]( |$)")
PIECES_SHARE = 0.05
"""Share of lines with marks of subword pieces from which on a file is taken for pieces."""
TOKENISED_SHARE = 0.2
"""Share of lines with marks of tokenisation, beyond that of the references, from which on a file is taken for it."""


def require_words(name: str, lines: Sequence[str]) -> None:
    """Refuse subword pieces.

    Args:
        name: Name of the file.
        lines: Its lines.

    Raises:
        DistillationError: PIECES_SHARE of the lines have marks of BPE (`@@`) or SentencePiece.
    """
    marked = [line for line in lines if _PIECES.search(line)]
    if len(marked) > PIECES_SHARE * len(lines):
        raise DistillationError(
            f"{name} must be text, but {len(marked)} of {len(lines)} lines hold pieces, e.g. {marked[0][:60]!r};"
            " decode it first (python -m weightdistill.text.processing decode)"
        )


def tokenisation_warning(name: str, lines: Sequence[str], reference: Sequence[str]) -> str | None:
    """Warn of translations that are tokenised although the reference is not, which lowers every score.

    Args:
        name: Name of the file of translations.
        lines: Its lines.
        reference: Lines of a reference.

    Returns:
        The warning; None if all is well.
    """
    tokenised = _count(lines)
    if tokenised - _count(reference) * len(lines) / len(reference) <= TOKENISED_SHARE * len(lines):
        return None
    return (
        f"{name} looks tokenised in {tokenised} of {len(lines)} lines, but the reference does not; scores are too low "
        "until it is detokenised"
    )


def _count(lines: Sequence[str]) -> int:
    return sum(1 for line in lines if _TOKENISED.search(line))

"""Tokenisation of one language, and back: Moses (sacremoses), Chinese words (jieba) and characters (sacrebleu).

Knows nothing about subwords. Each step takes and gives one sentence with one blank between words.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from weightdistill import files
from weightdistill.errors import DistillationError

Step: TypeAlias = Callable[[str], str]

TOKENISERS = ("none", "moses", "jieba", "characters")
CHINESE = ("jieba", "characters")
"""Tokenisers for Chinese only."""
# Blanks between two words of Latin letters or digits are of the text; all others are of the segmentation.
_CHINESE_BLANK = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")
# A line of a truecasing model: how often the most frequent form of a word, and any form, occurred; then other forms.
_TRUECASED = re.compile(r"(\S+ \(\d+/\d+\)( \S+ \(\d+\))*)?\s*")


def one_blank(text: str) -> str:
    """Replace each run of white space, of whatever characters, by one blank, and strip the ends."""
    return " ".join(text.split())


def punctuation_normaliser(language: str) -> Step:
    """Make the counterpart of Moses' normalize-punctuation.perl and remove-non-printing-char.perl."""
    from sacremoses import MosesPunctNormalizer

    normaliser = MosesPunctNormalizer(language, post_remove_control_chars=True, perl_parity=True)
    return lambda text: str(normaliser.normalize(text))


def tokeniser(name: str, language: str, *, escape: bool, split_hyphens: bool) -> Step:
    """Make a tokeniser.

    Args:
        name: One of TOKENISERS.
        language: Code of the language, for Moses' rules.
        escape: Write `&apos;` and the like, as Moses does by default.
        split_hyphens: Split at hyphens (Moses' -a).

    Raises:
        DistillationError: jieba is not installed.
    """
    if name == "moses":
        from sacremoses import MosesTokenizer

        tokenize = MosesTokenizer(language).tokenize
        return partial(tokenize, aggressive_dash_splits=split_hyphens, escape=escape, return_str=True)
    if name == "jieba":
        return _jieba()
    if name == "characters":
        from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

        tokenize_characters: Step = TokenizerZh()  # type: ignore[no-untyped-call]
        return tokenize_characters
    return one_blank


def detokeniser(name: str, language: str, *, escape: bool) -> Step:
    """Make the inverse of a tokeniser, as far as there is one; see `tokeniser`."""
    if name == "moses":
        from sacremoses import MosesDetokenizer

        detokenize = MosesDetokenizer(language).detokenize
        return lambda text: str(detokenize(text.split(), unescape=escape))
    if name in CHINESE:
        return partial(_CHINESE_BLANK.sub, "")
    return one_blank


def truecaser(model: Path) -> Step:
    """Make the counterpart of Moses' truecase.perl.

    Args:
        model: File of Moses' or sacremoses' train-truecaser.

    Raises:
        DistillationError: The file is no such model.
    """
    from sacremoses import MosesTruecaser

    remedy = "give a file of train-truecaser"
    for number, line in enumerate(files.read_lines(model), start=1):
        if not _TRUECASED.fullmatch(line):
            raise DistillationError(
                f"{model} is no truecasing model: line {number} must be words with their counts, but is {line[:40]!r}; "
                f"{remedy}"
            )
    try:
        truecase = MosesTruecaser(str(model))
    except (OSError, ValueError) as error:
        raise DistillationError(f"{model} is no truecasing model: {error}; {remedy}") from error
    # Moses keeps words in any case that it knows; sacremoses does so only with use_known.
    return partial(truecase.truecase, return_str=True, use_known=True)


def detruecaser() -> Step:
    """Make the counterpart of Moses' detruecase.perl: the first word of a sentence begins with a capital."""
    from sacremoses import MosesDetruecaser

    return partial(MosesDetruecaser().detruecase, return_str=True)


def _jieba() -> Step:
    try:
        import jieba
    except ImportError as error:
        raise DistillationError("tokeniser jieba needs the package jieba; install it") from error
    import logging

    jieba.setLogLevel(logging.WARNING)
    return lambda text: one_blank(" ".join(jieba.cut(text)))

"""Pieces are refused as translations, and tokenised text gets a warning, unless the references are tokenised, too."""

import gzip
from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.evaluation.forms import tokenisation_warning
from weightdistill.evaluation.scores import evaluate_files

PLAIN = ["A dog runs.", "Two dogs sleep, then eat.", "It's cold."] * 10
TOKENISED = ["A dog runs .", "Two dogs sleep , then eat .", "It &apos;s cold ."] * 10


def write(path: Path, lines: list[str]) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("pieces", ["a d@@ og runs .", "two dogs@@", "▁a ▁do g"])
def test_pieces_are_refused(tmp_path: Path, pieces: str) -> None:
    reference = write(tmp_path / "ref", PLAIN)
    with pytest.raises(
        DistillationError, match=r"hyp must be text, but 3 of 30 lines hold pieces, e\.g\. '.*'; decode"
    ):
        evaluate_files([write(tmp_path / "hyp", [*PLAIN[:27], *[pieces] * 3])], [reference])
    evaluate_files([write(tmp_path / "hyp", [*PLAIN[:29], pieces])], [reference])  # a mark or two may be of the text


def test_tokenised_translations_get_a_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    hypotheses = [write(tmp_path / "hyp", TOKENISED), write(tmp_path / "good", PLAIN)]
    result = evaluate_files(hypotheses, [write(tmp_path / "ref", PLAIN)], warn=warnings.append)
    assert len(warnings) == 1 and warnings[0].startswith(f"{tmp_path / 'hyp'} looks tokenised in 30 of 30 lines")
    assert result.systems[0].metrics["chrf"].score < result.systems[1].metrics["chrf"].score


@pytest.mark.parametrize(
    ("lines", "reference"),
    [(PLAIN, PLAIN), (TOKENISED, TOKENISED), (PLAIN, TOKENISED), ([*PLAIN[:25], *TOKENISED[:5]], PLAIN)],
    ids=["plain", "both tokenised", "reference tokenised", "few"],
)
def test_other_translations_get_none(lines: list[str], reference: list[str]) -> None:
    assert tokenisation_warning("hyp", lines, reference) is None


def test_gzipped_files_score_like_plain_ones(tmp_path: Path) -> None:
    plain = [write(tmp_path / name, lines) for name, lines in (("hyp", PLAIN[::-1]), ("ref", PLAIN))]
    zipped = [write(tmp_path / name, lines) for name, lines in (("hyp.gz", PLAIN[::-1]), ("ref.gz", PLAIN))]
    scores = [evaluate_files(pair[:1], pair[1:]).systems[0].metrics for pair in (plain, zipped)]
    assert scores[0] == scores[1]
    zipped[0].write_bytes(zipped[0].read_bytes()[:-9])
    with pytest.raises(DistillationError, match=r"hyp\.gz cannot be read: .*; give the path of a text file"):
        evaluate_files(zipped[:1], zipped[1:])
    zipped[0].write_bytes(b"no archive")
    with pytest.raises(DistillationError, match=r"hyp\.gz cannot be read: Not a gzipped file .*; give the path"):
        evaluate_files(zipped[:1], zipped[1:])

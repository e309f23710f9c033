"""The distilled corpus: every source is translated or counted as left out, and the selection is the requested one."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from weightdistill.decoding.engines import Hypothesis, Pieces, Sampling, Search
from weightdistill.distillation.sequence_level import (
    Corpus,
    FilterSettings,
    Mixture,
    SequenceDistillation,
    choose,
    write_corpus,
)
from weightdistill.distillation.shards import decode_shard, read_shard
from weightdistill.errors import DistillationError
from weightdistill.files import fingerprint

SOURCES = [["a", "b"], ["c"], [], ["d", "e", "f"], ["g", "h"]]
REFERENCES = [["B", "A"], ["C"], ["X"], ["F", "E", "D"], ["H", "G"]]


def words(text: str, score: float = -1.0, finished: bool = True) -> Hypothesis:
    return Hypothesis(text.split(), score, finished)


class Engine:
    """Reverses sentences and writes them in upper case; its second hypothesis is empty.

    A sample is the sentence with the seed at its end, an even one a copy of the sentence.
    """

    name, parameters, longest_source = "engine", 1, 3

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        if (sampling := settings.sampling) is not None:
            samples = [[[], [str(sampling.seed)]][number % 2] for number in range(1, sampling.samples + 1)]
            return [[Hypothesis([*pieces, *end], -0.1, True) for end in samples if pieces] for pieces in sentences]
        n_best = []
        for sentence in sentences:
            hypotheses = [Hypothesis([p.upper() for p in sentence[::-1]], -0.1, True), Hypothesis([], -9.0, True)]
            n_best.append(hypotheses[: settings.n_best] if sentence else [])
        return n_best


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A model, the sources and the references."""
    paths = {name: tmp_path / name for name in ("model", "source", "reference")}
    for name, lines in (("source", SOURCES), ("reference", REFERENCES)):
        paths[name].write_text("".join(f"{' '.join(line)}\n" for line in lines), encoding="utf-8")
    paths["model"].write_bytes(b"weights")
    return paths


def test_a_source_that_the_teacher_cannot_read_is_left_out_and_counted(tmp_path: Path) -> None:
    sources = [["a", "b"], ["a", "b", "c", "d"], []]
    decode_shard(Engine(), sources, tmp_path / "shard", Search(), {})
    corpus = choose(sources, read_shard(tmp_path / "shard")[1], None, FilterSettings())
    assert corpus.pairs == [("a b", "B A")]
    assert {reason: lines for reason, lines in corpus.left_out.items() if lines} == {"too long": [2], "empty": [3]}


def test_unfit_translations_are_left_out_and_counted() -> None:
    hypotheses = [
        [words("B A")],
        [words("c")],  # a copy
        [],  # an empty source
        [words("F E D C B A Z")],  # longer than twice the source
        [words("H G", finished=False)],
    ]
    corpus = choose(SOURCES, hypotheses, None, FilterSettings(max_ratio=2))
    assert corpus.pairs == [("a b", "B A")] and corpus.sentences == 5
    assert {reason: lines for reason, lines in corpus.left_out.items() if lines} == {
        "copy": [2],
        "empty": [3],
        "length ratio": [4],
        "unterminated": [5],
    }
    with_copies = choose(SOURCES, hypotheses, None, FilterSettings(keep_copies=True))
    assert [pair[1] for pair in with_copies.pairs] == ["B A", "c", "F E D C B A Z"]


def test_the_next_hypothesis_replaces_one_that_is_filtered_out() -> None:
    corpus = choose([["c"]], [[words("c"), words("C")]], None, FilterSettings())
    assert corpus.pairs == [("c", "C")] and not any(corpus.counts().values())


@pytest.mark.parametrize(("select", "expected"), [("score", "x y z"), ("bleu", "r s u"), ("chrf", "r s u")])
def test_the_hypothesis_most_similar_to_the_reference_is_selected(select: str, expected: str) -> None:
    hypotheses = [[words("x y z", -0.1), words("r y z", -0.2), words("r s u", -0.3)]]
    corpus = choose([["q"]], hypotheses, [["r", "s", "t"]], FilterSettings(select=select))
    assert corpus.pairs == [("q", expected)]


def test_chrf_ignores_subword_marks() -> None:
    """The characters of `▁foot ball` and `▁football` are the same, although no piece is."""
    hypotheses = [[words("\u2581fo \u2581ball", -0.1), words("\u2581foot ball", -0.2)]]
    for reference in (["\u2581football"], ["foot@@", "ball"]):
        corpus = choose([["q"]], hypotheses, [reference], FilterSettings(select="chrf"))
        assert corpus.pairs == [("q", "\u2581foot ball")]


def test_a_corpus_is_distilled_and_described(files: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    distillation = SequenceDistillation(
        files["model"], files["source"], output, reference=files["reference"], mixture=Mixture(real=2), shards=2
    )
    finished: list[int] = []
    distillation.decode(Engine(), finished.append)
    corpus = distillation.write()
    assert len(distillation) == sum(finished) == 5
    source, target = ((output / name).read_text(encoding="utf-8").splitlines() for name in ("source", "target"))
    assert source == [" ".join(pieces) for pieces in SOURCES] * 2 + ["a b", "c", "d e f", "g h"]
    assert target == [" ".join(pieces) for pieces in REFERENCES] * 2 + ["B A", "C", "F E D", "H G"]
    report = json.loads((output / "distilled.json").read_text(encoding="utf-8"))
    assert (report["sentences"], report["kept"], report["pairs"]) == (5, 4, 14)
    assert report["left_out"]["empty"] == 1 and report["left_out_lines"]["empty"] == [3]
    assert report["teacher"] == str(files["model"]) and report["n_best"] == 1 and report["reference_sha256"]
    summary = "4 of 5 sentences translated; left out: 1 empty, 0 repeated, 0 too long, 0 unterminated, 0 copy, 0 length"
    assert str(corpus) == f"{summary} ratio"


def test_shards_are_decoded_one_by_one_and_only_once(files: dict[str, Path], tmp_path: Path) -> None:
    def distil(only: int | None) -> SequenceDistillation:
        return SequenceDistillation(files["model"], files["source"], tmp_path / "out", shards=2, only=only)

    second = distil(1)
    second.decode(Engine())
    assert len(second) == 3
    assert [path.exists() for path in second.paths] == [False, True]
    written = second.paths[1].stat().st_mtime_ns
    distillation = distil(None)
    distillation.decode(Engine())
    assert len(distillation.write().pairs) == 4
    assert second.paths[1].stat().st_mtime_ns == written
    with pytest.raises(DistillationError, match="shard must be within 0 and 1, but is 2"):
        distil(2)


def test_further_sources_need_no_references_and_each_is_left_out_or_translated(
    files: dict[str, Path], tmp_path: Path
) -> None:
    further = ["x", "", "a  b ", "x", "y z", "too long for the", "g h"]
    (tmp_path / "further.gz").write_bytes(gzip.compress("\n".join(further).encode()))

    def distil(output: str, shards: int, **more: object) -> tuple[Corpus, list[tuple[str, str]], dict[str, Any]]:
        distillation = SequenceDistillation(
            files["model"],
            files["source"],
            tmp_path / output,
            reference=files["reference"],
            monolingual=tmp_path / "further.gz",
            mixture=Mixture(real=1),
            shards=shards,
            **more,  # type: ignore[arg-type]
        )
        distillation.decode(Engine())
        corpus = distillation.write()
        sides = [(tmp_path / output / side).read_text(encoding="utf-8").splitlines() for side in ("source", "target")]
        report = json.loads((tmp_path / output / "distilled.json").read_text(encoding="utf-8"))
        return corpus, list(zip(*sides, strict=True)), report

    corpus, pairs, report = distil("one", 1)
    real = [(" ".join(source), " ".join(reference)) for source, reference in zip(SOURCES, REFERENCES, strict=True)]
    translated = [("a b", "B A"), ("c", "C"), ("d e f", "F E D"), ("g h", "H G"), ("x", "X"), ("y z", "Z Y")]
    assert pairs == real + translated
    # line numbers go on from the end of the first file
    assert {reason: lines for reason, lines in corpus.left_out.items() if lines} == {
        "empty": [3, 7],
        "repeated": [8, 9, 12],
        "too long": [11],
    }
    assert str(corpus).startswith("6 of 12 sentences translated; left out: 2 empty, 3 repeated, 1 too long, ")
    assert (report["sentences"], report["kept"], report["translations"], report["pairs"]) == (12, 6, 6, 11)
    assert report["sources_sha256"] == fingerprint(tmp_path / "further.gz")
    assert distil("four", 4)[1] == pairs
    similar = {"search": Search(n_best=2), "filters": FilterSettings(select="bleu")}
    assert distil("similar", 4, **similar)[1] == pairs  # what has no reference is selected by score


def test_all_samples_are_kept_that_are_fit(files: dict[str, Path], tmp_path: Path) -> None:
    distillation = SequenceDistillation(
        files["model"],
        files["source"],
        tmp_path / "out",
        search=Search(sampling=Sampling(3, seed=7)),
        filters=FilterSettings(select="all"),
        shards=2,
    )
    distillation.decode(Engine())
    corpus = distillation.write()
    # each shard has a seed of its place, and equal samples count as often as they were drawn
    assert corpus.pairs == [
        *[("a b", "a b 7")] * 2,
        *[("c", "c 7")] * 2,
        *[("d e f", "d e f 9")] * 2,
        *[("g h", "g h 9")] * 2,
    ]
    assert str(corpus).startswith("4 of 5 sentences translated in 8 ways; left out: 1 empty, ")
    report = json.loads((tmp_path / "out" / "distilled.json").read_text(encoding="utf-8"))
    assert (report["samples"], report["sampling_top_k"], report["seed"], "beam" in report) == (3, 10, 7, False)
    assert (report["kept"], report["translations"]) == (4, 8)


def test_files_and_settings_are_checked_before_decoding(files: dict[str, Path], tmp_path: Path) -> None:
    def distil(reference: Path | None = None, search: Search | None = None, **filters: str) -> SequenceDistillation:
        settings = FilterSettings(**filters)  # type: ignore[arg-type]
        output = tmp_path / "out"
        return SequenceDistillation(
            files["model"], files["source"], output, reference=reference, search=search, filters=settings
        )

    with pytest.raises(DistillationError, match="--select bleu chooses among several hypotheses; give --n-best or"):
        distil(select="bleu")
    with pytest.raises(DistillationError, match="--real and --select need the references; name their file"):
        distil(search=Search(n_best=2), select="bleu")
    files["reference"].write_text("A\n", encoding="utf-8")
    with pytest.raises(DistillationError, match="must have the same number of lines, but have 5 and 1"):
        distil(files["reference"])
    files["model"].unlink()
    with pytest.raises(DistillationError, match="model cannot be read"):
        distil()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FilterSettings(select="ter"), "select must be one of score, bleu, chrf, all, but is 'ter'"),
        (lambda: FilterSettings(max_ratio=0.5), "max ratio must be 0 or at least 1, but is 0.5"),
        (lambda: Mixture(0, 0), "must be whole numbers from 0, not both 0, but are 0 and 0"),
        (lambda: Mixture(-1, 1), "but are -1 and 1"),
        (lambda: choose([["a"]], [[]], None, FilterSettings(select="bleu")), "select bleu compares with references"),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        make()


def test_real_pairs_need_references(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="real pairs need references; name their file with --reference"):
        write_corpus([], tmp_path, SOURCES, None, FilterSettings(), Mixture(real=1))

"""Scores equal those of the sacrebleu command, significance tests are sound, and unusable input is named."""

import json
import math
import random
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weightdistill.errors import DistillationError
from weightdistill.evaluation.scores import Settings, evaluate, evaluate_files

REFERENCE = ["A man rides a red bicycle.", "Two dogs play in the snow.", "The woman reads a long book."] * 10
SAME = list(REFERENCE)
CLOSE = ["A man rides a bicycle.", "Two dogs play in the snow.", "A woman reads a long book."] * 10
FAR = ["Some man on a bicycle there.", "Dogs in snow.", "The woman has a book."] * 10


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_scores_and_signatures_equal_those_of_the_sacrebleu_command(tmp_path: Path) -> None:
    files = [write(tmp_path / name, lines) for name, lines in (("hyp", FAR), ("ref1", REFERENCE), ("ref2", CLOSE))]
    command = [sys.executable, "-m", "sacrebleu", str(files[1]), str(files[2]), "-i", str(files[0])]
    command += ["-m", "bleu", "chrf", "--lowercase", "--chrf-lowercase", "-w", "6"]
    expected = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    system = evaluate_files(files[:1], files[1:], Settings(lowercase=True)).systems[0]

    assert [system.metrics["bleu"].score, system.metrics["chrf"].score] == pytest.approx(
        [score["score"] for score in expected], abs=1e-5
    )
    assert [system.metrics["bleu"].signature, system.metrics["chrf"].signature] == [
        score["signature"] for score in expected
    ]
    assert "nrefs:2" in system.metrics["bleu"].signature and "case:lc" in system.metrics["bleu"].signature


def test_a_second_reference_can_only_help() -> None:
    one = evaluate([("hyp", FAR)], [REFERENCE]).systems[0]
    two = evaluate([("hyp", FAR)], [REFERENCE, FAR]).systems[0]
    assert one.metrics["bleu"].score < 100 and two.metrics["bleu"].score == pytest.approx(100)


def test_the_tokeniser_is_used_and_named() -> None:
    system = evaluate([("hyp", CLOSE)], [REFERENCE], Settings(tokenize="char")).systems[0]
    assert "tok:char" in system.metrics["bleu"].signature
    assert system.metrics["bleu"].score != evaluate([("hyp", CLOSE)], [REFERENCE]).systems[0].metrics["bleu"].score


def test_the_bootstrap_distinguishes_unequal_systems_but_not_equal_ones() -> None:
    result = evaluate([("base", CLOSE), ("equal", CLOSE), ("worse", FAR)], [REFERENCE], Settings(resamples=200))
    base, equal, worse = result.systems
    assert base.metrics["bleu"].p_value is None and base.metrics["bleu"].half_interval is not None
    assert equal.metrics["bleu"].p_value == equal.metrics["chrf"].p_value == 1
    assert worse.metrics["bleu"].p_value is not None and worse.metrics["bleu"].p_value < 0.05
    assert worse.metrics["chrf"].p_value is not None and worse.metrics["chrf"].p_value < 0.05
    assert "200 resamples, seed 12345" in result.table()


def test_the_bootstrap_is_reproducible_and_its_seed_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    results = [evaluate([("a", CLOSE), ("b", FAR)], [REFERENCE], Settings(resamples=50)) for _ in range(2)]
    assert results[0] == results[1]
    assert json.loads(json.dumps(results[0].as_dict()))["seed"] == 7


@pytest.mark.parametrize("seed", ["0", "none", "-3"])
def test_a_seed_that_is_not_reproducible_is_refused(monkeypatch: pytest.MonkeyPatch, seed: str) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    with pytest.raises(DistillationError, match=f"SACREBLEU_SEED must be a positive whole number, but is '{seed}'"):
        evaluate([("a", CLOSE), ("b", FAR)], [REFERENCE], Settings(resamples=50))


def test_a_wrong_number_of_hypotheses_is_reported_with_both_files_and_counts(tmp_path: Path) -> None:
    hypotheses, reference = write(tmp_path / "hyp.txt", FAR[:-1]), write(tmp_path / "ref.txt", REFERENCE)
    with pytest.raises(DistillationError, match=r"hyp\.txt has 29 and .*ref\.txt has 30"):
        evaluate_files([hypotheses], [reference])


def test_references_with_different_numbers_of_lines_are_refused(tmp_path: Path) -> None:
    files = [write(tmp_path / "a", REFERENCE), write(tmp_path / "b", REFERENCE[:-2])]
    with pytest.raises(DistillationError, match=r"a has 30 and .*b has 28"):
        evaluate_files(files[:1], files)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenize": "klingon"}, r"tokenize must be one of .*13a.* or moses:LANG, but is 'klingon'"),
        ({"metrics": ("meteor",)}, r"metric must be one of bleu, .*, but is 'meteor'"),
        ({"metrics": ("bleu", "bleu")}, "metrics must be one or more different ones, but are bleu, bleu"),
        ({"metrics": ()}, "metrics must be one or more different ones, but are none"),
        ({"smooth": "laplace"}, "smooth must be one of none, .*, but is 'laplace'"),
        ({"test": "t"}, "test must be one of bootstrap, randomisation, but is 't'"),
        ({"resamples": -1}, "resamples must be 0 or more, but are -1"),
        ({"metrics": ("comet",)}, "the metric comet and the checkpoint of its model belong together; give both"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        Settings(**settings)


def test_other_metrics_equal_those_of_the_sacrebleu_command(tmp_path: Path) -> None:
    hypotheses, reference = write(tmp_path / "hyp", FAR), write(tmp_path / "ref", REFERENCE)
    command = [sys.executable, "-m", "sacrebleu", str(reference), "-i", str(hypotheses), "-m", "chrf", "ter"]
    command += ["--chrf-word-order", "2", "--ter-case-sensitive", "-w", "6"]
    expected = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    scores = evaluate_files([hypotheses], [reference], Settings(metrics=("chrf++", "ter"))).systems[0].metrics

    assert [score.score for score in scores.values()] == pytest.approx([score["score"] for score in expected], abs=1e-5)
    assert [score.signature for score in scores.values()] == [score["signature"] for score in expected]


def multi_bleu(hypotheses: list[str], references: list[list[str]]) -> float:
    """Compute Moses' multi-bleu.perl by definition: clipped n-grams, the closest reference length, no smoothing."""
    correct, total, length, closest = Counter[int](), Counter[int](), 0, 0
    for hypothesis, *reference_lines in zip(hypotheses, *references, strict=True):
        words = hypothesis.split()
        lengths = [len(line.split()) for line in reference_lines]
        length += len(words)
        closest += min(lengths, key=lambda candidate: (abs(candidate - len(words)), candidate))
        for n in range(1, 5):
            ngrams, *reference_ngrams = [
                Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
                for text in (words, *map(str.split, reference_lines))
            ]
            total[n] += sum(ngrams.values())
            correct[n] += sum(
                min(count, max(counts[ngram] for counts in reference_ngrams)) for ngram, count in ngrams.items()
            )
    if not all(correct[n] for n in range(1, 5)):
        return 0.0
    precision = math.prod(Fraction(correct[n], total[n]) for n in range(1, 5))
    return 100 * float(precision) ** 0.25 * (math.exp(1 - closest / length) if length < closest else 1)


def test_bleu_can_equal_multi_bleu_with_several_references_in_lower_case() -> None:
    hypotheses = ["the Cat sat on the mat , quietly", "a dog barked", "there is no spoon here at all , really"] * 3
    references = [
        ["The cat sat quietly on the mat", "The dog barked", "there is no spoon"] * 3,
        ["the cat was on the mat , quietly", "a dog was barking loudly .", "No spoon is here at all , really"] * 3,
    ]
    settings = Settings(metrics=("bleu",), lowercase=True, tokenize="none", smooth="none")
    score = evaluate([("hyp", hypotheses)], references, settings).systems[0].metrics["bleu"].score
    lowered = [[line.lower() for line in lines] for lines in (hypotheses, *references)]
    assert score == pytest.approx(multi_bleu(lowered[0], lowered[1:]), abs=1e-9) and 20 < score < 90
    short = evaluate([("hyp", ["no match"] * 9)], references, settings).systems[0].metrics["bleu"].score
    assert short == multi_bleu(["no match"] * 9, references) == 0


def test_bleu_can_compare_moses_tokens() -> None:
    settings = Settings(metrics=("bleu",), tokenize="moses:en", smooth="none")
    hypotheses, references = (
        ["The state-of-the-art system didn't work."] * 3,
        ["The state-of-the-art systems didn't work!"] * 3,
    )
    score = evaluate([("hyp", hypotheses)], [references], settings).systems[0].metrics["bleu"]
    tokenised = "The state @-@ of @-@ the @-@ art system didn 't work ."
    expected = multi_bleu([tokenised] * 3, [[tokenised.replace("system ", "systems ").replace(" .", " !")] * 3])
    assert score.score == pytest.approx(expected, abs=1e-9)
    assert "before:sacremoses-en-" in score.signature


def test_randomisation_distinguishes_unequal_systems_but_not_equal_ones() -> None:
    settings = Settings(metrics=("bleu", "ter"), resamples=300, test="randomisation")
    result = evaluate([("base", CLOSE), ("equal", CLOSE), ("worse", FAR)], [REFERENCE], settings)
    _, equal, worse = result.systems
    for metric in ("bleu", "ter"):
        assert equal.metrics[metric].p_value == 1
        assert worse.metrics[metric].p_value is not None and worse.metrics[metric].p_value < 0.02
        assert worse.metrics[metric].half_interval is None
    assert "paired randomisation against the first system, two-sided, 300 resamples" in result.table()


def test_randomisation_of_systems_that_differ_in_few_sentences() -> None:
    # With n different sentences, at least two of all 2^n assignments have the observed difference.
    for different in (1, 2, 4):
        mixed = [*FAR[:different], *CLOSE[different:]]
        settings = Settings(metrics=("bleu",), resamples=300, test="randomisation")
        (_, system) = evaluate([("base", CLOSE), ("mixed", mixed)], [REFERENCE], settings).systems
        p_value = system.metrics["bleu"].p_value
        assert p_value is not None and p_value >= 2.0 ** (1 - different)


class Comet:
    """Stands in for a COMET model: the share of the reference's words that the translation contains."""

    __version__ = "0"

    def load_from_checkpoint(self, path: str) -> "Comet":
        return self

    def predict(self, data: list[dict[str, str]], batch_size: int, gpus: int) -> SimpleNamespace:
        words = [(set(entry["mt"].split()), set(entry["ref"].split())) for entry in data]
        return SimpleNamespace(
            scores=[len(translation & reference) / len(reference) for translation, reference in words]
        )


def test_comet_is_a_mean_over_segments_with_a_paired_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", Comet())
    model = write(tmp_path / "model.ckpt", ["weights"])
    systems = [("base", CLOSE), ("equal", CLOSE), ("worse", FAR)]
    for test in ("bootstrap", "randomisation"):
        settings = Settings(metrics=("comet",), comet=model, resamples=500, test=test)
        base, equal, worse = evaluate(systems, [REFERENCE], settings, sources=REFERENCE).systems
        assert base.metrics["comet"].score == pytest.approx(100 * (5 / 6 + 1 + 5 / 6) / 3)
        assert base.metrics["comet"].p_value is None and equal.metrics["comet"].p_value == 1
        assert worse.metrics["comet"].p_value is not None and worse.metrics["comet"].p_value < 0.01
    with pytest.raises(DistillationError, match="COMET needs the source text; name its file"):
        evaluate(systems, [REFERENCE], settings)
    with pytest.raises(DistillationError, match=r"checkpoint of a model, but .*lost\.ckpt does not exist"):
        evaluate(systems, [REFERENCE], Settings(metrics=("comet",), comet=tmp_path / "lost.ckpt"), sources=REFERENCE)


class NoisyComet(Comet):
    """Scores with rounding errors in their sums, like those of a neural model."""

    def predict(self, data: list[dict[str, str]], batch_size: int, gpus: int) -> SimpleNamespace:
        return SimpleNamespace(scores=[random.Random(entry["mt"]).random() for entry in data])


def test_systems_that_differ_in_one_sentence_are_never_significantly_different_by_comet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "comet", NoisyComet())
    (tmp_path / "model.ckpt").touch()
    settings = Settings(metrics=("comet",), comet=tmp_path / "model.ckpt", resamples=20, test="randomisation")
    first = [f"sentence {number}" for number in range(1500)]
    systems = [("first", first)]
    for index in range(30):
        systems.append((f"{index}", [*first[:index], "another", *first[index + 1 :]]))
    _, *others = evaluate(systems, [first], settings, sources=first).systems
    assert [system.metrics["comet"].p_value for system in others] == [1] * len(others)


def test_comet_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(DistillationError, match="needs the package unbabel-comet"):
        evaluate([("a", CLOSE)], [REFERENCE], Settings(metrics=("comet",), comet=Path("model")), sources=REFERENCE)

"""Scores equal sacrebleu's own, and unusable text is refused by name."""

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


def test_tokenizer_is_used_and_named() -> None:
    system = evaluate([("hyp", CLOSE)], [REFERENCE], Settings(tokenize="char")).systems[0]
    assert "tok:char" in system.metrics["bleu"].signature
    assert system.metrics["bleu"].score != evaluate([("hyp", CLOSE)], [REFERENCE]).systems[0].metrics["bleu"].score


def test_bootstrap_tells_unequal_systems_apart_and_equal_ones_not() -> None:
    result = evaluate([("base", CLOSE), ("equal", CLOSE), ("worse", FAR)], [REFERENCE], Settings(resamples=200))
    base, equal, worse = result.systems
    assert base.metrics["bleu"].p_value is None and base.metrics["bleu"].half_interval is not None
    assert equal.metrics["bleu"].p_value == equal.metrics["chrf"].p_value == 1
    assert worse.metrics["bleu"].p_value is not None and worse.metrics["bleu"].p_value < 0.05
    assert worse.metrics["chrf"].p_value is not None and worse.metrics["chrf"].p_value < 0.05
    assert "200 resamples, seed 12345" in result.table()


def test_bootstrap_repeats_and_its_seed_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    results = [evaluate([("a", CLOSE), ("b", FAR)], [REFERENCE], Settings(resamples=50)) for _ in range(2)]
    assert results[0] == results[1]
    assert json.loads(json.dumps(results[0].as_dict()))["seed"] == 7


@pytest.mark.parametrize("seed", ["0", "none", "-3"])
def test_seed_that_would_not_repeat_is_refused(monkeypatch: pytest.MonkeyPatch, seed: str) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    with pytest.raises(DistillationError, match=f"SACREBLEU_SEED must be a positive whole number, but is '{seed}'"):
        evaluate([("a", CLOSE), ("b", FAR)], [REFERENCE], Settings(resamples=50))


def test_another_number_of_hypotheses_names_both_files_and_counts(tmp_path: Path) -> None:
    hypotheses, reference = write(tmp_path / "hyp.txt", FAR[:-1]), write(tmp_path / "ref.txt", REFERENCE)
    with pytest.raises(DistillationError, match=r"hyp\.txt has 29 and .*ref\.txt has 30"):
        evaluate_files([hypotheses], [reference])


def test_references_of_different_length_are_refused(tmp_path: Path) -> None:
    files = [write(tmp_path / "a", REFERENCE), write(tmp_path / "b", REFERENCE[:-2])]
    with pytest.raises(DistillationError, match=r"a has 30 and .*b has 28"):
        evaluate_files(files[:1], files)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenize": "klingon"}, r"tokenize must be one of .*13a.* or moses:LANG, but is 'klingon'"),
        ({"metrics": ("meteor",)}, r"metric must be one of bleu, .*, but is 'meteor'"),
        ({"metrics": ("bleu", "bleu")}, "metrics must be named once each"),
        ({"metrics": ()}, "metrics must be named once each, but are none"),
        ({"smooth": "laplace"}, "smooth must be one of none, .*, but is 'laplace'"),
        ({"test": "t"}, "test must be one of bootstrap, randomisation, but is 't'"),
        ({"resamples": -1}, "resamples must be 0 or more, but are -1"),
        ({"metrics": ("comet",)}, "COMET is a metric with a model; give both"),
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
    """Moses' multi-bleu.perl by definition, in whole numbers: clipped n-grams, the closest length, no smoothing."""
    correct, total, length, closest = Counter[int](), Counter[int](), 0, 0
    for hypothesis, *others in zip(hypotheses, *references, strict=True):
        words = hypothesis.split()
        lengths = [len(other.split()) for other in others]
        length += len(words)
        closest += min(lengths, key=lambda found: (abs(found - len(words)), found))
        for n in range(1, 5):
            grams = [
                Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
                for text in (words, *map(str.split, others))
            ]
            total[n] += sum(grams[0].values())
            correct[n] += sum(min(count, max(other[gram] for other in grams[1:])) for gram, count in grams[0].items())
    if not all(correct[n] for n in range(1, 5)):
        return 0.0
    precision = math.prod(Fraction(correct[n], total[n]) for n in range(1, 5))
    return 100 * float(precision) ** 0.25 * (math.exp(1 - closest / length) if length < closest else 1)


def test_multi_bleu_with_several_references_and_without_case() -> None:
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


def test_moses_tokens_are_what_is_compared() -> None:
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


def test_randomisation_tells_unequal_systems_apart() -> None:
    settings = Settings(metrics=("bleu", "ter"), resamples=300, test="randomisation")
    result = evaluate([("base", CLOSE), ("equal", CLOSE), ("worse", FAR)], [REFERENCE], settings)
    _, equal, worse = result.systems
    for metric in ("bleu", "ter"):
        assert equal.metrics[metric].p_value == 1
        assert worse.metrics[metric].p_value is not None and worse.metrics[metric].p_value < 0.02
        assert worse.metrics[metric].half_interval is None
    assert "paired randomisation against the first, both sides, 300 resamples" in result.table()


def test_randomisation_of_systems_that_differ_in_few_sentences() -> None:
    # with n different sentences at least two of all 2^n assignments give the difference that was observed
    for different in (1, 2, 4):
        other = [*FAR[:different], *CLOSE[different:]]
        settings = Settings(metrics=("bleu",), resamples=300, test="randomisation")
        (_, system) = evaluate([("base", CLOSE), ("other", other)], [REFERENCE], settings).systems
        p_value = system.metrics["bleu"].p_value
        assert p_value is not None and p_value >= 2.0 ** (1 - different)


class Comet:
    """Stands in for a COMET model: the share of the reference's words that the translation has."""

    __version__ = "0"

    def load_from_checkpoint(self, path: str) -> "Comet":
        return self

    def predict(self, data: list[dict[str, str]], batch_size: int, gpus: int) -> SimpleNamespace:
        words = [(set(entry["mt"].split()), set(entry["ref"].split())) for entry in data]
        return SimpleNamespace(scores=[len(own & reference) / len(reference) for own, reference in words])


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
    with pytest.raises(DistillationError, match="COMET reads the source as well"):
        evaluate(systems, [REFERENCE], settings)
    with pytest.raises(DistillationError, match=r"lost\.ckpt: no such file"):
        evaluate(systems, [REFERENCE], Settings(metrics=("comet",), comet=tmp_path / "lost.ckpt"), sources=REFERENCE)


class NoisyComet(Comet):
    """Any scores, as a neural model gives them: their sums are rounded."""

    def predict(self, data: list[dict[str, str]], batch_size: int, gpus: int) -> SimpleNamespace:
        return SimpleNamespace(scores=[random.Random(entry["mt"]).random() for entry in data])


def test_comets_test_of_systems_that_differ_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", NoisyComet())
    (tmp_path / "model.ckpt").touch()
    settings = Settings(metrics=("comet",), comet=tmp_path / "model.ckpt", resamples=20, test="randomisation")
    first = [f"sentence {number}" for number in range(1500)]
    systems = [("first", first)]
    for place in range(30):
        systems.append((f"{place}", [*first[:place], "another", *first[place + 1 :]]))
    _, *others = evaluate(systems, [first], settings, sources=first).systems
    assert [system.metrics["comet"].p_value for system in others] == [1] * len(others)


def test_comet_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(DistillationError, match="needs the package unbabel-comet"):
        evaluate([("a", CLOSE)], [REFERENCE], Settings(metrics=("comet",), comet=Path("model")), sources=REFERENCE)

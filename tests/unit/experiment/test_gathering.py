"""What is read from a workflow's folder for the report."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu

from weightdistill.experiment.comparison import Experiment
from weightdistill.experiment.gathering import curve, examples, gaps, interval, layer_weights
from weightdistill.files import read_lines


def test_a_curve_goes_on_from_phase_1_and_stands_without_it(
    tmp_path: Path, make_log: Callable[[Path, Mapping[int, float]], None]
) -> None:
    folders = ["phase1/wd", "phase2/wd"]
    assert curve(tmp_path, folders) == {}
    make_log(tmp_path / "phase2/wd/train.log", {5: 4.0, 10: 3.5})
    assert curve(tmp_path, folders) == {5: 4.0, 10: 3.5}
    make_log(tmp_path / "phase1/wd/train.log", {5: 6.0, 10: 5.0})
    assert curve(tmp_path, folders) == {5: 6.0, 10: 5.0, 15: 4.0, 20: 3.5}


def test_only_what_was_learned_of_the_decoder_counts_as_w_l(work: Path) -> None:
    weights = layer_weights(work, "wd-tiny-1")
    assert weights == {"self_attn.k_proj.weight": [0.1, 0.8, 0.1], "fc1.weight": [0.0, 1.0, 0.5]}
    assert layer_weights(work, "wd-fixed-tiny-1") == {}, "it was not learned"
    assert layer_weights(work, "kd-tiny-1") == {}


def test_an_interval_spans_sentences_and_seeds() -> None:
    normal = np.random.default_rng(1).normal(10, 1, (20_000, 1))
    assert interval(normal) == pytest.approx([10 - 1.96, 10 + 1.96], abs=0.06)
    low, high = interval(np.concatenate([normal, normal + 6], axis=1))
    # a quarter of the draws take the first seed twice, a quarter the second: a tenth of each is beyond the bound
    assert low == pytest.approx(10 - 1.28, abs=0.1) and high == pytest.approx(16 + 1.28, abs=0.1)


def test_gaps_are_differences_to_the_teacher_of_the_best_of_each_group(results: dict[str, Any], work: Path) -> None:
    kinds = gaps(Experiment(results), work, "tiny")
    assert set(kinds) == {"length", "frequency"}
    lengths = kinds["length"]
    assert sum(bucket["count"] for bucket in lengths) == 80
    assert set(lengths[0]["gaps"]) == {"wd-tiny", "copied-tiny", "kd-tiny", "plain-tiny"}
    # the longest sentences have 22 words: every fifth line
    references = read_lines(work / "raw/here.de")[4::5] * 2
    scores = {
        run: sacrebleu.corpus_bleu(read_lines(work / f"evaluated/{run}/here.txt")[4::5] * 2, [references]).score
        for run in ("teacher", "kd-tiny-1", "kd-tiny-2")
    }
    mean, low, high = lengths[-1]["gaps"]["kd-tiny"]
    assert lengths[-1]["count"] == len(references)
    assert mean == pytest.approx((scores["kd-tiny-1"] + scores["kd-tiny-2"]) / 2 - scores["teacher"], abs=1e-3)
    assert low < mean < high
    assert kinds["frequency"][0]["range"] == "0" and kinds["frequency"][0]["count"] == 80, "the last words are unknown"
    assert kinds["frequency"][1]["gaps"]["kd-tiny"] is None, "no word is in the training data once to four times"


def test_examples_are_taken_by_rule_over_the_whole_range(results: dict[str, Any], work: Path) -> None:
    known = examples(Experiment(results), work)
    assert known["test"] == "here" and len(known["sentences"]) == 5
    first, last = known["sentences"][0], known["sentences"][-1]
    assert list(first["translations"]) == ["teacher", "wd-tiny", "wd-small"]
    assert first["source"] == f"source {first['number'] - 1}"
    assert first["translations"]["teacher"] == first["reference"] != first["translations"]["wd-tiny"]
    assert last["translations"]["wd-tiny"] == last["reference"]
    assert all(6 <= len(sentence["reference"].split()) <= 25 for sentence in known["sentences"])


def test_all_of_it_is_small_and_plain(gathered: dict[str, Any], work: Path) -> None:
    assert len(json.dumps(gathered)) < 20_000
    assert gathered["date"] == time.strftime("%Y-%m-%d")
    assert gathered["losses"]["wd-tiny"] == [[[50, 4.5], [150, 3.5], [200, 3.25]], []]
    assert gathered["final_losses"]["kd-tiny"] == {"mean": 4.25, "least": 4.0, "greatest": 4.5}
    assert gathered["final_losses"]["teacher"]["mean"] == 2 and "plain-tiny" not in gathered["final_losses"]
    assert set(gathered["layer_weights"]) == {"wd-tiny"}
    low, high = gathered["intervals"]["kd-tiny"]
    scores = [
        sacrebleu.corpus_bleu(
            read_lines(work / f"evaluated/kd-tiny-1/{test}.txt"), [read_lines(work / f"raw/{test}.de")]
        )
        for test in ("here", "there")
    ]
    assert low < sum(score.score for score in scores) / 2 < high

"""The tables that are made of results.json alone: in Markdown, LaTeX and comma-separated values, beside the paper's."""

import copy
import csv
from dataclasses import replace

from weightdistill.experiment import tables as table
from weightdistill.experiment.settings import resolve


def row(method, preset, bleu, parameters, against=()):
    speed = {"1": {"sentences_per_second": {"median": 100 * len(method)}, "ratio": {"median": 2.5}}}
    compared = {name: [{"paper": {"difference": gap, "p_value": p}}] for name, gap, p in against}
    return {
        "method": method,
        "title": f"{method} & co.",
        "preset": preset,
        "seeds": [1, 2] if preset else [],
        "parameters": parameters,
        "scores": {
            test: {
                "bleu": table.summary(bleu),
                "paper": table.summary([value + 1 for value in bleu]),
                "against": {"teacher": [None], "kd": [None], **compared},
            }
            for test in ("valid", "test_1", "test_2")
        },
        "speed": {"fairseq": speed, "ctranslate2": speed},
        "training_seconds": table.summary([60.0, 120.0]),
    }


SETTINGS = resolve(
    {
        **{name: "x" for name in ("name", "source", "target", "raw")},
        "vocabulary": 700,
        "teacher": {"options": "--max-update 1"},
        "tests": ["test_1", "test_2"],
        "evaluated": ["valid", "test_1", "test_2"],
        "students": {"tiny": [1, 2]},
        "methods": {"kd": {"title": "KD"}},
        "baselines": ["kd"],
        "timed": "kd",
        "paper": {
            "tiny": {"size": 0.5, "speed": 2.6, "teacher": -0.75, "kd": 0.86},
            "small": {"size": 0.8, "speed": 2.0, "teacher": 0.1, "kd": 0.6},
        },
    }
)
RESULTS = {
    "config": SETTINGS.as_dict(),
    "signatures": {"bleu": "nrefs:1", "paper": "nrefs:4"},
    "rows": [
        row("teacher", None, [30.0], 1000),
        row("kd", "tiny", [27.0, 28.0], 600, [("teacher", -2.5, 0.001)]),
        row("wd", "tiny", [29.0, 29.0], 600, [("teacher", -1.0, 0.04), ("kd", 1.5, 0.01)]),
    ],
}


def test_systems_have_a_column_for_each_metric_and_set():
    found = table.systems(RESULTS)
    assert found.heads[3:6] == ["BLEU valid", "BLEU as in the paper valid", "BLEU test_1"]
    assert found.lines[1][:5] == ["kd & co., TINY", "2", "600", "27.5 ± 0.7", "28.5 ± 0.7"]
    assert found.lines[0][-3:] == ["700/s", "700/s", "90 s"]


def with_lengths(teacher, student):
    results = copy.deepcopy(RESULTS)
    for row in results["rows"]:
        tokens = student if row["preset"] else teacher
        for speed in [entry for engine in row["speed"].values() for entry in engine.values()]:
            speed |= {"tokens_per_sentence": tokens, "tokens_per_second": {"median": 12.0}}
            speed |= {"token_ratio": {"median": 3.5}}
    return results


def test_speeds_in_sentences_and_in_tokens_stand_beside_each_other():
    (found,) = table.speeds(with_lengths(12.0, 12.5))
    assert found.heads == ["speed", "sentences/s", "ratio", "tokens/s", "ratio", "tokens/sentence"]
    assert found.lines[1] == ["fairseq, batch 1, TINY", "200.0", "2.50×", "12.0", "3.50×", "12.5"]  # noqa: RUF001
    assert [line[0] for line in found.lines[2:]] == ["CTranslate2, batch 1, teacher", "CTranslate2, batch 1, TINY"]
    assert table.uneven_lengths(with_lengths(12.0, 12.5)) is None
    assert table.uneven_lengths(with_lengths(12.0, 20.0)).endswith("teacher 12.0, TINY 20.0.")


def test_earlier_results_have_no_output_lengths():
    assert table.speeds(RESULTS) == [] and table.uneven_lengths(RESULTS) is None


def test_differences_are_listed_where_there_are_any():
    teacher, kd = table.differences(RESULTS, SETTINGS)
    assert [line[0] for line in teacher.lines] == ["kd & co., TINY", "wd & co., TINY"]
    assert kd.heads[0] == "BLEU as in the paper, difference to KD"
    assert kd.lines == [["wd & co., TINY", *["+1.5 (p=0.010)"] * 3]]


def test_a_difference_of_several_seeds_has_their_spread_and_their_largest_p():
    found = [{"difference": 1.0, "p_value": 0.02}, {"difference": 2.0, "p_value": 0.001}]
    assert table.difference_cell(found) == "+1.5 ± 0.7 (p=0.020)"
    assert table.difference_cell([*found, {"difference": -0.3, "p_value": 0.001}]).endswith("(p=1.000)")
    assert table.difference_cell([*found, None]) == "+1.5 ± 0.7 (p=0.020, 2 of 3 seeds)"


def test_the_papers_figures_stand_above_ours():
    (found,) = table.beside_the_paper(RESULTS, SETTINGS)
    assert found.heads[3] == "BLEU (test_1, test_2) less the teacher's"
    assert found.lines == [
        ["TINY, the paper", "0.50", "2.60×", "-0.75", "+0.86"],  # noqa: RUF001
        ["TINY, here", "0.60", "2.50×", "-1.00", "+1.50"],  # noqa: RUF001
    ]
    assert table.beside_the_paper(RESULTS, replace(SETTINGS, paper={})) == []


def test_latex_escapes_what_it_would_take_for_commands():
    lines = table.systems(RESULTS).latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrrrrrrrrr}" and lines[-1] == r"\end{tabular}"
    kd = " ".join(lines[5].split())
    assert r"kd \& co., TINY & 2 & 600 & 27.5 $\pm$ 0.7" in kd and r"BLEU test\_1" in lines[2]
    assert r"2.50$\times$" in lines[5]


def test_every_score_and_difference_is_a_line_in_full_precision():
    lines = list(csv.DictReader(table.scores(RESULTS).splitlines()))
    assert len(lines) == 3 * 3 * 2 + 3 * 3
    found = {(line["method"], line["test"], line["metric"], line["less"]): line for line in lines}
    score = found["kd", "test_1", "bleu", ""]
    assert (float(score["mean"]), score["seeds"], float(score["sd"]), score["p"]) == (27.5, "2", 0.5**0.5, "")
    gap = found["wd", "valid", "paper", "kd"]
    assert (float(gap["mean"]), gap["seeds"], gap["sd"], gap["p"]) == (1.5, "1", "", "0.01")


def test_the_page_has_all_tables_and_says_what_they_mean():
    page = table.document(
        {
            **RESULTS,
            "settings_sha256": SETTINGS.fingerprint(),
            "benchmark": {"beam": 4, "sentences": 20, "threads": 1, "repetitions": 3},
            "machine": {"gpu": None, "cpu": "a CPU", "cpu_count": 2, "versions": {"torch": "2"}},
        }
    )
    assert page.count("|:--") == len(table.tables(RESULTS)) == 4
    assert SETTINGS.fingerprint() in page and "- a CPU, 2 CPU cores; torch 2" in page

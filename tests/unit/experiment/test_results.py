"""The tables that are made of results.json alone: in Markdown, LaTeX and comma-separated values, beside the paper's."""

import csv
import json

from weightdistill.experiment import results as table


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


RESULTS = {
    "config": {
        "baselines": ["kd"],
        "methods": {"kd": {"title": "KD"}},
        "evaluated": ["valid", "test_1", "test_2"],
        "paper": {"tiny": {"size": 0.5, "speed": 2.6, "teacher": -0.75, "kd": 0.86}, "small": {}},
    },
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


def test_differences_are_listed_where_there_are_any():
    teacher, kd = table.differences(RESULTS)
    assert [line[0] for line in teacher.lines] == ["kd & co., TINY", "wd & co., TINY"]
    assert kd.heads[0] == "BLEU as in the paper less that of: KD"
    assert kd.lines == [["wd & co., TINY", *["+1.5 (p=0.010)"] * 3]]


def test_comparisons_are_read_with_the_papers_beside_the_others(tmp_path):
    for kind, gap in (("json", 1.5), ("paper.json", 2.5)):
        systems = [
            {"name": f"evaluated/{system}/test.txt", "bleu": {"score": score, "p_value": p}}
            for system, score, p in (("kd-tiny-1", 20.0, None), ("wd-tiny-1", 20.0 + gap, 0.01))
        ]
        (tmp_path / "compared/kd-tiny-1").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"compared/kd-tiny-1/test.{kind}").write_text(json.dumps({"systems": systems}))
    found = table.compared(tmp_path, "wd-tiny-1", "kd-tiny-1", "test")
    assert found == {name: {"difference": gap, "p_value": 0.01} for name, gap in (("bleu", 1.5), ("paper", 2.5))}
    assert table.compared(tmp_path, "kd-tiny-1", "kd-tiny-1", "test") is None
    assert table.compared(tmp_path, "plain-tiny-1", "kd-tiny-1", "test") is None


def test_a_difference_of_several_seeds_has_their_spread_and_their_largest_p():
    found = [{"difference": 1.0, "p_value": 0.02}, {"difference": 2.0, "p_value": 0.001}]
    assert table._difference(found) == "+1.5 ± 0.7 (p=0.020)"
    assert table._difference([*found, {"difference": -0.3, "p_value": 0.001}]).endswith("(p=1.000)")
    assert table._difference([*found, None]) == "+1.5 ± 0.7 (p=0.020, 2 of 3 seeds)"


def test_the_papers_figures_stand_above_ours():
    (found,) = table.beside_the_paper(RESULTS)
    assert found.heads[3] == "BLEU (test_1, test_2) less the teacher's"
    assert found.lines == [
        ["TINY, the paper", "0.50", "2.60×", "-0.75", "+0.86"],  # noqa: RUF001
        ["TINY, here", "0.60", "2.50×", "-1.00", "+1.50"],  # noqa: RUF001
    ]
    assert table.beside_the_paper({**RESULTS, "config": {**RESULTS["config"], "paper": None}}) == []


def test_latex_escapes_what_it_would_take_for_commands():
    lines = table.latex(table.systems(RESULTS))
    assert lines[0] == r"\begin{tabular}{lrrrrrrrrrrr}" and lines[-1] == r"\end{tabular}"
    assert r"kd \& co., TINY & 2 & 600 & 27.5 $\pm$ 0.7" in lines[5] and r"BLEU test\_1" in lines[2]
    assert r"2.50$\times$" in lines[5]


def test_every_score_and_difference_is_a_line_in_full_precision():
    lines = list(csv.DictReader(table.scores(RESULTS).splitlines()))
    assert len(lines) == 3 * 3 * 2 + 3 * 3
    found = {(line["method"], line["test"], line["metric"], line["less"]): line for line in lines}
    score = found["kd", "test_1", "bleu", ""]
    assert (float(score["mean"]), score["seeds"], float(score["sd"]), score["p"]) == (27.5, "2", 0.5**0.5, "")
    gap = found["wd", "valid", "paper", "kd"]
    assert (float(gap["mean"]), gap["seeds"], gap["sd"], gap["p"]) == (1.5, "1", "", "0.01")

"""What the report says of an experiment in words."""

from typing import Any

from weightdistill.experiment.comparison import Difference, Experiment
from weightdistill.experiment.findings import cautions, figures, finding, headline, listed


def test_the_headline_tells_speed_and_loss_of_the_best_of_each_shape(results: dict[str, Any]) -> None:
    # TINY: 27.2 and 19.2 against 30 and 20; SMALL: 31 and 20, which is a tie there
    assert headline(Experiment(results)) == (
        "The best TINY student translates 4.0 times as fast as the teacher and loses 1.8 BLEU; the best SMALL student "
        "is 2.0 times as fast as the teacher and gains 0.5 BLEU."
    )


def test_the_headline_says_where_no_difference_is_significant(results: dict[str, Any]) -> None:
    for row in results["rows"]:
        for seed in row["scores"]["there"]["against"]["teacher"]:
            if seed:
                seed["bleu"]["p_value"] = 0.051
    assert headline(Experiment(results)).count("BLEU (not significant)") == 2


def test_the_best_is_chosen_on_the_validation_set_and_judged_on_the_tests(results: dict[str, Any]) -> None:
    text = finding(Experiment(results), "tiny")
    assert text.startswith("Best on the validation set is **WD, 2 + 6 epochs**: 29.1 BLEU, mean of 2 seeds. ")
    assert "Against the teacher it is not significantly different on here and significantly worse on there." in text
    assert "Next comes **copied layers** (copied layers). Against it the best student is" in text
    assert text.endswith("worse (significance not tested) on here and better (significance not tested) on there.")


def test_without_a_validation_set_the_page_says_what_chose(results: dict[str, Any]) -> None:
    results["config"]["evaluated"] = ["here", "there"]
    experiment = Experiment(results)
    assert "Best on here and there (no student was scored on the validation set) is" in finding(experiment, "tiny")
    assert any("the p-values of the best one are too small" in text for text in cautions(experiment))


def test_one_seed_is_a_caution(results: dict[str, Any]) -> None:
    assert ["with one seed" in text for text in cautions(Experiment(results))] == [True]
    results["rows"] = [row for row in results["rows"] if row["preset"] != "small"]
    assert cautions(Experiment(results)) == []


def test_figures_and_lists() -> None:
    assert figures(Difference(-1.25, 0.0099)) == "\N{MINUS SIGN}1.2, p = 0.010"
    assert figures(Difference(0.5, None)) == "+0.5"
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]

"""What the report says of logs and of scores."""

from weightdistill.experiment import report


def line(loss, updates):
    return f"INFO | valid on 'valid' subset | loss 9 | nll_loss {loss} | ppl 2 | num_updates {updates}\n"


def test_a_training_made_anew_leaves_nothing_of_the_old_one_in_its_curve(tmp_path):
    (tmp_path / "log").write_text(line(5.0, 10) + line(4.0, 20) + line(3.0, 30) + line(6.0, 10) + line(5.5, 20))
    assert report.validation_losses(tmp_path / "log") == {10: 6.0, 20: 5.5}
    assert report.validation_losses(tmp_path / "absent") == {}


def test_a_curve_goes_on_from_phase_1_and_stands_without_it(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "phase1-wd.log").write_text(line(5.0, 10))
    (logs / "phase2-wd.log").write_text(line(4.0, 5))
    (logs / "student-kd.log").write_text(line(6.0, 10))
    assert report.curve(tmp_path, "wd") == {10: 5.0, 15: 4.0}
    assert report.curve(tmp_path, "kd") == {10: 6.0}
    (logs / "phase1-wd.log").write_text("resumed\n")
    assert report.curve(tmp_path, "wd") == {5: 4.0}


def test_the_best_is_chosen_on_the_validation_set_and_its_gain_told_on_the_tests():
    here, there = ({"bleu": {"difference": gap, "p_value": p}} for gap, p in ((-1.0, 0.25), (2.0, 0.01)))

    def row(method, *scores):
        scores = {
            name: {"bleu": {"mean": mean}, "against": {"teacher": [None], "kd": [against]}}
            for name, mean, against in zip(("valid", "here", "there"), scores, (None, here, there), strict=True)
        }
        return {"method": method, "title": method.upper(), "preset": "tiny", "seeds": [1], "scores": scores}

    config = {"methods": {"kd": {"title": "KD"}}, "baselines": ["kd"], "evaluated": ["valid", "here", "there"]}
    results = {"config": config, "rows": [row("kd", 30.0, 33.0, 20.0), row("wd", 31.0, 32.0, 22.0)]}
    assert report.summary(results, ["here", "there"]) == [
        "- **TINY**: WD, 31.0 BLEU (seeds: 1); next are KD -1.0 (1). Less KD: -1.0, +2.0 (p = 0.250, 0.010)."
    ]


def test_without_a_validation_set_the_tests_choose():
    def row(method, mean):
        scores = {"test": {"bleu": {"mean": mean}, "against": {"teacher": [None]}}}
        return {"method": method, "title": method.upper(), "preset": "tiny", "seeds": [1], "scores": scores}

    config = {"methods": {}, "baselines": [], "evaluated": ["test"]}
    results = {"config": config, "rows": [row("kd", 33.0), row("wd", 32.0)]}
    assert report.summary(results, ["test"]) == ["- **TINY**: KD, 33.0 BLEU (seeds: 1); next are WD -1.0 (1)."]

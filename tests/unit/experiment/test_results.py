"""What is gathered from the files of a workflow."""

import json

from weightdistill.experiment import results


def test_comparisons_are_read_with_the_papers_beside_the_others(tmp_path):
    for kind, gap in (("json", 1.5), ("paper.json", 2.5)):
        systems = [
            {"name": f"evaluated/{system}/test.txt", "bleu": {"score": score, "p_value": p}}
            for system, score, p in (("kd-tiny-1", 20.0, None), ("wd-tiny-1", 20.0 + gap, 0.01))
        ]
        (tmp_path / "compared/kd-tiny-1").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"compared/kd-tiny-1/test.{kind}").write_text(json.dumps({"systems": systems}))
    found = results.compared(tmp_path, "wd-tiny-1", "kd-tiny-1", "test")
    assert found == {name: {"difference": gap, "p_value": 0.01} for name, gap in (("bleu", 1.5), ("paper", 2.5))}
    assert results.compared(tmp_path, "kd-tiny-1", "kd-tiny-1", "test") is None
    assert results.compared(tmp_path, "plain-tiny-1", "kd-tiny-1", "test") is None

"""Whether a bundle keeps its vocabulary map; the whole card is written in tests/integration/test_own_teacher.py."""

import pytest

from weightdistill.experiment.model_card import MAPPED, WHOLE, Measured, chosen_way
from weightdistill.experiment.schema import BundleSettings

BUNDLE = BundleSettings(method="wd", largest_loss=0.2)


def measured(mapped_bleu: float, mapped_speed: float) -> Measured:
    """A student of 30 BLEU, eight times as fast as its teacher at batch 32; and the same with a map."""

    def speeds(ratio: float) -> list[dict[str, object]]:
        return [
            {"model": "bundle/ctranslate2", "batch_size": size, "ratio": {"median": value}}
            for size, value in ((1, 5.0), (32, ratio))
        ]

    scores = {WHOLE: {"valid": {"bleu": 30.0}}, MAPPED: {"valid": {"bleu": mapped_bleu}}}
    return Measured(scores, {WHOLE: speeds(8.0), MAPPED: speeds(mapped_speed)}, 0.1)


@pytest.mark.parametrize(
    ("bleu", "speed", "way"),
    [(29.85, 9.0, MAPPED), (30.3, 8.1, MAPPED), (29.7, 20.0, WHOLE), (30.0, 7.9, WHOLE)],
)
def test_a_map_stays_if_it_is_faster_and_costs_little(bleu: float, speed: float, way: str) -> None:
    assert chosen_way(BUNDLE, measured(bleu, speed)) == way


def test_without_a_map_there_is_nothing_to_choose() -> None:
    results = measured(30.0, 9.0)
    assert chosen_way(BUNDLE, Measured({WHOLE: results.scores[WHOLE]}, {WHOLE: results.speeds[WHOLE]}, None)) == WHOLE

"""The protocol of the decoding benchmark, with engines of known speed."""

import json
from collections.abc import Sequence

import pytest

from weightdistill.decoding.benchmark import benchmark_decoding, length_warning
from weightdistill.decoding.engines import Hypothesis, Pieces, Search
from weightdistill.errors import DistillationError

SENTENCES = [["a", "b", "c"], ["d"], [], ["e", "f"]]


class Clock:
    """A clock that only engines advance."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[tuple[str, int, int]] = []

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Copies its input, once or several times.

    After the warm-up of each batch size, a call takes the next of the given numbers of seconds.
    """

    longest_source = 3

    def __init__(self, name: str, clock: Clock, seconds: Sequence[float], copies: int = 1) -> None:
        self.name, self.parameters = name, 1234
        self._copies = copies
        self._clock, self._seconds, self._sizes = clock, iter(seconds), set[int]()

    def search(self, sentences: Sequence[Pieces], settings: Search) -> list[list[Hypothesis]]:
        assert settings.batch_type == "sentences"
        batch_size = settings.batch_size
        warm_up = batch_size not in self._sizes
        self._sizes.add(batch_size)
        self._clock.now += 1000.0 if warm_up else next(self._seconds)
        self._clock.log.append((self.name, batch_size, settings.beam))
        return [[Hypothesis(list(sentence) * self._copies, 0.0, True)] for sentence in sentences]


def test_speeds_are_per_second_and_the_warm_up_does_not_count() -> None:
    clock = Clock()
    engines = [FakeEngine("teacher", clock, [4, 8, 2]), FakeEngine("student", clock, [1, 4, 2])]
    result = benchmark_decoding(engines, SENTENCES, batch_sizes=[64], repetitions=3, clock=clock)
    teacher, student = result.speeds
    assert (teacher.sentences_per_second.median, teacher.tokens_per_second.median) == (4 / 4, 6 / 4)
    assert (teacher.sentences_per_second.minimum, teacher.sentences_per_second.maximum) == (4 / 8, 4 / 2)
    assert student.sentences_per_second.median == 4 / 2
    assert (teacher.ratio.minimum, teacher.ratio.maximum) == (1, 1)


def test_ratio_is_the_median_of_ratios_within_a_repetition() -> None:
    clock = Clock()
    # Both medians are 4 s, but the ratios within the repetitions are 1, 4 and 2.
    engines = [FakeEngine("teacher", clock, [4, 100, 2]), FakeEngine("student", clock, [4, 25, 1])]
    student = benchmark_decoding(engines, SENTENCES, batch_sizes=[1], repetitions=3, clock=clock).speeds[1]
    assert (student.ratio.minimum, student.ratio.median, student.ratio.maximum) == (1, 2, 4)


def test_a_model_that_writes_more_is_as_fast_in_tokens_and_is_warned_about() -> None:
    clock = Clock()
    engines = [FakeEngine("teacher", clock, [2, 2]), FakeEngine("student", clock, [4, 4], copies=2)]
    result = benchmark_decoding(engines, SENTENCES, batch_sizes=[1], repetitions=2, clock=clock)
    teacher, student = result.speeds
    assert (teacher.tokens_per_sentence, student.tokens_per_sentence) == (6 / 4, 12 / 4)
    assert (student.ratio.median, student.token_ratio.median) == (1 / 2, 1)
    assert (
        "differ by more than 10%; compare tokens/s. Tokens per sentence: teacher 1.5, student 3.0" in result.warning()
    )


def test_lengths_within_ten_percent_are_not_warned_about() -> None:
    assert length_warning({"teacher": 10.0, "longer": 11.0, "shorter": 9.0}) is None
    assert length_warning({"teacher": 10.0}) is None
    assert length_warning({"teacher": 10.0, "longer": 11.1, "shorter": 9.0}).endswith("teacher 10.0, longer 11.1.")


def test_models_take_turns_within_each_repetition_and_batch_size() -> None:
    clock = Clock()
    engines = [FakeEngine(name, clock, [1] * 4) for name in ("x", "y")]
    steps = []
    benchmark_decoding(
        engines,
        SENTENCES,
        batch_sizes=[1, 64],
        beam=4,
        repetitions=2,
        clock=clock,
        progress=lambda: steps.append(clock.now),
    )
    expected = [(name, size, 4) for size in (1, 64) for _ in range(1 + 2) for name in ("x", "y")]
    assert clock.log == expected
    assert len(steps) == 2 * 2 * 2


def test_the_report_contains_settings_and_machine() -> None:
    clock = Clock()
    result = benchmark_decoding([FakeEngine("m", clock, [1] * 6)], SENTENCES, threads=3, clock=clock)
    report = json.loads(json.dumps(result.as_dict()))
    assert report["settings"]["threads"] == 3
    assert report["settings"]["sentences"] == 4
    assert report["settings"]["beam"] == 4
    assert report["machine"]["versions"]["torch"]
    assert report["machine"]["cpu"]
    assert [speed["batch_size"] for speed in report["speeds"]] == [1, 64]
    assert "sentences/s" in result.table() and "1,234" in result.table()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetitions": 0}, "repetitions must be at least 1, but is 0"),
        ({"batch_sizes": [1, 0]}, "batch size must be at least 1, but is 0"),
        ({"batch_sizes": []}, "at least one batch size"),
        ({"output_length": 0}, "output length must be at least 1 and below 200, but is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        benchmark_decoding([FakeEngine("m", Clock(), [])], SENTENCES, **options)  # type: ignore[arg-type]


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(DistillationError, match="at least one model"):
        benchmark_decoding([], SENTENCES)
    with pytest.raises(DistillationError, match="all are empty"):
        benchmark_decoding([FakeEngine("m", Clock(), [])], [[], []])

"""Matches against their published definitions, computed here element by element in float64."""

import json
import math
from typing import Any

import pytest
import torch

from weightdistill.distillation.hidden_states import LOSSES, Feature, Match, distilbert, pkd, read_matches
from weightdistill.errors import DistillationError
from weightdistill.method.shape import StackShape, TransformerShape

LENGTHS, LONGEST, WIDTH, HEADS = [4, 2], 4, 3, 2
MASK = torch.arange(LONGEST)[None] < torch.tensor(LENGTHS)[:, None]  # (2, 4)
PAIRS = (MASK[:, :, None] & MASK[:, None, :]).tril()  # as in a decoder


def shape(layers: int = 6, width: int = 8, decoder_layers: int = 6, decoder_width: int = 8) -> TransformerShape:
    return TransformerShape(StackShape(layers, width, 16, 2), StackShape(decoder_layers, decoder_width, 16, 2))


def states(width: int = WIDTH) -> Feature:
    """Make hidden states; the values at padding must not matter."""
    values = torch.randn(len(LENGTHS), LONGEST, width, dtype=torch.float64)
    return Feature(values.masked_fill(~MASK[..., None], 1e6), MASK)


def scores(heads: int = HEADS) -> Feature:
    values = torch.randn(len(LENGTHS), heads, LONGEST, LONGEST, dtype=torch.float64)
    return Feature(values.masked_fill(~PAIRS[:, None], 1e6), PAIRS)


def positions() -> list[tuple[int, int]]:
    return [(sentence, position) for sentence, length in enumerate(LENGTHS) for position in range(length)]


def vectors(feature: Feature) -> list[list[float]]:
    return [feature.values[place].tolist() for place in positions()]


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def dot(first: list[float], second: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def length(vector: list[float]) -> float:
    return math.sqrt(dot(vector, vector))


def compute(loss: str, student: list[Feature], teacher: list[Feature]) -> float:
    return LOSSES[loss].compute(student, teacher).item()


def test_hidden_mse():
    student, teacher = states(), states()
    expected = mean(
        [
            (a - b) ** 2
            for v, w in zip(vectors(student), vectors(teacher), strict=True)
            for a, b in zip(v, w, strict=True)
        ]
    )
    assert compute("hidden_mse", [student], [teacher]) == pytest.approx(expected, rel=1e-12)


def test_cosine():
    student, teacher = states(), states()
    pairs = list(zip(vectors(student), vectors(teacher), strict=True))
    expected = mean([1 - dot(v, w) / length(v) / length(w) for v, w in pairs])
    assert compute("cos", [student], [teacher]) == pytest.approx(expected, rel=1e-12)


def test_patient_distance_is_over_all_positions():
    student, teacher = states(), states()
    expected = mean(
        [
            math.fsum((a / length(v) - b / length(w)) ** 2 for a, b in zip(v, w, strict=True))
            for v, w in zip(vectors(student), vectors(teacher), strict=True)
        ]
    )
    assert compute("pkd", [student], [teacher]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["fsp", "gram"])
def test_gram_of_widths(name):
    student, teacher = [states(), states()], [states(), states()]

    def gram(features, sentence, i, j):
        steps = range(LENGTHS[sentence])
        first, second = (feature.values[sentence] for feature in features)
        return math.fsum(float(first[t, i] * second[t, j]) for t in steps) / LENGTHS[sentence]

    cells = [(s, i, j) for s in range(len(LENGTHS)) for i in range(WIDTH) for j in range(WIDTH)]
    expected = mean([(gram(student, *cell) - gram(teacher, *cell)) ** 2 for cell in cells])
    assert compute(name, student, teacher) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["nst", "mmd"])
def test_gram_of_positions_for_any_widths(name):
    student, teacher = [states(2), states(2)], [states(5), states(5)]

    def gram(features, sentence, t, u):
        first, second = features[0].values[sentence, t].tolist(), features[1].values[sentence, u].tolist()
        return dot(first, second) / len(first)

    cells = [(s, t, u) for s, n in enumerate(LENGTHS) for t in range(n) for u in range(n)]
    expected = mean([(gram(student, *cell) - gram(teacher, *cell)) ** 2 for cell in cells])
    assert compute(name, student, teacher) == pytest.approx(expected, rel=1e-12)


def test_attention_mse():
    student, teacher = scores(), scores()
    cells = [(s, h, q, k) for s, q, k in PAIRS.nonzero().tolist() for h in range(HEADS)]
    expected = mean([float(student.values[cell] - teacher.values[cell]) ** 2 for cell in cells])
    assert compute("attention_mse", [student], [teacher]) == pytest.approx(expected, rel=1e-12)


def test_attention_mse_sum_accepts_any_numbers_of_heads():
    student, teacher = scores(3), scores(2)
    cells = PAIRS.nonzero().tolist()
    expected = mean(
        [float(student.values[s, :, q, k].sum() - teacher.values[s, :, q, k].sum()) ** 2 for s, q, k in cells]
    )
    assert compute("attention_mse_sum", [student], [teacher]) == pytest.approx(expected, rel=1e-12)


def cross_entropy(student: list[float], teacher: list[float]) -> float:
    q, p = ([math.exp(value) / math.fsum(map(math.exp, scores)) for value in scores] for scores in (student, teacher))
    return -math.fsum(p_i * math.log(q_i) for p_i, q_i in zip(p, q, strict=True))


def test_attention_ce():
    student, teacher = scores(), scores()
    queries = [(s, h, q) for s, q in positions() for h in range(HEADS)]
    expected = mean(
        [
            cross_entropy(student.values[s, h, q, : q + 1].tolist(), teacher.values[s, h, q, : q + 1].tolist())
            for s, h, q in queries
        ]
    )
    assert compute("attention_ce", [student], [teacher]) == pytest.approx(expected, rel=1e-12)


def test_attention_ce_mean_accepts_any_numbers_of_heads():
    student, teacher = scores(3), scores(2)
    expected = mean(
        [
            cross_entropy(
                student.values[s, :, q, : q + 1].mean(0).tolist(), teacher.values[s, :, q, : q + 1].mean(0).tolist()
            )
            for s, q in positions()
        ]
    )
    assert compute("attention_ce_mean", [student], [teacher]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", list(LOSSES))
def test_equal_features_are_a_minimum_and_padding_has_no_gradient(name):
    loss = LOSSES[name]
    make = scores if loss.of_attention else states
    teacher = [make() for _ in range(loss.layers)]
    values = [feature.values.clone().requires_grad_() for feature in teacher]
    student = [Feature(value, feature.mask) for value, feature in zip(values, teacher, strict=True)]
    loss.compute(student, teacher).backward()
    for value in values:
        assert value.grad.abs().max() < 1e-9
    moved = [(value.detach() + 0.1 * torch.randn_like(value)).requires_grad_() for value in values]
    loss.compute([Feature(m, f.mask) for m, f in zip(moved, teacher, strict=True)], teacher).backward()
    padded = ~PAIRS[:, None].expand(-1, HEADS, -1, -1) if loss.of_attention else ~MASK
    for value in moved:
        assert value.grad.isfinite().all() and (value.grad[padded] == 0).all() and value.grad.any()


def test_pkd_matches_skip_or_last_layers_and_leaves_the_last_student_layer_out():
    """From 12 layers to 6, the paper uses layers 2, 4, 6, 8, 10 (skip) or 7 to 11 (last)."""
    twelve, six = shape(12, 8, 12, 8), shape(6, 8, 6, 4)
    for strategy, expected in (("skip", [2, 4, 6, 8, 10]), ("last", [7, 8, 9, 10, 11])):
        matches = pkd(strategy, twelve, six)
        for stack, proj in (("encoder", None), ("decoder", "linear")):
            of_stack = [match for match in matches if match.feature == f"{stack}.hidden"]
            assert [match.layer_T for match in of_stack] == expected
            assert [match.layer_S for match in of_stack] == [1, 2, 3, 4, 5]
            assert {match.proj for match in of_stack} == {proj} and {match.loss for match in of_stack} == {"pkd"}


def test_a_stack_of_one_layer_has_no_patient_match():
    assert {match.feature for match in pkd("skip", shape(), shape(decoder_layers=1))} == {"encoder.hidden"}
    with pytest.raises(
        DistillationError, match="pkd-last needs a student with two layers in a stack, but this one has one"
    ):
        read_matches("pkd-last", shape(), shape(layers=1, decoder_layers=1))
    with pytest.raises(DistillationError, match=r"layer_T of a match of encoder.hidden must be within .* but is -"):
        read_matches("pkd-last", shape(layers=2), shape(layers=6))


def test_distilbert_matches_the_last_states_by_their_cosine():
    matches = distilbert(shape(), shape(6, 8, 1, 4))
    assert [(match.feature, match.layer_T, match.layer_S, match.loss, match.proj) for match in matches] == [
        ("encoder.hidden", 6, 6, "cos", None),
        ("decoder.hidden", 6, 1, "cos", "linear"),
    ]


def test_projections_map_the_students_width_to_the_teachers():
    match = Match(6, 1, "decoder.hidden", "hidden_mse", proj="relu")
    projection = match.projection(shape(), shape(decoder_layers=1, decoder_width=4))
    projected = projection(torch.randn(2, 4))
    assert projected.shape == (2, 8) and (projected >= 0).all()
    assert Match(6, 6, "encoder.hidden", "cos").projection(shape(), shape()) is None


def test_matches_are_read_from_yaml_and_json(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "- {layer_T: 6, layer_S: 1, feature: decoder.hidden, loss: hidden_mse, proj: linear, weight: 2}\n"
        "- {layer_T: [0, 6], layer_S: [0, 1], feature: decoder.hidden, loss: nst, schedule: linear_decay}\n"
    )
    entries: list[dict[str, Any]] = [
        {"layer_T": 5, "layer_S": 1, "feature": "decoder.cross_attention", "loss": "attention_ce"}
    ]
    (tmp_path / "b.json").write_text(json.dumps(entries))
    student = shape(decoder_layers=1, decoder_width=4)
    first, second = read_matches(str(tmp_path / "a.yaml"), shape(), student)
    assert (first.weight, first.proj, second.student_layers, second.schedule) == (2, "linear", (0, 1), "linear_decay")
    assert read_matches(str(tmp_path / "b.json"), shape(), student) == [Match(**entries[0])]


GOOD = {"layer_T": 6, "layer_S": 1, "feature": "decoder.hidden", "loss": "hidden_mse", "proj": "linear"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature": "hidden"}, "feature of a match must be one of encoder.hidden, .*, but is 'hidden'"),
        ({"loss": "kl"}, "loss of a match must be one of hidden_mse, .*, but is 'kl'"),
        ({"loss": "attention_ce"}, "loss of a match must be one of hidden_mse, .* for hidden states, but is"),
        ({"feature": "encoder.attention"}, "one of attention_mse, .* for attention, but is 'hidden_mse'"),
        ({"layer_S": [0, 1]}, "layer_S of a match must name 1 layers for the loss hidden_mse, but names 2"),
        ({"loss": "fsp"}, "layer_T of a match must name 2 layers for the loss fsp, but names 1"),
        ({"layer_T": 7}, "layer_T of a match of decoder.hidden must be within 0 and 6, but is 7"),
        ({"layer_S": 2}, "layer_S of a match of decoder.hidden must be within 0 and 1, but is 2"),
        ({"proj": None}, "or a projection, but the student's width is 4 and the teacher's 8; add proj: linear"),
        ({"proj": "conv"}, "proj of a match must be one of none, linear, relu, tanh, gelu, but is 'conv'"),
        ({"weight": -1}, "weight of a match must be a finite number of at least 0, but is -1"),
        ({"weight": math.inf}, "weight of a match must be a finite number of at least 0, but is "),
        ({"weight": "1e-2"}, "weight of a match must be a finite number of at least 0, but is '1e-2'"),
        ({"layer_T": True}, "layer_T of a match must be one or two whole numbers, but is True"),
        ({"layer_S": "1"}, "layer_S of a match must be one or two whole numbers, but is '1'"),
        ({"schedule": "cosine"}, "schedule of a match must be one of constant, .*, but is 'cosine'"),
        ({"wieght": 1}, "a match must have layer_T, .* and may have weight, proj, schedule, but this one has wieght"),
        (
            {"feature": "encoder.attention", "loss": "attention_mse", "layer_T": 0, "proj": None},
            "must be within 1 and 6",
        ),
        ({"feature": "encoder.attention", "loss": "attention_mse"}, "proj of a match needs hidden states"),
    ],
    ids=str,
)
def test_the_error_for_an_impossible_match_names_its_position(tmp_path, changes, message):
    file = tmp_path / "matches.yaml"
    file.write_text(json.dumps([GOOD, {**GOOD, **changes}]))
    with pytest.raises(DistillationError, match=rf"matches\.yaml, match 2 \{{.*{message}"):
        read_matches(str(file), shape(), shape(decoder_layers=1, decoder_width=4))


def test_anything_but_a_list_of_matches_is_refused(tmp_path):
    teacher, student = shape(), shape()
    with pytest.raises(DistillationError, match="one of pkd-skip, pkd-last, distilbert, or a file, but are 'x'"):
        read_matches("x", teacher, student)
    for content, message in (
        ("a: [", "cannot be read as YAML: .*; give a list of matches"),
        ("{}", "must hold a list"),
        ("[]", "must hold a list"),
    ):
        (tmp_path / "bad").write_text(content)
        with pytest.raises(DistillationError, match=message):
            read_matches(str(tmp_path / "bad"), teacher, student)

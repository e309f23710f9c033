"""Options of the generator, and their bundles."""

from dataclasses import replace
from typing import Any

import pytest

from weightdistill.errors import DistillationError
from weightdistill.method.config import BUNDLES, CHOICES, GeneratorConfig


@pytest.mark.parametrize("field", CHOICES)
def test_the_error_for_an_unknown_value_names_field_value_and_choices(field):
    options: dict[str, Any] = {field: "nonsense"}
    with pytest.raises(DistillationError, match=rf"generator {field} must be one of .*'nonsense'") as caught:
        GeneratorConfig(**options)
    assert all(choice in str(caught.value) for choice in CHOICES[field])


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in CHOICES for value in CHOICES[field]])
def test_every_choice_is_accepted(field, value):
    assert getattr(GeneratorConfig(**{field: value}), field) == value


def test_a_broken_expression_is_refused():
    with pytest.raises(DistillationError, match=r"generate must be a regular expression, but is '\(': "):
        GeneratorConfig(generate="(")


def test_the_bundles_follow_the_paper_and_the_authors():
    """What `authors` computes is in test_authors.py."""
    assert set(BUNDLES) == {"default", "paper", "authors"}
    assert BUNDLES["default"] == GeneratorConfig()
    paper = BUNDLES["paper"]
    assert (paper.sharing, paper.map_init, paper.layer_init, paper.gate_init) == ("class", "xavier", "mean", "ones")
    assert paper.gate and paper.learn_maps and paper.learn_layer_weights
    assert not BUNDLES["default"].by_class and not paper.by_class


def test_classes_may_have_other_options_of_which_the_last_prevail():
    config = GeneratorConfig(
        layer_init="last",
        by_class='{"encoder.*": {"gate": false, "map_init": "xavier"}, '
        '".*fc[12].weight": {"gate": true, "equal_maps": "learn"}}',
    )
    plain = GeneratorConfig(layer_init="last")
    assert config.of_class("decoder.fc1.bias") == plain
    assert config.of_class("encoder.fc1.bias") == replace(plain, gate=False, map_init="xavier")
    assert config.of_class("encoder.fc1.weight") == replace(plain, map_init="xavier", equal_maps="learn")


@pytest.mark.parametrize(
    ("by_class", "message"),
    [
        ('{"encoder.*": ', r"by_class must be JSON, but is '\{\"encoder\.\*\": ': .*; fix it"),
        ("[" * 100_000, r"by_class must be JSON, but is '\[\[.*: maximum recursion depth"),
        ("encoder.*", r"by_class must be JSON, but is 'encoder\.\*': .*; fix it"),
        ('["encoder.*"]', r"by_class must map regular expressions to options, but is '\[.*; write \{\"EXPRESSION"),
        ('{"encoder.*": "ones"}', "by_class must map regular expressions to options"),
        ('{"(": {"gate": false}}', r"by_class must be a regular expression, but is '\(': "),
        ('{"encoder.*": {"gat": 1}}', r"by_class, encoder\.\*: an option must be one of sharing, .*, but is gat$"),
        ('{"encoder.*": {"generate": "fc1"}}', "an option must be one of .*, but is generate$"),
        ('{"encoder.*": {"by_class": "fc1"}}', "an option must be one of .*, but is by_class$"),
        ('{"encoder.*": {"gate": 1}}', r"by_class, encoder\.\*: generator gate must be true or false, but is 1"),
        ('{"encoder.*": {"gate_init": "twos"}}', "gate_init must be one of ones, preserving, but is 'twos'"),
        ('{"encoder.*": {"gate_init": ["ones"]}}', r"gate_init must be one of ones, preserving, but is \['ones'\]"),
    ],
)
def test_the_error_for_options_of_classes_names_the_rule_and_the_value(by_class, message):
    with pytest.raises(DistillationError, match=message) as caught:
        GeneratorConfig(by_class=by_class)
    assert "\n" not in str(caught.value)

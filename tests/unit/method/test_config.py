"""Options of the generator, and their bundles."""

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
    assert set(BUNDLES) == {"default", "paper", "authors"}
    assert BUNDLES["default"] == GeneratorConfig()
    assert BUNDLES["paper"].sharing == "class"
    assert BUNDLES["authors"].sharing == "instance"
    assert BUNDLES["authors"].equal_maps == "decoder"
    for bundle in (BUNDLES["paper"], BUNDLES["authors"]):
        assert (bundle.map_init, bundle.layer_init, bundle.gate_init) == ("xavier", "mean", "ones")
        assert bundle.gate and bundle.learn_maps and bundle.learn_layer_weights

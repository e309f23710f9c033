"""Options of the generator, and named bundles of them.

There is an option wherever the paper and the authors' code differ, or the best choice is unknown.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from weightdistill.errors import DistillationError

NAMED_LAYERS = ("first", "middle", "last")
"""Starts of W_L that are one layer of the subset."""


@dataclass(frozen=True)
class GeneratorConfig:
    """How student weights are generated from the teacher's.

    The metadata of each field contain its description (`help`) and, for a fixed set of values, these (`choices`). The
    defaults did best on the validation set of Multi30k when changed one at a time (the sweep `defaults`).

    Raises:
        DistillationError: A value is of another type, is not one of the choices, or is not a regular expression; or
            `by_class` does not map regular expressions to options.
    """

    sharing: str = field(
        default="class",
        metadata={
            "help": "maps and layer weights are shared by a class (the paper), or belong to one student weight "
            "(instance: the authors' code)",
            "choices": ("class", "instance"),
        },
    )
    equal_maps: str = field(
        default="skip",
        metadata={
            "help": "map where teacher and student dimension are equal: skip it, learn it, or learn it in the decoder "
            "only",
            "choices": ("skip", "learn", "decoder"),
        },
    )
    map_init: str = field(
        default="select",
        metadata={
            "help": "start of W_I and W_O: random, uniform (xavier) or normal (xavier_normal: the authors' code); "
            "evenly spaced entries with heads kept whole (select); or one projection per residual stream from the "
            "teacher's embeddings (aligned)",
            "choices": ("xavier", "xavier_normal", "select", "aligned"),
        },
    )
    layer_init: str = field(
        default="middle",
        metadata={
            "help": "start of W_L: 1/r for each of the r layers of the subset (mean), normal with mean 0 and deviation "
            "1/r (random: the authors' code), or one-hot on its first, middle or last layer",
            "choices": ("mean", "random", *NAMED_LAYERS),
        },
    )
    gate_init: str = field(
        default="preserving",
        metadata={
            "help": "start of the gate: W=1 and B=0 (ones), or W=T/tanh(T) and B=0, which passes the weight unchanged "
            "(preserving)",
            "choices": ("ones", "preserving"),
        },
    )
    gate: bool = field(
        default=True,
        metadata={"help": "whether there is a gate; without one the transformed teacher weight is the student's"},
    )
    learn_maps: bool = field(
        default=True,
        metadata={"help": "whether W_I and W_O are trained, or stay as they start"},
    )
    learn_layer_weights: bool = field(
        default=True,
        metadata={"help": "whether W_L is trained, or stays as it starts"},
    )
    generate: str = field(
        default=".*",
        metadata={"help": "regular expression: classes of weights whose whole name matches are generated"},
    )
    rest: str = field(
        default="train",
        metadata={
            "help": "classes that are not generated: train them from a fresh start, copy the teacher's and freeze "
            "them, or train them from the teacher's (tune; from a fresh start where the sizes differ)",
            "choices": ("train", "copy", "tune"),
        },
    )
    by_class: str = field(
        default="",
        metadata={
            "help": "other options for some classes, in JSON: regular expressions, and what applies where one matches "
            'the whole name, as in {"encoder.*": {"gate": false}}; of several, the last prevails'
        },
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            value, choices = getattr(self, option.name), CHOICES.get(option.name)
            if choices and value not in choices:
                raise DistillationError(
                    f"generator {option.name} must be one of {', '.join(choices)}, but is {value!r}"
                )
            if isinstance(option.default, bool) and not isinstance(value, bool):
                raise DistillationError(f"generator {option.name} must be true or false, but is {value!r}")
        _require_expression("generate", self.generate)
        for expression, options in _parsed(self.by_class).items():
            _require_expression("by_class", expression)
            try:
                replace(self, by_class="", **options)
            except DistillationError as error:
                raise DistillationError(f"generator by_class, {expression}: {error}") from None

    def of_class(self, name: str) -> "GeneratorConfig":
        """Return the options of one weight class.

        Args:
            name: The class, such as `decoder.fc1.weight`.
        """
        given = {
            option: value
            for expression, options in _parsed(self.by_class).items()
            if re.fullmatch(expression, name)
            for option, value in options.items()
        }
        return replace(self, by_class="", **given)

    def require_matches(self, names: Sequence[str]) -> None:
        """Check that each expression of `by_class` matches a class; of a bundle, some may match none.

        Args:
            names: The weight classes of a model.

        Raises:
            DistillationError: An expression matches none.
        """
        if self.by_class in {bundle.by_class for bundle in BUNDLES.values()}:
            return
        for expression in _parsed(self.by_class):
            if not any(re.fullmatch(expression, name) for name in names):
                raise DistillationError(
                    f"generator by_class must match weight classes, but {expression!r} matches none; the classes are "
                    f"{', '.join(names)}"
                )


def _require_expression(name: str, value: str) -> None:
    try:
        re.compile(value)
    except re.error as error:
        raise DistillationError(
            f"generator {name} must be a regular expression, but is {value!r}: {error}; fix it"
        ) from None


def _parsed(by_class: str) -> dict[str, dict[str, Any]]:
    """Read the options of each regular expression from JSON."""
    try:
        parsed = json.loads(by_class or "{}")
    except (json.JSONDecodeError, RecursionError) as error:
        raise DistillationError(f"generator by_class must be JSON, but is {by_class[:80]!r}: {error}; fix it") from None
    allowed = [option.name for option in fields(GeneratorConfig) if option.name not in ("generate", "by_class")]
    if not isinstance(parsed, dict) or not all(isinstance(options, dict) for options in parsed.values()):
        raise DistillationError(
            f"generator by_class must map regular expressions to options, but is {by_class!r}; write "
            '{"EXPRESSION": {"OPTION": VALUE}}'
        )
    for expression, options in parsed.items():
        if unknown := [str(option) for option in options if option not in allowed]:
            raise DistillationError(
                f"generator by_class, {expression}: an option must be one of {', '.join(allowed)}, but is "
                f"{', '.join(unknown)}"
            )
    return parsed


CHOICES: Mapping[str, tuple[str, ...]] = {
    option.name: option.metadata["choices"] for option in fields(GeneratorConfig) if "choices" in option.metadata
}
"""Values of each option with a fixed set of them."""

_NO_LAYER_WEIGHTS = {"layer_init": "first", "learn_layer_weights": False}  # W_L stays 1

BUNDLES: Mapping[str, GeneratorConfig] = {
    "default": GeneratorConfig(),
    "paper": GeneratorConfig(
        sharing="class", equal_maps="learn", map_init="xavier", layer_init="mean", gate_init="ones"
    ),
    "authors": GeneratorConfig(
        sharing="instance",
        equal_maps="decoder",
        map_init="xavier_normal",
        layer_init="random",
        gate_init="ones",
        generate=r"(?!\w+\.(embed_positions|layer.*norm)).*",
        by_class=json.dumps(
            {
                "encoder.*": _NO_LAYER_WEIGHTS,
                "decoder.(embed_tokens|output_projection).*": {"equal_maps": "skip", **_NO_LAYER_WEIGHTS},
                "decoder.output_projection.*": {"gate": False},
                "(encoder|decoder).layer.*norm.*": {"rest": "tune"},
            }
        ),
    ),
}
"""`paper` follows its equations, `authors` their published code; `default` did best in our measurements."""

"""Options of the generator, and named bundles of them.

There is an option wherever the paper and the authors' code differ, or the best choice is unknown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from weightdistill.errors import DistillationError


@dataclass(frozen=True)
class GeneratorConfig:
    """How student weights are generated from the teacher's.

    The metadata of each field contain its description (`help`) and, for a fixed set of values, these (`choices`). The
    defaults did best on the validation set of Multi30k when changed one at a time (the sweep `defaults`).

    Raises:
        DistillationError: A value is not one of the choices, or not a regular expression.
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
            "help": "start of W_I and W_O: random (xavier), evenly spaced entries with heads kept whole (select), or "
            "one projection per residual stream from the teacher's embeddings (aligned)",
            "choices": ("xavier", "select", "aligned"),
        },
    )
    layer_init: str = field(
        default="middle",
        metadata={
            "help": "start of W_L: 1/r for each layer of the subset (mean), or one-hot on its first, middle or last "
            "layer",
            "choices": ("mean", "first", "middle", "last"),
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
            "help": "classes that are not generated: train them from a fresh start, or copy the teacher's and freeze "
            "them",
            "choices": ("train", "copy"),
        },
    )

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise DistillationError(f"generator {name} must be one of {', '.join(choices)}, but is {value!r}")
        try:
            re.compile(self.generate)
        except re.error as error:
            raise DistillationError(
                f"generator generate must be a regular expression, but is {self.generate!r}: {error}; fix it"
            ) from None


CHOICES: Mapping[str, tuple[str, ...]] = {
    option.name: option.metadata["choices"] for option in fields(GeneratorConfig) if "choices" in option.metadata
}
"""Values of each option with a fixed set of them."""

BUNDLES: Mapping[str, GeneratorConfig] = {
    "default": GeneratorConfig(),
    "paper": GeneratorConfig(
        sharing="class", equal_maps="learn", map_init="xavier", layer_init="mean", gate_init="ones"
    ),
    "authors": GeneratorConfig(
        sharing="instance", equal_maps="decoder", map_init="xavier", layer_init="mean", gate_init="ones"
    ),
}
"""`paper` follows its equations, `authors` their published code; `default` did best in our measurements."""

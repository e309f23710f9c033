"""Options of the generator, and the named bundles of them.

Where the paper and the authors' code differ, or nobody knows, there is an option; `BUNDLES` names the combinations.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weightdistill.errors import DistillationError


@dataclass(frozen=True)
class GeneratorConfig:
    """How student weights are generated from the teacher's.

    The defaults did best on Multi30k's validation set, changed one at a time (the sweep `defaults`).
    """

    sharing: str = "class"
    """Maps and layer weights are shared by a class (the paper), or belong to one student weight (`instance`)."""
    equal_maps: str = "skip"
    """Map when teacher and student dimension are equal: `skip` it, `learn` it, or learn it in the `decoder` only."""
    map_init: str = "select"
    """Start of W_I and W_O: `xavier`, `select` (evenly spaced entries, heads whole) or `aligned` (one projection for
    each residual stream, from the teacher's embeddings)."""
    layer_init: str = "middle"
    """Start of W_L: `mean` (1/r), or one-hot on the `first`, `middle` or `last` layer of the subset."""
    gate_init: str = "preserving"
    """Start of the gate: `ones` (W=1, B=0) or `preserving` (W=T/tanh(T), B=0, so that the weight passes unchanged)."""
    gate: bool = True
    """Whether there is a gate; without one the transformed teacher weight is the student's."""
    learn_maps: bool = True
    """Whether W_I and W_O are trained; otherwise they stay as `map_init` made them."""
    learn_layer_weights: bool = True
    """Whether W_L is trained; otherwise it stays as `layer_init` made it."""
    generate: str = ".*"
    """Regular expression: classes of weights whose whole name matches are generated."""
    rest: str = "train"
    """The classes that are not generated: `train` them from a fresh start, or `copy` the teacher's and freeze them."""

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            if (value := getattr(self, field)) not in choices:
                raise DistillationError(f"generator {field} must be one of {', '.join(choices)}, but is {value!r}")
        try:
            re.compile(self.generate)
        except re.error as error:
            raise DistillationError(
                f"generator generate must be a regular expression, but is {self.generate!r}: {error}"
            ) from None


CHOICES: Mapping[str, tuple[str, ...]] = {
    "sharing": ("class", "instance"),
    "equal_maps": ("skip", "learn", "decoder"),
    "map_init": ("xavier", "select", "aligned"),
    "layer_init": ("mean", "first", "middle", "last"),
    "gate_init": ("ones", "preserving"),
    "rest": ("train", "copy"),
}
"""Values of each option that has a fixed set of them."""

BUNDLES: Mapping[str, GeneratorConfig] = {
    "default": GeneratorConfig(),
    "paper": GeneratorConfig(
        sharing="class", equal_maps="learn", map_init="xavier", layer_init="mean", gate_init="ones"
    ),
    "authors": GeneratorConfig(
        sharing="instance", equal_maps="decoder", map_init="xavier", layer_init="mean", gate_init="ones"
    ),
}
"""`paper`: its equations. `authors`: what their code does. `default`: the best that was measured."""

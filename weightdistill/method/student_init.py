"""Students initialised from teacher weights: the baselines of the parameter generator.

An initialisation is named `LAYERS:WIDTHS`: which teacher layers are copied, and how their rows and columns are reduced
for a narrower student. Knows names, shapes and tensors, like the generator.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from weightdistill.errors import DistillationError
from weightdistill.method.generator import WeightGenerator
from weightdistill.method.grouping import group_weights, subsets_of_adjacent_layers
from weightdistill.method.initialisation import MapInitialiser
from weightdistill.method.shape import TransformerShape

LAYERS = ("first", "last", "one-of-two", "spaced", "middle")
"""Teacher layers to copy: the first k, the last k (Sun et al., 2019), every second one (Sanh et al., 2019), evenly
spaced ones that include the last, or the middle one of each subset of adjacent layers, like the generator's default."""
WIDTHS = ("select", "truncate", "aligned", "svd")
"""Reduction of rows and columns: evenly spaced ones with intact heads ("weight selection", Xu et al., 2024); the first
ones; one projection per residual stream (see `GeneratorConfig.map_init`); or evenly spaced ones of the best
approximation of the student's rank."""
NAMES = ("random", "generator", *(f"{layers}:{widths}" for layers in LAYERS for widths in WIDTHS))
"""All initialisations. `random` keeps the fresh weights; `generator` is what an untrained generator returns."""


def require_known(name: str) -> None:
    """Check the name of an initialisation.

    Raises:
        DistillationError: The name is neither one of NAMES nor one of LAYERS.
    """
    if name not in NAMES and name not in LAYERS:
        raise DistillationError(
            f"student init must be random, generator, LAYERS or LAYERS:WIDTHS, where LAYERS is one of "
            f"{', '.join(LAYERS)} and WIDTHS one of {', '.join(WIDTHS)}, but is {name!r}"
        )


def chosen_layers(strategy: str, teacher_layers: int, student_layers: int) -> list[int]:
    """Return the teacher layer, from 0, that each student layer is copied from.

    Args:
        strategy: One of LAYERS.
        teacher_layers: Depth of the teacher's stack.
        student_layers: Depth of the student's stack.

    Raises:
        DistillationError: The student is deeper than the teacher, or too deep for every second layer.
    """
    subsets = subsets_of_adjacent_layers(teacher_layers, student_layers)
    if strategy == "one-of-two" and 2 * student_layers > teacher_layers + 1 and student_layers != teacher_layers:
        raise DistillationError(
            f"student init one-of-two copies {(teacher_layers + 1) // 2} of {teacher_layers} layers, but the student "
            f"has {student_layers}; use spaced"
        )
    return [
        {
            "first": layer,
            "last": teacher_layers - student_layers + layer,
            "one-of-two": layer if student_layers == teacher_layers else 2 * layer,
            "spaced": (layer + 1) * teacher_layers // student_layers - 1,
            "middle": subset.start + (len(subset) - 1) // 2,
        }[strategy]
        for layer, subset in enumerate(subsets)
    ]


def initial_student(
    name: str,
    teacher_state: Mapping[str, Tensor],
    teacher_shape: TransformerShape,
    student_state: Mapping[str, Tensor],
    student_shape: TransformerShape,
    aliases: Mapping[str, str] | None = None,
) -> dict[str, Tensor]:
    """Make the initial weights of a student, in float32.

    Args:
        name: One of NAMES, or one of LAYERS, which stands for LAYERS:select.
        teacher_state: Canonical state of the teacher.
        teacher_shape: Shape of the teacher.
        student_state: Freshly initialised weights of the student under canonical names, each tied weight once.
        student_shape: Shape of the student.
        aliases: Tied names, each with the name of the weight that it shares.

    Returns:
        A weight for every name in `student_state`, of the same shape.

    Raises:
        DistillationError: There is no such initialisation, or it does not fit this teacher and student.
    """
    require_known(name)
    if name == "random":
        return dict(student_state)
    if name == "generator":
        generator = WeightGenerator(teacher_state, teacher_shape, student_state, student_shape, aliases)
        state = generator.materialise()
        return {student_name: state[student_name] for student_name in student_state}
    layers, _, widths = name.partition(":")
    maps = MapInitialiser("aligned" if widths == "aligned" else "select", teacher_shape, student_shape, teacher_state)
    result = {}
    for group in group_weights(teacher_state, student_state):
        depths = len(group.teacher_names), len(group.student_names)
        teacher_layers = chosen_layers(layers, *depths) if group.weight_class.layered else [0]
        for student_name, layer in zip(group.student_names, teacher_layers, strict=True):
            weight, size = teacher_state[group.teacher_names[layer]].float(), student_state[student_name].shape
            if widths == "svd" and weight.shape != size and weight.ndim == 2:
                weight = low_rank(weight, min(size))
            for dimension, (axis, after) in enumerate(zip(group.weight_class.axes, size, strict=True)):
                if (before := weight.shape[dimension]) == after:
                    continue
                axis.require_mappable(student_name, before, after)
                if widths == "truncate":
                    weight = weight.narrow(dimension, 0, after)
                else:
                    mapping = maps(axis, before, after)  # (before, after)
                    weight = torch.tensordot(weight, mapping, dims=([dimension], [0])).movedim(-1, dimension)
            result[student_name] = weight.contiguous()
    return result


def low_rank(weight: Tensor, rank: int) -> Tensor:
    """Return the closest matrix of at most this rank (Eckart and Young, 1936), in the same shape."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    closest: Tensor = (left[:, :rank] * values[:rank]) @ right[:rank]
    return closest

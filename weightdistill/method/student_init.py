"""Students that start from some of their teacher's weights: what the parameter generator is to be compared with.

`LAYERS:WIDTHS` says how a start is made: which teacher layers are copied, and what becomes of their rows and columns
where the student is narrower. Knows names, shapes and tensors, as the generator does.
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
"""The first k, the last k (Sun et al., 2019), every second one (Sanh et al., 2019), evenly spaced ones with the last
among them, or the middle one of each subset of adjacent layers, where the generator starts, too."""
WIDTHS = ("select", "truncate", "aligned", "svd")
"""Evenly spaced rows and columns with heads kept whole ("weight selection", Xu et al., 2024); the first ones; one
projection for each residual stream (see `GeneratorConfig.map_init`); or evenly spaced ones of the best approximation of
the student's rank."""
NAMES = ("random", "generator", *(f"{layers}:{widths}" for layers in LAYERS for widths in WIDTHS))
"""All starts: random is the student's own, `generator` what an untrained parameter generator makes."""


def require_known(name: str) -> None:
    """Check the name of a start.

    Raises:
        DistillationError: it is none of NAMES, nor one of LAYERS.
    """
    if name not in NAMES and name not in LAYERS:
        raise DistillationError(
            f"student init must be random, generator, LAYERS or LAYERS:WIDTHS with LAYERS of {', '.join(LAYERS)} and "
            f"WIDTHS of {', '.join(WIDTHS)}, but is {name!r}"
        )


def chosen_layers(strategy: str, teacher_layers: int, student_layers: int) -> list[int]:
    """The teacher layer, from 0, that each student layer is copied from.

    Raises:
        DistillationError: the student is deeper than the teacher, or too deep for one layer of two.
    """
    subsets = subsets_of_adjacent_layers(teacher_layers, student_layers)
    if strategy == "one-of-two" and 2 * student_layers > teacher_layers + 1 and student_layers != teacher_layers:
        raise DistillationError(
            f"every second one of {teacher_layers} layers makes {(teacher_layers + 1) // 2}, but the student has "
            f"{student_layers}; take spaced"
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
    """The weights that a student starts from, in float32.

    Args:
        name: one of NAMES; or one of LAYERS, with selected widths.
        teacher_state: teacher's canonical state.
        teacher_shape: its shape.
        student_state: the student's freshly initialised weights under canonical names, each tied weight once.
        student_shape: its shape.
        aliases: tied names, each with the name of the weight that it shares.

    Returns:
        A weight for every name in `student_state`, of the same shape.

    Raises:
        DistillationError: no such start, or one that this student cannot have from this teacher.
    """
    require_known(name)
    if name == "random":
        return dict(student_state)
    if name == "generator":
        generator = WeightGenerator(teacher_state, teacher_shape, student_state, student_shape, aliases)
        state = generator.materialise()
        return {own: state[own] for own in student_state}
    layers, _, widths = name.partition(":")
    maps = MapInitialiser("aligned" if widths == "aligned" else "select", teacher_shape, student_shape, teacher_state)
    result = {}
    for group in group_weights(teacher_state, student_state):
        depths = len(group.teacher_names), len(group.student_names)
        sources = chosen_layers(layers, *depths) if group.weight_class.layered else [0]
        for own, source in zip(group.student_names, sources, strict=True):
            weight, size = teacher_state[group.teacher_names[source]].float(), student_state[own].shape
            if widths == "svd" and weight.shape != size and weight.ndim == 2:
                weight = low_rank(weight, min(size))
            for dimension, (axis, after) in enumerate(zip(group.weight_class.axes, size, strict=True)):
                if (before := weight.shape[dimension]) == after:
                    continue
                axis.require_mappable(own, before, after)
                if widths == "truncate":
                    weight = weight.narrow(dimension, 0, after)
                else:
                    mapping = maps(axis, before, after)  # (before, after)
                    weight = torch.tensordot(weight, mapping, dims=([dimension], [0])).movedim(-1, dimension)
            result[own] = weight.contiguous()
    return result


def low_rank(weight: Tensor, rank: int) -> Tensor:
    """The closest matrix of at most this rank (Eckart and Young, 1936); same shape."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    closest: Tensor = (left[:, :rank] * values[:rank]) @ right[:rank]
    return closest

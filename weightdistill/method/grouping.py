"""Groups of teacher weights, and the subsets of adjacent layers that generate each student weight.

Lin et al. (2021), section 3.1. Knows only names and shapes, no values.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from weightdistill.errors import DistillationError
from weightdistill.method.layout import WeightClass, WeightName, require_known


@dataclass(frozen=True)
class Group:
    """All weights of one class in the teacher, and the student weights that they generate.

    Attributes:
        weight_class: The class of all these weights.
        teacher_names: L_t names, ordered by layer.
        student_names: L_s names, ordered by layer.
        subsets: The adjacent teacher layers that generate each student weight; together they cover all L_t layers.
    """

    weight_class: WeightClass
    teacher_names: Sequence[str]
    student_names: Sequence[str]
    subsets: Sequence[range]


def subsets_of_adjacent_layers(teacher_layers: int, student_layers: int) -> list[range]:
    """Split the teacher's layers into subsets of adjacent layers, one for each student layer.

    Their sizes differ by at most one; larger subsets come first.

    Raises:
        DistillationError: The student has no layer, or more layers than the teacher.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise DistillationError(
            f"the student's depth must be between 1 and the teacher's depth ({teacher_layers}), but is "
            f"{student_layers}; choose a shallower student"
        )
    size, longer = divmod(teacher_layers, student_layers)
    starts = [layer * size + min(layer, longer) for layer in range(student_layers + 1)]
    return [range(start, end) for start, end in pairwise(starts)]


def group_weights(teacher: Iterable[str], student: Iterable[str]) -> list[Group]:
    """Group the teacher's weights by class.

    Classes that the student lacks are left out.

    Args:
        teacher: Canonical names of the teacher's weights.
        student: Canonical names of the student's weights, each tied weight once.

    Raises:
        DistillationError: The teacher lacks a class of the student, a stack of the student is deeper, the layout does
            not contain some names, or a layer lacks a weight that other layers have.
    """
    teacher_names, student_names = (_by_class(require_known(names)) for names in (teacher, student))
    if missing := [weight_class.name for weight_class in student_names if weight_class not in teacher_names]:
        raise DistillationError(
            f"the teacher must have every weight class of the student, but lacks {', '.join(missing)}; build the "
            "student with the teacher's kind of normalisation, positions and biases"
        )
    groups = []
    for weight_class, names in student_names.items():
        names_of_teacher = teacher_names[weight_class]
        try:
            subsets = subsets_of_adjacent_layers(len(names_of_teacher), len(names))
        except DistillationError as error:
            raise DistillationError(f"{weight_class.stack}: {error}") from None
        groups.append(Group(weight_class, names_of_teacher, names, subsets))
    return groups


def _by_class(names: Mapping[str, WeightName]) -> dict[WeightClass, list[str]]:
    """Collect the names of each class, ordered by layer, and check that every layer has them."""
    by_class: dict[WeightClass, list[str]] = {}
    for name in sorted(names, key=lambda name: names[name].layer or 0):
        by_class.setdefault(names[name].weight_class, []).append(name)
    for stack in ("encoder", "decoder"):
        depth = max((1 + (name.layer or 0) for name in names.values() if name.weight_class.stack == stack), default=0)
        for weight_class, of_class in by_class.items():
            if weight_class.stack == stack and weight_class.layered and len(of_class) != depth:
                raise DistillationError(
                    f"{weight_class.name} must be in each of the {depth} {stack} layers, but is only in "
                    f"{', '.join(of_class)}; use a complete checkpoint"
                )
    return by_class

"""Groups of teacher weights, and the subsets of adjacent layers from which each student weight is generated.

Lin et al. (2021), section 3.1. Knows names and shapes only, no values.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from weightdistill.errors import DistillationError
from weightdistill.method.layout import WeightClass, WeightName, require_known


@dataclass(frozen=True)
class Group:
    """All weights of one class in the teacher, and those of the student that they generate.

    Attributes:
        weight_class: the class that all of them share.
        teacher_names: L_t names, by layer.
        student_names: L_s names, by layer.
        subsets: for each student name, the adjacent teacher layers that generate it; together they cover all L_t.
    """

    weight_class: WeightClass
    teacher_names: Sequence[str]
    student_names: Sequence[str]
    subsets: Sequence[range]


def subsets_of_adjacent_layers(teacher_layers: int, student_layers: int) -> list[range]:
    """Cut the teacher's layers into one run of adjacent layers for each student layer.

    Sizes differ by at most one; the longer subsets come first.

    Raises:
        DistillationError: unless 1 <= student_layers <= teacher_layers.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise DistillationError(
            f"a student must have between 1 and as many layers as its teacher ({teacher_layers}), but has "
            f"{student_layers}; choose a shallower student"
        )
    size, longer = divmod(teacher_layers, student_layers)
    starts = [layer * size + min(layer, longer) for layer in range(student_layers + 1)]
    return [range(start, end) for start, end in pairwise(starts)]


def group_weights(teacher: Iterable[str], student: Iterable[str]) -> list[Group]:
    """Group the teacher's weights by class, for every class that the student has.

    Classes of the teacher that the student lacks are left out.

    Args:
        teacher: canonical names of the teacher's weights.
        student: canonical names of the student's weights, each tied weight once.

    Raises:
        DistillationError: a class that the student has and the teacher lacks; a stack that is deeper in the student;
            names that the layout does not know; a state with a weight missing in one of its layers.
    """
    teacher_names, student_names = (_by_class(require_known(names)) for names in (teacher, student))
    if missing := [weight_class.name for weight_class in student_names if weight_class not in teacher_names]:
        raise DistillationError(
            f"the student has weights of classes that the teacher lacks: {', '.join(missing)}; build the student with "
            "the teacher's kind of normalisation, positions and biases"
        )
    groups = []
    for weight_class, names in student_names.items():
        of_teacher = teacher_names[weight_class]
        try:
            subsets = subsets_of_adjacent_layers(len(of_teacher), len(names))
        except DistillationError as error:
            raise DistillationError(f"{weight_class.stack}: {error}") from None
        groups.append(Group(weight_class, of_teacher, names, subsets))
    return groups


def _by_class(names: Mapping[str, WeightName]) -> dict[WeightClass, list[str]]:
    """Names of each class, ordered by layer; the class must be in every layer."""
    by_class: dict[WeightClass, list[str]] = {}
    for name in sorted(names, key=lambda name: names[name].layer or 0):
        by_class.setdefault(names[name].weight_class, []).append(name)
    for stack in ("encoder", "decoder"):
        depth = max((1 + (name.layer or 0) for name in names.values() if name.weight_class.stack == stack), default=0)
        for weight_class, of_class in by_class.items():
            if weight_class.stack == stack and weight_class.layered and len(of_class) != depth:
                raise DistillationError(
                    f"{weight_class.name} must be in each of the {depth} {stack} layers, but is only in: "
                    f"{', '.join(of_class)}; the state is not whole"
                )
    return by_class

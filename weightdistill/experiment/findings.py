"""What came out of an experiment, in plain words. Emphasis is Markdown's."""

from collections.abc import Sequence

from weightdistill.experiment.comparison import Difference, Experiment, System

_MINUS = "\N{MINUS SIGN}"


def headline(experiment: Experiment) -> str:
    """One sentence: how fast the best student of each shape is, and what that costs."""
    clauses: list[str] = []
    teacher = experiment.teacher
    for preset in experiment.presets:
        best = experiment.students(preset)[0]
        gain = best.bleu(experiment.tests)["mean"] - teacher.bleu(experiment.tests)["mean"]
        clause = f"the best {preset.upper()} student " + ("is" if clauses else "translates")
        clause += f" {times(best)} as fast as the teacher and {'gains' if gain > 0 else 'loses'} {abs(gain):.1f} BLEU"
        if not any(experiment.difference(best, teacher, test).significant for test in experiment.tests):
            clause += " (not significant)"
        clauses.append(clause)
    text = "; ".join(clauses)
    return text[:1].upper() + text[1:] + "."


def times(system: System) -> str:
    """How many times as fast as the teacher a student is."""
    return f"{system.speed['ratio']['median']:.1f} times"


def signed(value: float) -> str:
    """A difference of BLEU with its sign."""
    return f"{value:+.1f}".replace("-", _MINUS)


def judged(experiment: Experiment) -> str:
    """The sets that choose among students."""
    if experiment.judges == ["valid"]:
        return "the validation set"
    return f"{listed(experiment.judges)} (no student was scored on the validation set)"


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def finding(experiment: Experiment, preset: str) -> str:
    """Which student of a shape the validation set chooses, how it does against the teacher, and which group is next.

    The choice is blind to the test sets: their p-values would otherwise be of a difference that was looked for.
    """
    best = experiment.students(preset)[0]
    seeds = len(best.row["seeds"])
    text = (
        f"Best on {judged(experiment)} is **{best.title}**: {best.bleu(experiment.judges)['mean']:.1f} BLEU, "
        f"{'one seed' if seeds == 1 else f'mean of {seeds} seeds'}. "
        f"Against the teacher it is {verdicts(experiment, best, experiment.teacher)}."
    )
    rivals = [system for system in experiment.best_of_groups(preset) if system.group != best.group]
    if rivals:
        text += f" Next comes **{rivals[0].title}**" + f" ({rivals[0].group.lower()})" * experiment.grouped
        text += f". Against it the best student is {verdicts(experiment, best, rivals[0])}."
    return text


def verdicts(experiment: Experiment, system: System, baseline: System) -> str:
    """On which test sets a system is better or worse than another."""
    tests: dict[str, list[str]] = {}
    for test in experiment.tests:
        tests.setdefault(_verdict(experiment.difference(system, baseline, test)), []).append(test)
    return listed([f"{verdict} on {listed(names)}" for verdict, names in tests.items()])


def figures(difference: Difference) -> str:
    """A difference of BLEU with its p-value, where it was tested."""
    return signed(difference.mean) + ("" if difference.p_value is None else f", p = {difference.p_value:.3f}")


def cautions(experiment: Experiment) -> list[str]:
    """What limits the findings."""
    known = []
    if any(len(experiment.students(preset)[0].row["seeds"]) == 1 for preset in experiment.presets):
        known.append(
            "Where a student was trained with one seed, a p-value tells whether two trained models differ on these "
            "sentences. It does not tell whether their methods do."
        )
    if experiment.judges != ["valid"]:
        known.append(
            "The students were ranked by the test sets themselves, so that the p-values of the best one are too small."
        )
    return known


def _verdict(difference: Difference) -> str:
    better = "better" if difference.mean > 0 else "worse"
    if difference.p_value is None:
        return f"{better} (significance not tested)"
    return f"significantly {better}" if difference.significant else "not significantly different"

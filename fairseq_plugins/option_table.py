"""Writes the tables of the plugin's options into this folder's README.md, from where the options are defined.

python -m fairseq_plugins.option_table            rewrites what stands between the two markers
python -m fairseq_plugins.option_table --check    exits with 1 where that is out of date
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from fairseq_plugins.criterions.distillation import DistillationCriterionConfig
from fairseq_plugins.models.generated_transformer import BUNDLE_HELP
from fairseq_plugins.tasks.options import DistillationTaskConfig
from weightdistill.errors import DistillationError
from weightdistill.files import writing
from weightdistill.method.config import BUNDLES, GeneratorConfig

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- Options: written by `python -m fairseq_plugins.option_table`. -->"
END = "<!-- End of the options. -->"


def tables() -> str:
    """Return the options as Markdown: those of the task, of the criterion and of the generator."""
    option_columns = "option", "values", "default", "what it does"
    generator_columns = "option", "values", *map(_code, BUNDLES), "what it does"
    bundle = [_code("--generator"), _code(*BUNDLES), *([""] * len(BUNDLES)), BUNDLE_HELP]
    parts = [
        "### `--task distillation`, besides the options of `translation`",
        _table(option_columns, map(_option_row, _options_of(DistillationTaskConfig))),
        "### `--criterion distillation`",
        _table(option_columns, map(_option_row, _options_of(DistillationCriterionConfig))),
        "### `--arch generated_transformer`, besides the options of `transformer`",
        _table(generator_columns, [bundle, *map(_generator_row, fields(GeneratorConfig))]),
    ]
    return "\n\n".join(parts)


def updated(page: str) -> str:
    """Return a page with the tables between its markers.

    Raises:
        DistillationError: the page lacks a marker.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DistillationError(f"the page must hold the lines {BEGIN} and {END}, between which the options stand")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main(arguments: Sequence[str], path: Path = README) -> int:
    """Rewrite the page, or check it.

    Args:
        arguments: none, or `--check`.
        path: the page.

    Returns:
        The exit code.
    """
    if list(arguments) not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    page = path.read_text(encoding="utf-8")
    if updated(page) == page:
        return 0
    if arguments:
        print(f"{path} is out of date; run python -m fairseq_plugins.option_table", file=sys.stderr)
        return 1
    with writing(path) as temporary:
        temporary.write_text(updated(page), encoding="utf-8")
    return 0


def _options_of(config: type[Any]) -> list[Field[Any]]:
    """List the fields that a configuration of fairseq defines itself, less those that stand for options elsewhere."""
    defined = [config.__dataclass_fields__[name] for name in config.__annotations__]
    return [option for option in defined if not str(option.default).startswith("${")]


def _option_row(option: Field[Any]) -> list[str]:
    return [_code(_flag(option.name)), _values(option), _value(option.default), option.metadata["help"]]


def _generator_row(option: Field[Any]) -> list[str]:
    flags = [_flag(f"generator_{option.name}")]
    if isinstance(option.default, bool):
        flags.append(_flag(f"no_generator_{option.name}"))
    of_bundles = (_value(getattr(bundle, option.name)) for bundle in BUNDLES.values())
    return [_code(*flags), _values(option), *of_bundles, option.metadata["help"]]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _values(option: Field[Any]) -> str:
    """Say what values an option takes; nothing for a switch."""
    if "choices" in option.metadata:
        return _code(*option.metadata["choices"])
    if isinstance(option.default, bool):
        return ""
    return str(option.metadata.get("values", "number" if isinstance(option.default, int | float) else "text"))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value in (None, "") else _code(f"{value:g}" if isinstance(value, float) else str(value))


def _code(*words: str) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Places that options name: which must differ, so that no output replaces an input or another output.

    python -m weightdistill.places PROGRAM OPTION=OUTPUT... -- OPTION=INPUT...

is `require_separate` for the stages; PROGRAM is the name that an error begins with. Reads and writes nothing.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from weightdistill.errors import DistillationError, reported

Place = Path | Iterable[Path] | None
"""What an option names: a file or folder, several, or nothing."""

STANDARD_INPUT = Path("/dev/stdin")
"""Leads to the file that standard input was redirected from."""


def require_separate(outputs: Mapping[str, Place], inputs: Mapping[str, Place]) -> None:
    """Check, before any work, that no output would replace an input or another output.

    Args:
        outputs: What will be written, by the option that names it: a file, several, or a folder that is written anew.
        inputs: What will be read, by the option that names it.

    Raises:
        DistillationError: An input is an output, or lies in a folder that is written anew; an output would replace a
            file in a folder that is read; or two outputs are the same file. Paths are compared after following symbolic
            links.
    """
    written: dict[Path, str] = {}
    for name, path in _named_paths(outputs):
        place = resolved(path)
        if place in written:
            both = name if name == written[place] else f"{written[place]} and {name}"
            raise DistillationError(f"{both} must name different files, but two are {path}; give another name")
        written[place] = name
    for name, path in _named_paths(inputs):
        place = resolved(path)
        replaced = {output: path for output in written if place.is_relative_to(output)}
        replaced |= {output: output for output in written if output.is_file() and output.is_relative_to(place)}
        if replaced:
            output, lost = next(iter(replaced.items()))
            raise DistillationError(
                f"{written[output]} must not replace what is read, but would replace {lost} ({name}); give another path"
            )


def separated_paths(text: str) -> list[Path]:
    """Split the paths that an option names, separated by commas."""
    return [Path(path.strip()) for path in text.split(",") if path.strip()]


def resolved(path: Path) -> Path:
    """Return the absolute path of a file or folder, which need not exist, without symbolic links.

    Raises:
        DistillationError: Its symbolic links form a loop.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError before Python 3.13
        raise DistillationError(f"{path} leads into a loop of symbolic links; remove one of them") from error


def main(arguments: list[str]) -> None:
    """Check the places that a stage names. Wrong arguments print the usage, and end with exit code 1."""
    if "--" not in arguments or not all("=" in word or word == "--" for word in arguments):
        sys.exit(__doc__)
    middle = arguments.index("--")
    require_separate(_places(arguments[:middle]), _places(arguments[middle + 1 :]))


def _named_paths(places: Mapping[str, Place]) -> Iterator[tuple[str, Path]]:
    for name, place in places.items():
        for path in [place] if isinstance(place, Path) else place or ():
            yield name, path


def _places(words: Sequence[str]) -> dict[str, list[Path]]:
    places: dict[str, list[Path]] = {}
    for name, _, path in (word.partition("=") for word in words):
        places.setdefault(name, []).append(Path(path))
    return places


if __name__ == "__main__":
    with reported(sys.argv[1] if len(sys.argv) > 1 else "places"):
        main(sys.argv[2:])

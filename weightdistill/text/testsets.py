"""Converts test sets between SGML or XML and plain text with one segment per line. Knows neither tokens nor scores."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from weightdistill.errors import DistillationError
from weightdistill.files import read_lines, writing
from weightdistill.places import require_separate
from weightdistill.text.sgm import TextSet, read, write_translation


def convert_test_set(
    files: Sequence[Path],
    source: str,
    target: str,
    output: str | Path,
    *,
    encoding: str | None = None,
    reference_encoding: str | None = None,
    references: Sequence[str] = (),
) -> dict[Path, TextSet]:
    """Write the source and the references of one test set as text, one segment per line, in the order of the source.

    Args:
        files: SGML or XML files that hold the source and the references.
        source: Suffix of the file of sources.
        target: Suffix of the file of references; with several references, it is followed by .0, .1 and so on.
        output: Prefix of the files to write.
        encoding: Encoding of all files, see `sgm.read`.
        reference_encoding: Encoding of files that hold only references, see `sgm.read`.
        references: Systems (sysid or translator) of the references to write; default: all.

    Returns:
        The written files, with what each holds.

    Raises:
        DistillationError: See `sgm.read`. Also if there are several sources, or neither a source nor a reference; a
            requested reference does not exist; source and references differ in their segments; a segment is empty; or
            a file cannot be written, or would replace an input or another. Nothing is written unless all sets are
            valid.
    """
    sets = [text_set for file in files for text_set in read(file, encoding, reference_encoding)]
    names = ", ".join(map(str, files))
    sources = [text_set for text_set in sets if text_set.kind == "source"]
    if len(sources) > 1:
        raise DistillationError(
            f"a test set must have one source, but {names} hold {len(sources)}; name the files of one test set"
        )
    chosen = _choose_references([text_set for text_set in sets if text_set.kind == "reference"], references)
    if not sources and not chosen:
        raise DistillationError(
            f"a test set must have a source or a reference, but {names} hold only {', '.join(map(str, sets))}; name "
            "the files with its srcset and refset"
        )
    suffixes = [target] if len(chosen) == 1 else [f"{target}.{number}" for number in range(len(chosen))]
    paths = {
        "--source": [Path(f"{output}.{source}") for _ in sources],
        "--target": [Path(f"{output}.{suffix}") for suffix in suffixes],
    }
    require_separate(paths, {"the test set": files})
    texts = dict(zip((*paths["--target"], *paths["--source"]), (*chosen, *sources), strict=True))
    order = (sources or chosen)[0]
    lines = {path: text_set.lines(order) for path, text_set in texts.items()}
    for text_set in texts.values():
        text_set.require_text()
    with contextlib.ExitStack() as stack:  # all files, or none
        for path in texts:
            temporary = stack.enter_context(writing(path))
            temporary.write_text("".join(f"{line}\n" for line in lines[path]), encoding="utf-8")
    return texts


def convert_translations(
    translations: Path, source: Path, output: Path, system: str, language: str, encoding: str | None = None
) -> TextSet:
    """Write a file of translations as a `tstset` for NIST's scorers.

    Args:
        translations: One line for each segment of the source.
        source: SGML or XML file that holds the source of the test set.
        output: File to write.
        system: Name of the system that translated.
        language: Target language as the test set names it.
        encoding: Encoding of the source, see `sgm.read`.

    Returns:
        The source.

    Raises:
        DistillationError: A file cannot be read; `source` does not hold exactly one source; the number of translations
            differs from that of the segments; or the output cannot be written, or would replace an input.
    """
    require_separate({"--output": output}, {"the translations": translations, "--source": source})
    sources = [text_set for text_set in read(source, encoding) if text_set.kind == "source"]
    if len(sources) != 1:
        raise DistillationError(f"{source} must hold one srcset, but holds {len(sources)}; name the file of the source")
    write_translation(output, read_lines(translations), sources[0], system, language)
    return sources[0]


def _choose_references(references: Sequence[TextSet], systems: Sequence[str]) -> list[TextSet]:
    known = [text_set.system for text_set in references]
    if unknown := sorted(set(systems) - set(known)):
        raise DistillationError(f"--reference must be one of {', '.join(known)}, but is {', '.join(unknown)}")
    return [text_set for text_set in references if not systems or text_set.system in systems]

"""No command replaces what it reads, or writes two results to one file: each ends before any work, with one line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.models import ArgumentInfo

from fairseq_plugins.commands import main as cli

INPUTS: dict[str, tuple[str, ...]] = {
    "benchmark": ("models", "--input", "--vocabulary-map"),
    "check-teacher": ("models", "--text", "--source", "--reference"),
    "clean": ("--source", "--target"),
    "evaluate": ("hypotheses", "--reference", "--source", "--comet"),
    "plan": ("config", "--results"),
    "read-ldc": ("table",),
    "read-sgm": ("files",),
    "read-tmx": ("memory",),
    "translate": ("model", "--input", "--text"),
    "vocabulary-map": ("--source", "--target"),
    "write-sgm": ("translations", "--source"),
}
"""What each command reads, besides folders. A name without dashes is an argument."""
OUTPUTS: dict[str, tuple[str, ...]] = {
    "clean": ("--output-source", "--output-target", "--json"),
    **dict.fromkeys(("benchmark", "check-teacher", "evaluate", "plan"), ("--json",)),
    **dict.fromkeys(("read-ldc", "read-sgm", "read-tmx", "translate", "vocabulary-map", "write-sgm"), ("--output",)),
}
"""What each command writes."""
ELSEWHERE = {
    "benchmark-training": "reads nothing",
    "inspect": "writes nothing",
    **dict.fromkeys(
        ("cache-teacher", "distil", "export", "train", "translate-corpus"), "tests/integration, with a real checkpoint"
    ),
}
"""Commands that are not tested here, and why."""
NAMES = {"read-ldc": "text.aa", "read-sgm": "text.aa", "read-tmx": "text.aa"}
"""Where --output is a prefix: a file that it stands for."""
REST = {
    "read-ldc": ["--source", "aa", "--target", "bb"],
    "read-sgm": ["--source", "aa", "--target", "bb"],
    "read-tmx": ["--source", "aa", "--target", "bb"],
    "write-sgm": ["--system", "system", "--language", "English"],
}
SGM = '<srcset setid="s" srclang="x"><doc docid="d"><seg id="1">a</seg></doc></srcset>\n'
TMX = '<tmx><body><tu><tuv xml:lang="aa"><seg>a</seg></tuv><tuv xml:lang="bb"><seg>b</seg></tuv></tu></body></tmx>\n'


def path_parameters() -> Iterator[tuple[str, str]]:
    """Every parameter of a command that is a path."""
    groups = cli.app.registered_groups
    for command in (command for group in groups for command in group.typer_instance.registered_commands):
        for name, annotation in command.callback.__annotations__.items():
            if "Path" in str(annotation) or "FileBinaryRead" in str(annotation):
                parameter = annotation.__metadata__[0]
                # Beside a type, the first name of an option lies where its default would.
                names = [text for text in (parameter.default, *(parameter.param_decls or ())) if isinstance(text, str)]
                option = names[0] if names else f"--{name.replace('_', '-')}"
                is_argument = isinstance(parameter, ArgumentInfo)
                yield command.name or command.callback.__name__.replace("_", "-"), name if is_argument else option


def invoke(monkeypatch: pytest.MonkeyPatch, command: str, places: dict[str, Path]) -> int:
    arguments = [str(path) for name, path in places.items() if not name.startswith("--")]
    options = [word for name, path in places.items() if name.startswith("--") for word in (name, str(path))]
    monkeypatch.setattr(sys, "argv", ["weightdistill", command, *arguments, *options, *REST.get(command, [])])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def places_of(command: str, folder: Path) -> dict[str, Path]:
    """An existing file for each input, and a new one for each output."""
    content = {"read-tmx": TMX, "read-sgm": SGM, "write-sgm": SGM}.get(command, "a\n")
    places = {}
    for number, name in enumerate(INPUTS[command]):
        places[name] = folder / str(number) / NAMES.get(command, "text")
        places[name].parent.mkdir()
        text = f"{places[name]}\t{places[name]}\n" if command == "read-ldc" else content
        places[name].write_text(text, encoding="utf-8")
    return {**places, **{name: folder / "new" / name.strip("-") for name in OUTPUTS[command]}}


def test_every_path_of_every_command_is_tested() -> None:
    folders = {("benchmark", "--data"), ("check-teacher", "--data"), ("translate", "--data")}
    known = {(command, name) for places in (INPUTS, OUTPUTS) for command in places for name in places[command]}
    assert {pair for pair in path_parameters() if pair[0] not in ELSEWHERE} - folders == known


@pytest.mark.parametrize("linked", [False, True], ids=["same path", "symbolic link"])
@pytest.mark.parametrize(
    ("command", "output", "replaced"),
    [(command, output, name) for command in OUTPUTS for output in OUTPUTS[command] for name in INPUTS[command]],
)
def test_an_output_that_is_an_input_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: str,
    output: str,
    replaced: str,
    linked: bool,
) -> None:
    places = places_of(command, tmp_path)
    place = places[replaced]
    if linked:
        (tmp_path / "link").symlink_to(place.parent)
        place = tmp_path / "link" / place.name
    places[output] = place.with_suffix("") if command in NAMES else place
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert invoke(monkeypatch, command, places) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("weightdistill: error: ") and captured.err.count("\n") == 1
    assert f"must not replace what is read, but would replace {places[replaced]} " in captured.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("clean", {"--output-source": "one", "--output-target": "one"}),
        ("clean", {"--output-source": "one", "--output-target": "./one"}),
        ("clean", {"--output-target": "one", "--json": "one"}),
        ("read-tmx", {"--source": "aa", "--target": "aa"}),
        ("read-sgm", {"--source": "aa", "--target": "aa"}),
        ("read-ldc", {"--source": "aa", "--target": "aa"}),
    ],
)
def test_two_outputs_of_one_name_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: str,
    options: dict[str, str],
) -> None:
    places = places_of(command, tmp_path)
    if command == "read-sgm":  # with a reference, too
        reference = SGM.replace("srcset", "refset").replace("srclang", "trglang")
        places["files"].write_text(SGM + reference, encoding="utf-8")
    if command == "clean":
        places.update({name: tmp_path / "new" / path for name, path in options.items()})
    else:
        monkeypatch.setitem(REST, command, [word for option in options.items() for word in option])
    assert invoke(monkeypatch, command, places) == 2
    assert "must name different files, but two are" in capsys.readouterr().err
    assert not any(path.is_file() for path in tmp_path.glob("new/*"))

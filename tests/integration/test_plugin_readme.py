"""The plugin's README, whose tables name every option as it is, and whose commands end."""

import argparse
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.models.transformer import TransformerModel
from fairseq.tasks.translation import TranslationTask

from fairseq_plugins.criterions.distillation import DistillationCriterion
from fairseq_plugins.models import architectures  # noqa: F401
from fairseq_plugins.models.generated_transformer import GeneratedTransformerModel
from fairseq_plugins.option_table import BEGIN, README, main
from fairseq_plugins.tasks.distillation import DistillationTask
from weightdistill.errors import DistillationError


def actions(*owners: Any) -> dict[str, argparse.Action]:
    """The options that fairseq takes for a task, criterion or model, with their flags."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for owner in owners:
        owner.add_args(parser)
    return {flag: action for action in parser._actions for flag in action.option_strings}


def test_the_tables_are_up_to_date_and_the_command_says_when_they_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"]) == 0
    page = tmp_path / "README.md"
    shutil.copy(README, page)
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("| `--temperature` |", "| `--heat` |"), encoding="utf-8")
    assert main(["--check"], page) == 1
    assert "is out of date; run python -m fairseq_plugins.option_table" in capsys.readouterr().err
    assert main([], page) == 0
    assert page.read_text(encoding="utf-8") == text
    page.write_text(text.replace(BEGIN, ""), encoding="utf-8")
    with pytest.raises(DistillationError, match="the page must hold the lines <!-- Options"):
        main([], page)
    assert main(["--chek"]) == 2


def test_every_option_of_the_plugin_is_in_a_table_with_its_values_and_a_description() -> None:
    ours = actions(DistillationTask, DistillationCriterion, GeneratedTransformerModel)
    for flag in actions(TranslationTask, TransformerModel).keys() - {"--upsample-primary"}:
        del ours[flag]
    rows = {
        flag: line
        for line in README.read_text(encoding="utf-8").splitlines()
        for flag in re.findall(r"`(--[\w-]+)`", line.split(" | ")[0])
        if line.startswith("| `--")
    }
    assert ours.keys() - rows.keys() == set()
    for flag, action in ours.items():
        assert action.help and action.help in rows[flag].replace("\\|", "|")
        assert all(f"`{choice}`" in rows[flag] for choice in action.choices or ())


def commands(script: str) -> list[list[str]]:
    """The commands of the project that a bash script would run, as their words."""
    functions = "".join(
        f"{name}() {{ printf '%s\\0' {name} \"$@\" $'\\n'; }}\n" for name in ("fairseq-train", "weightdistill")
    )
    output = subprocess.run(
        ["bash", "-euc", functions + script], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout
    return [command.split("\0") for command in output.split("\0\n\0")[:-1]]


@pytest.mark.parametrize("device", ["fp16", "cpu"])
def test_the_commands_of_both_phases_end_and_are_understood(
    device: str, data: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "fp16")
    page = README.read_text(encoding="utf-8")
    section = page.split("## The same with `fairseq-train`\n")[1].split("\n## ")[0]
    *devices, phases = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", section, re.MULTILINE)
    (chosen,) = (block for block in devices if f"--{device}" in block)
    first, generated, second, final = commands(textwrap.dedent(chosen + phases))
    trainings = []
    for name, *words in (first, second):
        assert name == "fairseq-train"
        place = words.index("--user-dir")
        del words[place : place + 2]  # it is loaded here already
        replaced = {"DATA": str(data), "teacher.pt": str(teacher)}
        words = [replaced.get(word, word) for word in words]
        args = options.parse_args_and_arch(options.get_training_parser(), words)
        assert 0 < args.max_update < 10**6 and args.adam_betas == "(0.9, 0.98)"
        assert args.decoder_layers == 1
        assert getattr(args, device)
        trainings.append(args)
    for args, export in zip(trainings, (generated, final), strict=True):
        assert export[:3] == ["weightdistill", "export", f"{args.save_dir}/checkpoint_best.pt"]
    assert generated[generated.index("--output") + 1] == trainings[1].finetune_from_model

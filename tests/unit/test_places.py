"""Which outputs would replace an input or another output, whatever their paths look like."""

from pathlib import Path

import pytest

from weightdistill.errors import DistillationError
from weightdistill.places import main, require_separate, separated_paths


def test_different_places_pass(tmp_path: Path) -> None:
    require_separate(
        {"--output": tmp_path / "a", "--more": [tmp_path / "b", tmp_path / "c"], "--none": None},
        {"--input": tmp_path / "d", "--folder": tmp_path},  # an output may lie in a folder that is read
    )


@pytest.mark.parametrize("place", ["text", "./text", "folder/../text", "link", "folder/link"])
def test_an_input_is_recognised_behind_any_path(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("text")
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "link")
    message = r"--output must not replace what is read, but would replace .*text \(--input\); give another path"
    with pytest.raises(DistillationError, match=message):
        require_separate({"--output": tmp_path / place}, {"--input": tmp_path / "text"})


def test_no_input_may_lie_in_a_folder_that_is_written_anew(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="--output must not replace what is read"):
        require_separate({"--output": tmp_path / "model"}, {"--input": tmp_path / "model" / "deep" / "text"})


def test_no_file_of_a_folder_that_is_read_is_replaced(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").touch()
    with pytest.raises(DistillationError, match=r"--output must not replace .* replace .*config\.json \(the model\)"):
        require_separate({"--output": model / "config.json"}, {"the model": model})
    require_separate({"--output": model / "vmap.txt"}, {"the model": model})


def test_two_outputs_of_one_name_are_named(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="--a and --b must name different files, but two are"):
        require_separate({"--a": tmp_path / "x", "--b": tmp_path / "y" / ".." / "x"}, {})
    with pytest.raises(DistillationError, match="--a must name different files"):
        require_separate({"--a": [tmp_path / "x", tmp_path / "x"]}, {})


def test_a_loop_of_symbolic_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(DistillationError, match="one leads into a loop of symbolic links; remove one of them"):
        require_separate({"--output": tmp_path / "out"}, {"--input": tmp_path / "one"})


def test_stages_name_places_as_words(tmp_path: Path) -> None:
    main([f"--output={tmp_path}/a", f"--output={tmp_path}/b=c", "--", f"--input={tmp_path}/c"])
    with pytest.raises(DistillationError, match=r"would replace .*b=c \(--input\)"):
        main([f"--output={tmp_path}/b=c", "--", f"--input={tmp_path}/b=c"])
    with pytest.raises(SystemExit, match="OPTION=OUTPUT"):
        main([f"--output={tmp_path}/a"])


def test_paths_are_separated_by_commas() -> None:
    assert separated_paths("a.pt, b/c.pt,") == [Path("a.pt"), Path("b/c.pt")]
    assert separated_paths("") == []

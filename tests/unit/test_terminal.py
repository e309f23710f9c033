"""Tables for the terminal show every cell as it is."""

from weightdistill.terminal import text_table


def test_columns_are_aligned_and_numbers_stay_as_they_are() -> None:
    lines = text_table(["model", "parameters"], [["teacher", "1,234"], ["s", "007.50"]]).splitlines()
    assert [line.split() for line in lines] == [
        ["model", "parameters"],
        ["teacher", "1,234"],
        ["s", "007.50"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_table_may_have_no_rows() -> None:
    assert text_table(["model", "ratio"], []).split()[:2] == ["model", "ratio"]

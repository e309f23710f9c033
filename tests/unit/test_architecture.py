"""What the library may know: nothing of fairseq, so that it can be used, read and tested without it."""

import ast
from pathlib import Path

import pytest

import weightdistill

MODULES = sorted(Path(weightdistill.__file__).parent.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Top-level packages that any import statement names, wherever it stands."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0] if not node.level else "weightdistill")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names |= {
                str(argument.value).partition(".")[0] for argument in node.args if isinstance(argument, ast.Constant)
            }
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_library_imports_no_fairseq(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert not imported(tree) & {"fairseq", "fairseq_cli", "fairseq_plugins"}
    assert ast.get_docstring(tree), "a module says what it is for"


def test_the_check_sees_every_kind_of_import():
    lines = "import fairseq.tasks", "from fairseq_plugins import teachers", "import_module('fairseq_cli.train')"
    source = "def f():\n    " + "\n    ".join(lines)
    assert imported(ast.parse(source)) == {"fairseq", "fairseq_plugins", "fairseq_cli"}

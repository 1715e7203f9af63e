"""The house keeps its rules: floors, lazy imports, public names, documented arguments."""

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kerastl

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kerastl"


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_imports_point_down():
    command = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import kerastl",
        "import kerastl; kerastl.FitConfig('photos')",
        "import kerastl; kerastl.backbone_names()",
        "import kerastl.__main__ as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.benchmark as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.add as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.compare as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.check as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.fit as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.search as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.tune as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.zeroshot as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.predict as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
        "import kerastl.export as m\ntry: m.main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_no_tensorflow_before_it_is_needed(code):
    heavy = "{'tensorflow', 'keras', 'keras_cv', 'tensorflow_datasets', 'sklearn', 'matplotlib'}"
    result = run_python(f"{code}\nimport sys\nassert not {heavy} & set(sys.modules)")
    assert result.returncode == 0, result.stderr


def test_public_names_resolve_and_are_documented():
    modules = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])}
    for name in kerastl.__all__:
        value = getattr(kerastl, name)
        assert name not in modules, f"{name} hides the module of the same name"
        if callable(value):
            assert inspect.getdoc(value), f"{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(kerastl, "nonsense")  # noqa: B009


def public_functions():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield pytest.param(node, id=f"{path.relative_to(PACKAGE)}:{node.name}")


@pytest.mark.parametrize("function", list(public_functions()))
def test_docstring_names_the_arguments(function):
    """`Args:` lists the parameters of the signature, in its order; no more, no fewer."""
    docstring = ast.get_docstring(function) or ""
    assert docstring, "no docstring"
    arguments = function.args
    rest = [arguments.vararg] if arguments.vararg else []
    named = (*arguments.posonlyargs, *arguments.args, *rest, *arguments.kwonlyargs)
    names = [argument.arg for argument in named]
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, flags=re.MULTILINE)
    documented = re.findall(r"^ {4}(\w+):", section.group(1), flags=re.MULTILINE) if section else []
    assert documented == names
    returns = function.returns is not None and ast.unparse(function.returns)
    if returns in ("None", "NoReturn"):
        assert "Returns:" not in docstring


def test_no_file_is_a_drawer():
    """Small rooms: no utils.py, no file over 400 lines, no function over 60."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path.stem not in {"utils", "helpers", "common", "misc"}
        assert text.count("\n") <= 400, f"{path} has grown: what is it really?"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path}: {node.name} has {lines} lines"

"""The house: who may import whom, how large things may be, and what may be caught."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MODULES = {path.relative_to(SRC).as_posix(): path for path in sorted(SRC.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "service", "base"}

FORBIDDEN_IMPORTS = {
    "ledger": {"projections", "api", "fastapi", "starlette", "uvicorn", "pydantic", "click"},
    "projections": {"api", "fastapi", "starlette", "uvicorn", "pydantic", "click"},
    "api": set(),
}

READS_ENVIRONMENT = {
    "api/settings.py": "the one place where settings are read",
    "api/cli/serve.py": "hands settings to the worker processes that it starts",
    "api/metrics.py": "prometheus_client is told by environment that there are several processes",
}

CATCHES_EVERYTHING = {
    ("ledger/recorder.py", "record"): "a request that cannot be stored fails alone and is told so",
    ("ledger/recorder.py", "_commit"): "tells errors apart by a rule, and raises them",
    ("ledger/import_writer.py", "decide"): "what was decided so far is void; raised, unless lost",
    ("ledger/import_writer.py", "_stored"): "tells errors apart by a rule, and raises them",
    ("ledger/import_writer.py", "_record_at_once"): "the same",
    ("ledger/steps.py", "_go_on"): "given to whoever runs the steps, who is called back",
    ("projections/opening.py", "_made"): "whoever asks is told why, and others are answered",
    ("projections/follower.py", "run"): "leaves the failure for health to show, and raises it",
    ("projections/follower.py", "keep_running"): "the edge of a thread: logged, and tried again",
    ("api/express.py", "__call__"): "the edge of HTTP: what is unexpected becomes a 500",
    ("api/cli/group.py", "invoke"): "the edge of the process: known errors become a line",
}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            yield (node.module or "").split(".")[0]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
        for kind in kinds
    )


def test_there_is_something_to_look_at() -> None:
    assert {name.split("/")[0] for name in MODULES} == {"ledger", "projections", "api"}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_inward(name: str) -> None:
    ring = name.split("/", maxsplit=1)[0]

    assert set(imported(TREES[name])) & FORBIDDEN_IMPORTS[ring] == set()


def test_the_environment_is_read_in_one_place() -> None:
    found = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"))
        or (isinstance(node, ast.alias) and node.name in ("environ", "environb", "getenv"))
    }

    assert found == set(READS_ENVIRONMENT)


def test_everything_is_caught_only_where_there_is_a_reason_to() -> None:
    found = {
        (name, function.name)
        for name, tree in TREES.items()
        for function in functions(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    }

    assert found == set(CATCHES_EVERYTHING)


def test_files_are_short() -> None:
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()
    }

    assert {name: n for name, n in lengths.items() if n > FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{name}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for name, tree in TREES.items()
        for function in functions(tree)
    }

    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES_MAX} == {}


def test_no_module_is_named_after_nothing() -> None:
    parts = {part for name in MODULES for part in Path(name).with_suffix("").parts}

    assert {part.strip("_") for part in parts} & BANNED_NAMES == set()


def test_no_pattern_is_one_that_older_pythons_match_wrongly() -> None:
    """Groups without a way back, before 3.11.5: see CPython's gh-106052."""
    patterns = [
        (name, node.value)
        for name, tree in TREES.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("re.")
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert patterns
    wrong = [one for one in patterns if re.search(r"[*+?}]\+|\(\?>", one[1])]
    assert wrong == []

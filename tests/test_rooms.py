"""The rooms of the package: who may import whom, held by walking the imports of each file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from frontier import paths
from frontier.jobs import code_imports

HALL = {
    "axes",
    "checkpoint_files",
    "errors",
    "job_notes",
    "named_base",
    "outcomes",
    "paths",
    "progress",
    "records",
    "strict_json",
    "units",
    "version",
    "ways",
}
SUBJECTS = ("cost", "data", "material", "option", "outcome", "proof", "record", "request", "table", "token")
HALL |= {f"{subject}_types" for subject in SUBJECTS}
# What each room may import beside itself and the hall: rooms, or modules of rooms.
MAY_IMPORT = {
    "hall": set(),
    "machine": set(),
    "model": {"machine"},
    "jobs": {"machine"},
    "run": {"machine", "model", "jobs"},
    "study": {"machine.gpus", "model.files", "model.data.files"},
    "plan": {"machine", "model", "run", "study"},
    "results": {"study.cards", "study.config_files", "study.runs", "study.schema"},
}


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if len(parts) > 1 else "hall"


def upward_imports(package: Path) -> list[str]:
    """Return each import of the package's files that their room may not make, as `file: module`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if path.name == "__init__.py":
            continue
        for file in code_imports.read(path).files:
            named = file.relative_to(package).with_suffix("").parts
            room, target = room_of(parts), room_of(named)
            allowed = target in ("hall", room) or {target, ".".join(named)} & MAY_IMPORT[room]
            if not allowed:
                found.append(f"{'/'.join(parts)}: {'.'.join(named)}")
    return found


def test_no_room_imports_what_lies_above_it():
    assert upward_imports(paths.PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "statement", "told"),
    [
        ("model/loss.py", "from frontier.run import trainer", "model/loss: run.trainer"),
        ("records.py", "from frontier.machine import gpus", "records: machine.gpus"),
        (
            "results/report.py",
            "def late():\n    from frontier.study.requests import limits",
            "results/report: study.requests",
        ),
        ("jobs/team.py", "from frontier.model import bases", "jobs/team: model.bases"),
        ("study/schema.py", "from frontier.machine.launch import allocation", "study/schema: machine.launch"),
    ],
)
def test_an_upward_import_is_seen(tmp_path, monkeypatch, file, statement, told):
    for path in paths.PACKAGE.rglob("*.py"):
        copy = tmp_path / "frontier" / path.relative_to(paths.PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text("utf-8"), encoding="utf-8")
    monkeypatch.setattr(paths, "SCRIPTS", tmp_path)
    edited = tmp_path / "frontier" / file
    edited.write_text(edited.read_text("utf-8") + f"\n{statement}\n", encoding="utf-8")
    assert upward_imports(tmp_path / "frontier") == [told]


def test_the_hall_and_the_rooms_are_these():
    folders = {path.name for path in paths.PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(MAY_IMPORT) - {"hall"}
    assert {path.stem for path in paths.PACKAGE.glob("*.py")} == HALL | {"__init__"}


def test_a_room_says_at_its_door_what_it_is_for_and_does_nothing_there():
    for path in paths.PACKAGE.rglob("__init__.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(tree), path
        assert len(tree.body) == 1, path


def test_no_name_hides_a_module_that_is_imported():
    """The code digest would depend on the name of the module, which keeps its own words there."""
    hidden = [
        f"{path.relative_to(paths.PACKAGE)}: {thing}"
        for path in paths.PACKAGE.rglob("*.py")
        for things in code_imports.read(path).things.values()
        for thing in things
        if thing.name.startswith(" as ")
    ]
    assert hidden == []


@pytest.mark.parametrize("room", ["results", "study"])
def test_results_and_study_load_no_torch(room):
    modules = [
        ".".join(path.relative_to(paths.SCRIPTS).with_suffix("").parts)
        for path in sorted(paths.PACKAGE.joinpath(room).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(paths.SCRIPTS)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_no_module_of_the_package_patches_another():
    """Production code is given what it shall use: an object, not a name replaced behind its back."""
    patching = [
        path.relative_to(paths.PACKAGE)
        for path in paths.PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        if "mock" in name.split(".")
    ]
    assert patching == []


# Functions whose parameters a library sets: torch's autograd, and transformers' interface for attention.
CALLED_BY_LIBRARIES = {("model/layers.py", "forward"), ("model/packing.py", "packed_attention")}


def functions() -> list[tuple[str, ast.FunctionDef]]:
    """Return each function of the package with its file's path in the package."""
    found = []
    for path in sorted(paths.PACKAGE.rglob("*.py")):
        name = path.relative_to(paths.PACKAGE).as_posix()
        tree = ast.parse(path.read_text("utf-8"))
        found += [(name, node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return found


def test_modules_and_functions_are_small():
    modules = {path: len(path.read_text("utf-8").splitlines()) for path in paths.PACKAGE.rglob("*.py")}
    assert [path for path, lines in modules.items() if lines > 200] == []
    assert [(file, one.name) for file, one in functions() if one.end_lineno - one.lineno >= 40] == []


def test_functions_take_six_parameters_at_most():
    many = set()
    for file, one in functions():
        names = [argument.arg for argument in (*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs)]
        if len([name for name in names if name not in ("self", "cls")]) > 6:
            many.add((file, one.name))
    assert many == CALLED_BY_LIBRARIES

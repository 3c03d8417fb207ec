"""Digest code so that the digest changes when the code's logic does, and only then.

Comments, docstrings, layout and touched files leave a digest alone, so that a typo mended in the training code does not
cost thirty hours. So do moving and renaming a module: the digest is a tree. In a module's digest each import of the
package stands as the digest of the module that it names, and so does each use of that module's name. A module whose
imports point elsewhere has another digest. It is the same under every Python that runs the workflow.

The folder `jobs` and the modules of UNCOUNTED make no result: they start, watch and end the processes that do. Of them
only what they import counts.
"""

import ast
import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from frontier import paths

# Modules of the hall that only tell people and the supervisor what happens, and those that only say what records hold.
UNCOUNTED = (
    "errors",
    "progress",
    "material_types",
    "outcome_types",
    "record_types",
    "request_types",
    "table_types",
)
# The call by which a script names its job, a function of the package: "run.train.train_adapter".
_RUN_JOB = "supervise.run_job"
# Fields of syntax trees on which versions of Python differ, and which change nothing.
_UNSTABLE_FIELDS = ("type_params", "kind", "type_comment", "type_ignores")


@dataclass(frozen=True)
class Imports:
    """What a file names of the package: `statements` have what each imports, `names` the modules by local name.

    A module stands as its file, a name that is imported out of one as the file and the words of the import.
    """

    statements: dict[ast.AST, list[tuple[Path, str]]] = field(default_factory=dict)
    names: dict[str, Path] = field(default_factory=dict)

    @property
    def files(self) -> set[Path]:
        return {file for parts in self.statements.values() for file, _ in parts}


def code_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a script or module and of each module of the package that it comes to run.

    Raises ValueError for an import of the package that cannot be followed: a relative one, `import frontier.x`, one of
    everything (`*`), and one of something that is neither a module nor named in one.
    """
    return _digest(path, {})


def script_digests() -> dict[str, str]:
    """Return `code_digest` of each rule's script, by the script's name without its ending."""
    known: dict[Path, str] = {}
    return {path.stem: _digest(path, known) for path in sorted(paths.SCRIPTS.glob("*.py"))}


def reachable(path: Path) -> set[Path]:
    """Return the file and the modules of the package that it comes to import, those that do not count left out."""
    found, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += _parsed(current)[1].files
    return {one for one in found if _counts(one)}


def canonical(source: str) -> str:
    """Return the source's syntax tree as text, without docstrings and whatever Python's versions disagree on."""
    return _render(ast.parse(source), Imports(), {})


def imports_of(tree: ast.Module) -> Imports:
    """Return what a file names of the package, by its syntax tree; raises ValueError as `code_digest` does."""
    found = Imports()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(_is_ours(alias.name) for alias in node.names):
            raise ValueError(f"line {node.lineno}: takes `from frontier.ROOM import MODULE`, which alone is followed")
        if isinstance(node, ast.ImportFrom) and (node.level or (_is_ours(node.module) and node.names[0].name == "*")):
            raise ValueError(f"line {node.lineno}: takes an absolute import of each thing by its name")
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module):
            found.statements[node] = [_imported(node.module, alias) for alias in node.names]
            found.names.update(
                (alias.asname or alias.name, file)
                for alias, (file, words) in zip(node.names, found.statements[node], strict=True)
                if not words
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == _RUN_JOB:
            module, _, function = node.args[0].value.rpartition(".")
            found.statements[node.args[0]] = [(_module(f"frontier.{module}"), function)]
    return found


def _imported(module: str, alias: ast.alias) -> tuple[Path, str]:
    """Return the file that `from module import alias` names, and the words of the import where it is a name in it."""
    file = _file(f"{module}.{alias.name}")
    if file.is_file():
        return file, ""
    return _module(module), f"{alias.name} as {alias.asname or alias.name}"


def _module(name: str) -> Path:
    """Return the file of a module of the package, by its dotted name; ValueError where there is none."""
    if not _file(name).is_file():
        raise ValueError(f"{name}: takes a module of the package, of which none has this name")
    return _file(name)


def _file(name: str) -> Path:
    return paths.SCRIPTS.joinpath(*name.split(".")).with_suffix(".py")


def _is_ours(module: str | None) -> bool:
    return (module or "").split(".")[0] == "frontier"


def _counts(path: Path) -> bool:
    """Return whether a file's own code can change a result."""
    package = paths.SCRIPTS / "frontier"
    return package / "jobs" not in path.parents and path not in [package / f"{name}.py" for name in UNCOUNTED]


def _parsed(path: Path) -> tuple[ast.Module, Imports]:
    try:
        return _parse(path.read_text("utf-8"), paths.SCRIPTS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@cache
def _parse(source: str, scripts: Path) -> tuple[ast.Module, Imports]:
    """Return a source's syntax tree and what it names; `scripts`, where modules lie, is there for the cache alone."""
    tree = ast.parse(source)
    return tree, imports_of(tree)


def _digest(path: Path, known: dict[Path, str]) -> str:
    """Return a file's digest; `known` has those that are known already, and gets the others."""
    if path not in known:
        tree, imports = _parsed(path)
        digests = {file: _digest(file, known) for file in imports.files}
        text = _render(tree, imports, digests) if _counts(path) else "\n".join(sorted(digests.values()))
        known[path] = hashlib.sha256(text.encode()).hexdigest()
    return known[path]


def _render(node, imports: Imports, digests: dict[Path, str]) -> str:
    if isinstance(node, list):
        return "[" + ",".join(_render(one, imports, digests) for one in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if node in imports.statements:
        return _ours([node], imports, digests)
    if isinstance(node, ast.Name) and node.id in imports.names:
        return f"Ours({digests[imports.names[node.id]]})"
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _UNSTABLE_FIELDS or value is None or value == []:
            continue
        if name == "body" and isinstance(value, list):
            fields.append(f"{name}={_render_body(node, value, imports, digests)}")
        else:
            fields.append(f"{name}={_render(value, imports, digests)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _render_body(owner: ast.AST, body: list[ast.stmt], imports: Imports, digests: dict[Path, str]) -> str:
    """Return the statements as text, the package's imports as one: their order and grouping follow from names."""
    if isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _is_docstring(body[0]):
        body = body[1:]
    ours = [statement for statement in body if statement in imports.statements]
    others = [_render(statement, imports, digests) for statement in body if statement not in imports.statements]
    return "[" + ",".join(([_ours(ours, imports, digests)] if ours else []) + others) + "]"


def _ours(nodes: list[ast.AST], imports: Imports, digests: dict[Path, str]) -> str:
    parts = {f"{digests[file]} {words}" for node in nodes for file, words in imports.statements[node]}
    return f"Ours({','.join(sorted(parts))})"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)

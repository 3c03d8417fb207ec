"""Digest code so that the digest changes when the code's logic does, and only then.

A rule's jobs are made again when the digest of its script changes. Comments, docstrings and layout leave the digest
unchanged, so that a typo mended in the training code does not cost thirty hours. So do a module that is moved or
renamed, and an import that is written otherwise, because the digest is a tree: where a module imports another of the
package, or uses a name that such an import binds, its digest is made with the other module's digest in the place of
that name. The digest is the same under every Python that runs the workflow.

The code of the room `jobs` and of the modules in UNCOUNTED changes no result, so it is left out; what those modules
import counts as ever.
"""

import ast
import hashlib
from pathlib import Path

from frontier import paths
from frontier.jobs import code_imports

# Modules of the hall that only tell people and the supervisor what happens, and those that only describe records.
UNCOUNTED = (
    "errors",
    "job_notes",
    "progress",
    "cost_types",
    "data_types",
    "material_types",
    "option_types",
    "outcome_types",
    "proof_types",
    "record_types",
    "request_types",
    "table_types",
    "token_types",
)
# Fields of syntax trees that versions of Python fill differently, and that do not change what the code does.
_UNSTABLE_FIELDS = ("type_params", "kind", "type_comment", "type_ignores")
# Nodes of syntax trees that can begin with a docstring.
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a script or module with all modules of the package that it imports, directly or not.

    Raises ValueError for an import that cannot be followed, as `code_imports.read` does, and for modules that import
    each other.
    """
    return _digest(path, {})


def script_digests() -> dict[str, str]:
    """Return `code_digest` of each rule's script, by the script's name without its ending."""
    known: dict[Path, str] = {}
    return {path.stem: _digest(path, known) for path in sorted(paths.SCRIPTS.glob("*.py"))}


def reachable(path: Path) -> set[Path]:
    """Return the file and all modules of the package that it imports, directly or not, if their code counts."""
    found, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += code_imports.read(current).files
    return {file for file in found if _counts(file)}


def canonical(source: str) -> str:
    """Return a source's syntax tree as text, without docstrings and what versions of Python disagree on."""
    return _text(ast.parse(source), {})


def _digest(path: Path, known: dict[Path, str], importers: tuple[Path, ...] = ()) -> str:
    """Return a file's digest, from `known` or put there; `importers` are the files whose imports led to this one."""
    if path in importers:
        circle = [*importers[importers.index(path) :], path]
        raise ValueError(f"{' imports '.join(map(_name, circle))}: takes modules that do not import each other")
    if path not in known:
        code = code_imports.read(path)
        digests = {file: _digest(file, known, (*importers, path)) for file in sorted(code.files)}
        if _counts(path):
            ours = {
                node: {f"{digests[thing.file]} {thing.name}" for thing in things}
                for node, things in code.things.items()
            }
            text = _text(code.tree, ours)
        else:
            text = "\n".join(sorted(digests.values()))
        known[path] = hashlib.sha256(text.encode()).hexdigest()
    return known[path]


def _counts(path: Path) -> bool:
    """Return whether a file's own code counts: whether it can change a result."""
    package = paths.SCRIPTS / "frontier"
    return package / "jobs" not in path.parents and path not in [package / f"{name}.py" for name in UNCOUNTED]


def _name(path: Path) -> str:
    """Return a module's dotted name."""
    return ".".join(path.relative_to(paths.SCRIPTS).with_suffix("").parts)


def _text(node, ours: dict[ast.AST, set[str]]) -> str:
    """Return a part of a syntax tree as text, in which the digests that `ours` has for a node stand in its place."""
    if isinstance(node, list):
        return f"[{','.join(_texts(node, ours))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if node in ours:
        return _our_text(ours[node])
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, _DOCUMENTED) and value and _is_docstring(value[0]):
            value = value[1:]
        if value is not None and value != [] and name not in _UNSTABLE_FIELDS:
            fields.append(f"{name}={_text(value, ours)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _texts(nodes: list, ours: dict[ast.AST, set[str]]) -> list[str]:
    """Return each node of a list as text; imports of the package make one text, whatever their order and grouping."""
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node in ours]
    others = [_text(node, ours) for node in nodes if node not in imports]
    return [_our_text(set().union(*(ours[node] for node in imports))), *others] if imports else others


def _our_text(digests: set[str]) -> str:
    """Return the text that stands for imports or uses of the package's modules: their digests."""
    return f"Ours({','.join(sorted(digests))})"


def _is_docstring(statement: ast.stmt) -> bool:
    """Return whether a statement is a string and nothing else."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )

"""A digest of code that changes when its logic does, and only then.

Comments, docstrings, layout, touched files and PLUMBING leave it alone, so that a typo mended in the training code
does not cost thirty hours. It is the same under every Python that runs the workflow.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent
# Modules that no result comes from: they start, watch, hold apart and end the processes that make results. What they
# import counts all the same.
PLUMBING = (
    "supervise",  # starts and watches a job; what that starts with is `launch`, what its end means is `outcomes`
    "worker",  # calls the job's function, and ends with its parent
    "forked",  # asks for a forked process, or has a new one started; the record says which
    "forkserver",  # forks it; what it has imported by then is `launch`
    "devices",  # keeps two jobs off one GPU; which GPUs a job may have is `gpus`
    "team",  # starts and ends a training's further processes; their shares are `sharding`, their work `training`
    "retries",  # ends an attempt that would fail again
    "preflight",  # refuses a study before any of its jobs starts
    "foresight",  # leaves a run out, and says so; of one that is started it knows nothing
    "hub",  # says why a fetch failed
    "progress",  # what people and the supervisor are told meanwhile
    "digest",  # names results
)
_UNSTABLE_FIELDS = ("type_params", "kind", "type_comment", "type_ignores")


def code_digest(script: str) -> str:
    """SHA-256 (hex) over workflow/scripts/<script>.py and each module that it comes to run and that can matter."""
    paths = sorted(reachable(SCRIPTS / f"{script}.py"))
    text = "\n".join(f"{path.relative_to(SCRIPTS).as_posix()}: {canonical(path.read_text('utf-8'))}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()


def reachable(path: Path) -> set[Path]:
    """The file and the files of the package it imports, or names as the job that `supervise.run` is to run.

    PLUMBING is followed and left out.
    """
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += _dependencies(current)
    return found - {SCRIPTS / "frontier" / f"{name}.py" for name in PLUMBING}


@cache
def canonical(source: str) -> str:
    """The source's syntax tree as text, without docstrings and whatever Python's versions disagree on."""
    return _render(ast.parse(source))


@cache
def _dependencies(path: Path) -> tuple[Path, ...]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "frontier":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("frontier."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "supervise.run":
            names |= {"worker", node.args[0].value.split(".")[0]}
    return tuple(SCRIPTS / "frontier" / f"{name}.py" for name in names)


def _render(node) -> str:
    if isinstance(node, list):
        return "[" + ",".join(map(_render, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _UNSTABLE_FIELDS or value is None or value == []:
            continue
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            value = value[1:] if _is_docstring(value[0]) else value
        fields.append(f"{name}={_render(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)

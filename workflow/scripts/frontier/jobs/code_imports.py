"""Find what a file imports of the package, and where it uses it, by its syntax tree; nothing is run."""

import ast
import symtable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from frontier import paths


class Thing(NamedTuple):
    """What an import takes from the package: a module, by its file, or what is called `name` in that module."""

    file: Path
    name: str = ""


class _Import(NamedTuple):
    """One name that an import statement binds; `thing` is None where it comes from another library."""

    statement: ast.Import | ast.ImportFrom
    name: str
    thing: Thing | None


class Code(NamedTuple):
    """A file's syntax tree and, by node, the things of the package that the node refers to.

    Such nodes are the imports of the package, the uses of names that they bind, and in a rule's script the text that
    names the job's function.
    """

    tree: ast.Module
    things: dict[ast.AST, set[Thing]]

    @property
    def files(self) -> set[Path]:
        """The files of the modules that this file imports or runs."""
        return {thing.file for things in self.things.values() for thing in things}


def read(path: Path) -> Code:
    """Return a file's code.

    Raises ValueError for an import of the package that cannot be followed: a relative one, `import frontier.x`, one of
    everything (`*`), and one from a module that does not exist.
    """
    try:
        return _parse(path.read_text("utf-8"), paths.SCRIPTS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@cache
def _parse(source: str, scripts: Path) -> Code:
    """Return a source's code; `scripts`, where modules are looked for, is given only to be part of the cache's key."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    imports = [
        _Import(node, alias.asname or alias.name.partition(".")[0], _imported(node, alias))
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    clear = _clear_names(imports, _assigned(symtable.symtable(source, "", "exec")))
    things: dict[ast.AST, set[Thing]] = {}
    for statement, name, thing in imports:
        if thing:
            told = thing if name in clear else Thing(thing.file, f"{thing.name} as {name}")
            things.setdefault(statement, set()).add(told)
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in clear:
            things[node] = {clear[node.id]}
        elif isinstance(node, ast.Call) and _is_run_job(node.func):
            module, _, function = ast.literal_eval(node.args[0]).rpartition(".")
            things[node.args[0]] = {Thing(_module_file(f"frontier.{module}"), function)}
    return Code(tree, things)


def _imported(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Thing | None:
    """Return what one name of an import stands for; None for another library's. Raises ValueError as `read` does."""
    if isinstance(node, ast.Import):
        if _is_ours(alias.name):
            raise ValueError(f"line {node.lineno}: takes `from frontier.ROOM import MODULE`, which alone is followed")
        return None
    module = node.module or ""
    if node.level or (_is_ours(module) and alias.name == "*"):
        raise ValueError(f"line {node.lineno}: takes an absolute import of each thing by its name")
    if not _is_ours(module):
        return None
    file = _file(f"{module}.{alias.name}")
    return Thing(file) if file.is_file() else Thing(_module_file(module), alias.name)


def _clear_names(imports: list[_Import], assigned: set[str]) -> dict[str, Thing]:
    """Return the imported names that stand for the same thing of the package wherever they are used, with that thing.

    Left out are names that the code assigns too (`assigned`), and names that are imported twice as different things:
    these are digested as they are written.
    """
    meanings: dict[str, set[Thing | None]] = {}
    for _, name, thing in imports:
        meanings.setdefault(name, set()).add(thing)
    return {name: thing for name, (thing, *others) in meanings.items() if thing and not others and name not in assigned}


def _assigned(scope: symtable.SymbolTable) -> set[str]:
    """Return the names that a scope, or one within it, binds by other means than an import: parameters, variables."""
    own = {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_assigned() or symbol.is_parameter()}
    return own.union(*map(_assigned, scope.get_children()))


def _is_run_job(function: ast.expr) -> bool:
    """Return whether a called function is `supervise.run_job`, to which a rule's script gives its job's name."""
    return "run_job" in (getattr(function, "attr", None), getattr(function, "id", None))


def _module_file(name: str) -> Path:
    """Return the file of a module of the package, by its dotted name; raises ValueError where there is none."""
    if not _file(name).is_file():
        raise ValueError(f"{name}: takes a module of the package, of which none has this name")
    return _file(name)


def _file(name: str) -> Path:
    """Return the file that a module of the package has, or would have, by its dotted name."""
    return paths.SCRIPTS.joinpath(*name.split(".")).with_suffix(".py")


def _is_ours(module: str) -> bool:
    """Return whether a dotted name is that of the package or of something in it."""
    return module.partition(".")[0] == "frontier"

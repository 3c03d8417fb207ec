"""Write the tree of docs/architecture.md, from the first line of each file: `python docs/make_tree.py`."""

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/architecture.md"
BEGIN, END = "<!-- tree, by make docs -->", "<!-- end of tree -->"
# Folders whose code the tree shows; the package's rooms come in the order in which they may import each other.
SHOWN = ("workflow/rules", "workflow/scripts", "tests", "benchmarks", "docs")
ROOMS = ("machine", "model", "jobs", "run", "study", "plan", "results")
# What a folder without a docstring is for.
FOLDERS = {
    "workflow/rules": "What depends on what, in Snakemake's words.",
    "workflow/scripts": "A script for each rule: which function of the package does the job.",
    "tests": "A folder for each room; here what concerns all of them.",
    "tests/helpers": "What tests share, and no test.",
    "tests/workflow": "Tests of whole studies, run through Snakemake.",
    "benchmarks": "Measurements of the project itself, one command each.",
    "docs": "How things are measured, decided and found out; reference results.",
}
_COLUMN, _WIDTH = 36, 120


def page() -> str:
    """Return the page with its tree made anew."""
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n```\n{tree()}\n```\n{END}{after}"


def tree() -> str:
    """Return a line for each folder and file of code, indented as they lie in each other, with what each is for."""
    lines = [_line("Snakefile", 0, summary(ROOT / "Snakefile"))]
    for name in SHOWN:
        lines += _folder(ROOT / name, 0, name)
    return "\n".join(lines)


def summary(path: Path) -> str:
    """Return what a file says in its docstring's first paragraph, or in its first comment's first sentence."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return " ".join((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].split())
    comment = re.match(r"(# .*\n)+", text)
    return re.sub(r"\s*\n# ", " ", comment[0].removeprefix("# ")).split(". ")[0].strip().rstrip(".") + "."


def _folder(folder: Path, depth: int, name: str) -> list[str]:
    """Return the lines of a folder and of all that lies in it: files first, rooms in their order."""
    door = folder / "__init__.py"
    about = summary(door) if door.exists() else FOLDERS.get(folder.relative_to(ROOT).as_posix(), "")
    lines = [_line(f"{name}/", depth, about)]
    for path in sorted(folder.iterdir(), key=_place):
        if path.is_dir() and any(_is_code(file) for file in path.rglob("*")):
            lines += _folder(path, depth + 1, path.name)
        elif _is_code(path) and path != door:
            lines.append(_line(path.name, depth + 1, summary(path)))
    return lines


def _place(path: Path) -> tuple:
    room = ROOMS.index(path.name) if path.name in ROOMS else len(ROOMS)
    return path.is_dir(), room, path.name


def _is_code(path: Path) -> bool:
    return path.suffix in (".py", ".smk") and path.is_file()


def _line(name: str, depth: int, about: str) -> str:
    start = ("  " * depth + name).ljust(_COLUMN - 1) + " "
    if not about:
        return start.rstrip()
    return textwrap.fill(about, _WIDTH, initial_indent=start, subsequent_indent=" " * _COLUMN, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""The page of the architecture against the code: its tree, its table of rooms, and each file that the docs name."""

import re
from functools import cache

import make_tree
import pytest
from conftest import ROOT
from frontier import paths
from test_rooms import MAY_IMPORT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "results/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
# Where a path in the docs may begin.
FROM = (ROOT, paths.SCRIPTS, paths.PACKAGE)


def shown() -> list[str]:
    """Return the path of each file that the tree on the page shows, by its indentation."""
    text = make_tree.PAGE.read_text("utf-8").split(make_tree.BEGIN)[1].split(make_tree.END)[0]
    folders, found = [], []
    for indent, name in re.findall(r"^( *)([\w./]+)(?: |$)", text, flags=re.MULTILINE):
        # Further in there are the rest of long lines.
        if len(indent) < 12:
            folders = [*folders[: len(indent) // 2], name]
            found += [] if name.endswith("/") else ["".join(folders)]
    return found


@cache
def code() -> set[str]:
    """Return the path of each file of code that the tree is to show."""
    modules = [path for path in paths.SCRIPTS.rglob("*.py") if path.name != "__init__.py"]
    rules = [*(ROOT / "workflow/rules").iterdir(), ROOT / "Snakefile"]
    others = [path for name in ("tests", "benchmarks", "docs") for path in (ROOT / name).rglob("*.py")]
    files = [*modules, *rules, *(path for path in others if path.name != "__init__.py")]
    return {path.relative_to(ROOT).as_posix() for path in files}


def names(page: str) -> set[str]:
    """Return the files of code that a page names outside addresses of the web."""
    found = re.findall(r"(?<![\w/.:*-])[\w/-]*\w\.(?:py|smk)\b", page)
    return set(found) - {"__init__.py"}


def exists(name: str) -> bool:
    if "/" in name:
        return any((folder / name).is_file() for folder in FROM)
    return any(path.endswith(f"/{name}") for path in code())


def test_the_tree_shows_every_file_of_code_and_no_other():
    assert sorted(shown()) == sorted(code())


def test_the_tree_says_what_the_files_say():
    assert make_tree.page() == make_tree.PAGE.read_text("utf-8"), "make docs"


def test_every_file_of_code_says_what_it_is():
    assert [path for path in sorted(code()) if len(make_tree.summary(ROOT / path)) < 10] == []


def test_the_table_of_rooms_is_what_the_rooms_may_import():
    text = make_tree.PAGE.read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \|[^|]*\| ([\w., ]+) \|", text.split("## Where is")[0], flags=re.MULTILINE)
    said = {room: set(imports.split(", ")) for room, imports in rows if room != "room"}
    assert list(said) == list(MAY_IMPORT)
    assert said == {room: ({"hall"} | may if room != "hall" else {"nothing"}) for room, may in MAY_IMPORT.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_docs_name_files_that_exist(page):
    assert [name for name in sorted(names(page.read_text("utf-8"))) if not exists(name)] == []


def test_a_name_that_is_gone_is_seen():
    text = "See `frontier/loss.py`, `model/loss.py`, `loss.py`, `gone.py` and `workflow/rules/gone.smk`."
    assert [name for name in sorted(names(text)) if not exists(name)] == [
        "frontier/loss.py",
        "gone.py",
        "workflow/rules/gone.smk",
    ]

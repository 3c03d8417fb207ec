"""A code digest changes with logic and with nothing else, the same under every Python."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from frontier import paths
from frontier.jobs import code_digest
from frontier.study import schema
from frontier.study.identities import study_identities
from moves import move

SOURCE = '''
"""Module."""
from frontier import data


class Thing:
    """Class."""

    size: int = 3

    def area(self, *, scale=2.5) -> float:
        """Function."""
        # A comment.
        return f"{self.size * scale:.2f} {'nested'}" if scale else None


async def wait(items):
    return [item async for item in items if (n := item)]
'''


def test_docstrings_comments_and_layout_do_not_count():
    other = SOURCE.replace("Module.", "Other.").replace("Class.", "Other.").replace("Function.", "Other.")
    other = other.replace("# A comment.", "# Another.").replace("scale=2.5", "scale = 2.5").replace("\n\n\n", "\n\n")
    assert other != SOURCE
    assert code_digest.canonical(other) == code_digest.canonical(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.5", "2.6"),
        (":.2f", ":.3f"),
        ("size: int", "size: float"),
        ("async for", "for"),
        ("if scale", "if not scale"),
    ],
)
def test_logic_counts(old, new):
    assert old in SOURCE
    assert code_digest.canonical(SOURCE.replace(old, new)) != code_digest.canonical(SOURCE)


def test_same_under_every_python():
    """The text that Python 3.11 makes of the source, which other versions must make too."""
    assert (
        hashlib.sha256(code_digest.canonical(SOURCE).encode()).hexdigest()
        == "155ed44a35546ea73967b9fd3ed52e4a3ab43619b11747d5de9e7890a24d4395"
    )


def scripts() -> list[Path]:
    return sorted(paths.SCRIPTS.glob("*.py"))


def modules() -> list[Path]:
    return sorted(path for path in paths.PACKAGE.rglob("*.py") if path.name != "__init__.py")


def test_every_scripts_digest_covers_what_it_runs():
    """Walk the imports afresh, by text alone: all that a script reaches and that counts is in it."""
    assert len(scripts()) >= 10
    for script in scripts():
        waiting = [*re.findall(r'run_job\("([\w.]+)\.\w+"', script.read_text("utf-8")), "jobs.supervise"]
        expected = set()
        while waiting:
            name = waiting.pop()
            if name not in expected:
                expected.add(name)
                text = paths.PACKAGE.joinpath(*name.split(".")).with_suffix(".py").read_text("utf-8")
                for room, one, many in re.findall(
                    r"^ *from frontier\.?(\S*) import (?:(\w.*)|\(([^)]*)\))", text, re.M
                ):
                    names = [word.split()[0] for word in (one or many).split(",") if word.strip()]
                    dotted = [f"{room}.{word}".strip(".") for word in names]
                    found = [word for word in dotted if (paths.PACKAGE / f"{word.replace('.', '/')}.py").is_file()]
                    waiting += found or [room]
        counted = {name for name in expected if not name.startswith("jobs.")} - set(code_digest.UNCOUNTED)
        files = code_digest.reachable(script) - {script}
        reached = {".".join(path.relative_to(paths.PACKAGE).with_suffix("").parts) for path in files}
        assert reached == counted, script


def test_figures_are_no_part_of_training():
    names = {path.stem for path in code_digest.reachable(paths.SCRIPTS / "train_adapter.py")}
    assert {"train", "layers", "loss", "packing", "bases", "tokens", "launch"} <= names
    assert not names & {"tradeoff", "summary", "perplexity", "readers", "examples"}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package for its files to be edited, which digests are taken of."""
    shutil.copytree(paths.SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(paths, "SCRIPTS", tmp_path / "scripts")
    return tmp_path / "scripts/frontier"


@pytest.fixture
def identities(package):
    """A function of modules of the package: what the shipped study's jobs and code are called once these are edited."""
    study = schema.resolve(yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8")))
    names = {"base": "nf4", "baseline": "nf4"}

    def edited(*files: Path) -> dict[str, str]:
        sources = {file: file.read_text("utf-8") for file in files}
        for file, source in sources.items():
            file.write_text(source + "\nEDITED = True\n", encoding="utf-8")
        code = code_digest.script_digests()
        made = study_identities(study, code).items()
        for file, source in sources.items():
            file.write_text(source, encoding="utf-8")
        return code | {kind: it if isinstance(it, str) else it(names.get(kind, "nf4-r8-s0")) for kind, it in made}

    return edited


def test_what_starts_and_watches_jobs_makes_nothing_again(identities, package):
    uncounted = [package / f"{name}.py" for name in code_digest.UNCOUNTED]
    assert identities(*package.glob("jobs/*.py"), *uncounted) == identities()


def test_what_can_change_a_result_makes_it_again(identities, package):
    before = identities()
    model = "layers loss packing data/tokens bases dtypes cache stamps".split()
    both = ["outcomes", "records", "paths", *(f"model/{name}" for name in model)]
    both += ["run/recovery"]
    both += [f"machine/{path.stem}" for path in package.glob("machine/[a-z]*.py")]
    trained = ["run/train", "run/trainer", "run/sharding", "run/clock", "run/checkpoints", "run/guard", "run/fit"]
    trained += ["run/build", "run/cost", "model/captured_step", "model/levers"]
    training_alone = ["machine/spill", "machine/capture_budget", *trained]
    for module in [*both, *trained]:
        after = identities(package / f"{module}.py")
        changed = {name for name in before if after[name] != before[name]}
        expected = {"training", "train_adapter", "evaluation", *([] if module in training_alone else ["baseline"])}
        assert expected <= changed, module


def test_how_examples_are_read_is_part_of_the_data_and_not_of_trainings_code(identities, package):
    before = identities()
    for module in "checks json_lines split readers examples formats conversations tables near_repeats".split():
        after = identities(package / f"model/data/{module}.py")
        changed = {name for name in before if after[name] != before[name]}
        assert {"data", "tokens", "training", "evaluation", "baseline"} <= changed, module
        assert "train_adapter" not in changed, module


def test_moving_and_renaming_a_module_changes_nothing(package):
    """One that is imported by its name and by what is in it, at the head of files and within functions."""
    before = code_digest.script_digests()
    move(package, "model.packing", "run.laid_end_to_end")
    move(package, "machine.gpus", "machine.cards_there")
    assert not (package / "model/packing.py").exists()
    assert code_digest.script_digests() == before


def test_an_import_that_points_elsewhere_counts(package):
    before = code_digest.script_digests()["train_adapter"]
    loss = package / "model/loss.py"
    (package / "model/other_dense.py").write_text((package / "model/dense.py").read_text("utf-8"), encoding="utf-8")
    text = loss.read_text("utf-8")
    loss.write_text(text.replace("frontier.model.dense import", "frontier.model.other_dense import"), encoding="utf-8")
    assert loss.read_text("utf-8") != text
    assert code_digest.script_digests()["train_adapter"] == before, "a copy is as good"
    other = package / "model/other_dense.py"
    other.write_text(other.read_text("utf-8") + "\nEDITED = True\n", encoding="utf-8")
    assert code_digest.script_digests()["train_adapter"] != before


def test_another_job_of_a_script_counts(package):
    before = code_digest.script_digests()
    script = package.parent / "evaluate.py"
    script.write_text(script.read_text("utf-8").replace("run.perplexity.evaluate", "run.accuracy.measure_accuracy"))
    assert code_digest.script_digests()["evaluate"] != before["evaluate"]


@pytest.mark.parametrize(
    "call",
    ["from frontier.jobs import supervise as s\ns.run_job", "from frontier.jobs.supervise import run_job\nrun_job"],
)
def test_the_job_of_a_script_is_followed_however_it_is_called(package, call):
    script = package.parent / "evaluate.py"
    before = code_digest.reachable(script)
    script.write_text(f'{call}("run.perplexity.evaluate", snakemake)', encoding="utf-8")
    assert code_digest.reachable(script) == before


@pytest.mark.parametrize(
    "statement",
    [
        "import frontier.records",
        "import frontier",
        "from . import records",
        "from .records import digest",
        "from frontier.records import *",
        "from frontier.model import nothing_there",
        "from frontier.nowhere.near import something",
        "def later():\n    from frontier import nothing_there",
        "from frontier.jobs.supervise import run_job\nrun_job(name, snakemake)",
    ],
)
def test_an_import_that_cannot_be_followed_is_refused(package, statement):
    loss = package / "model/loss.py"
    loss.write_text(loss.read_text("utf-8") + f"\n{statement}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"loss\.py"):
        code_digest.script_digests()


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """A function that gives the digest of one module of a package of two others, `first` and `second`, alike in all."""
    room = tmp_path / "frontier/model"
    room.mkdir(parents=True)
    for number, name in enumerate(("first", "second")):
        (room / f"{name}.py").write_text(f"def f():\n    return {number}\n\n\ndef g():\n    return -{number}\n")
    monkeypatch.setattr(paths, "SCRIPTS", tmp_path)

    def digest(source: str) -> str:
        (room / "third.py").write_text(source, encoding="utf-8")
        return code_digest.code_digest(room / "third.py")

    return digest


ROOM, FIRST, SECOND = (f"from frontier.{name} import" for name in ("model", "model.first", "model.second"))


@pytest.mark.parametrize(
    ("source", "same"),
    [
        (f"{ROOM} first, second\nfirst.f(second)", f"{ROOM} second\n{ROOM} first\nfirst.f(second)"),
        (f"{FIRST} f, g\nf(g)", f"{FIRST} g\n{FIRST} f\nf(g)"),
        (f"{FIRST} f\n{SECOND} g\nf(g)", f"{SECOND} g\n{FIRST} f\nf(g)"),
        (f"def h():\n    {FIRST} f, g\n    f(g)", f"def h():\n    {FIRST} g\n    {FIRST} f\n    f(g)"),
        (f"try:\n    h()\nfinally:\n    {FIRST} f, g", f"try:\n    h()\nfinally:\n    {FIRST} g\n    {FIRST} f"),
        (f"{ROOM} first\nfirst.f()", f"{ROOM} first as one\none.f()"),
        (f"{FIRST} f\nf()", f"{FIRST} f as other\nother()"),
        (f"def h():\n    {FIRST} f\n    f()", f"def h():\n    {FIRST} f as other\n    other()"),
        (f"{ROOM} first, second\nfirst.f(second)", f"{ROOM} first as second, second as first\nsecond.f(first)"),
    ],
    ids="modules names sources function finally module-alias name-alias function-alias swapped".split(),
)
def test_how_an_import_is_written_does_not_count(digest_of, source, same):
    assert digest_of(source) == digest_of(same)


@pytest.mark.parametrize(
    ("source", "other"),
    [
        (f"{FIRST} f\nf()", f"{SECOND} f\nf()"),
        (f"{FIRST} f\nf()", f"{FIRST} g\ng()"),
        (f"{FIRST} f, g\nf()", f"{FIRST} f, g\ng()"),
        (f"{FIRST} f", f"{FIRST} f\n{ROOM} second"),
        ("def h():\n    pass", f"def h():\n    {ROOM} first\n    pass"),
        (f"def h():\n    {FIRST} f\n    f()", f"def h():\n    {SECOND} f\n    f()"),
        # Where the name is hidden, what stands there is not the thing.
        (f"{FIRST} f as a\ndef h(a):\n    return a", f"{FIRST} f\ndef h(a):\n    return f"),
        (f"{ROOM} first as a\ndef h(a):\n    return a", f"{ROOM} first\ndef h(a):\n    return first"),
        (f"{FIRST} f as a\nfor a in h:\n    a()", f"{FIRST} f\nfor a in h:\n    f()"),
        (
            f"{FIRST} f as a\ntry:\n    h()\nexcept E as a:\n    a()",
            f"{FIRST} f\ntry:\n    h()\nexcept E as a:\n    f()",
        ),
        (f"{FIRST} f as a\nimport a\na()", f"{FIRST} f\nimport a\nf()"),
        # One name is two things, each in a function of its own, and the first function's two names are swapped.
        (
            f"def h():\n    {FIRST} f as a, g as b\n    a(b)\ndef k():\n    {FIRST} g as a, f as b\n    a(b)",
            f"def h():\n    {FIRST} f as b, g as a\n    a(b)\ndef k():\n    {FIRST} g as a, f as b\n    a(b)",
        ),
    ],
)
def test_what_an_import_leads_to_counts(digest_of, source, other):
    assert digest_of(source) != digest_of(other)


def test_what_a_function_imports_counts(digest_of, tmp_path):
    source = f"def h():\n    {FIRST} f\n    return f()"
    before = digest_of(source)
    first = tmp_path / "frontier/model/first.py"
    first.write_text(first.read_text().replace("return 0", "return 2"))
    assert digest_of(source) != before


@pytest.mark.parametrize("statement", [f"{ROOM} third", f"def later():\n    {ROOM} third"])
def test_modules_that_import_each_other_are_refused(digest_of, tmp_path, statement):
    (tmp_path / "frontier/model/first.py").write_text(statement)
    circle = "frontier.model.third imports frontier.model.first imports frontier.model.third: takes modules that do not"
    with pytest.raises(ValueError, match=circle):
        digest_of(f"{ROOM} first, second")


def test_a_module_that_imports_itself_is_refused(digest_of):
    with pytest.raises(ValueError, match=r"^frontier\.model\.third imports frontier\.model\.third: "):
        digest_of(f"{ROOM} third")

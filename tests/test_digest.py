"""A code digest changes with logic and with nothing else, the same under every Python."""

import ast
import hashlib
import shutil

import pytest
import yaml
from conftest import ROOT
from frontier import config, digest

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
    assert digest.canonical(other) == digest.canonical(SOURCE)


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
    assert digest.canonical(SOURCE.replace(old, new)) != digest.canonical(SOURCE)


def test_same_under_every_python():
    """The text that Python 3.11 makes of the source, which other versions must make too."""
    assert (
        hashlib.sha256(digest.canonical(SOURCE).encode()).hexdigest()
        == "155ed44a35546ea73967b9fd3ed52e4a3ab43619b11747d5de9e7890a24d4395"
    )


def test_every_scripts_digest_covers_what_it_runs():
    """Walk the imports afresh, by name alone: all that a script can reach, but the plumbing, stands in its digest."""
    scripts = sorted(digest.SCRIPTS.glob("*.py"))
    assert len(scripts) >= 10
    for script in scripts:
        function = next(
            node.args[0].value
            for node in ast.walk(ast.parse(script.read_text("utf-8")))
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        )
        reached = {path.stem for path in digest.reachable(script)}
        waiting, expected = [function.split(".")[0], "supervise", "worker"], set()
        while waiting:
            name = waiting.pop()
            if name not in expected:
                expected.add(name)
                text = (digest.SCRIPTS / "frontier" / f"{name}.py").read_text("utf-8")
                for node in ast.walk(ast.parse(text)):
                    if isinstance(node, ast.ImportFrom) and node.module == "frontier":
                        waiting += [alias.name for alias in node.names]
                    elif isinstance(node, ast.ImportFrom) and node.module.startswith("frontier."):
                        waiting.append(node.module.split(".")[1])
        assert reached == expected - set(digest.PLUMBING) | {script.stem}, script


def test_figures_are_no_part_of_training():
    names = {path.stem for path in digest.reachable(digest.SCRIPTS / "train_adapter.py")}
    assert {"training", "layers", "loss", "packing", "models", "data", "launch"} <= names
    assert not names & {"figures", "summary", "evaluation"}


@pytest.fixture
def identities(tmp_path, monkeypatch):
    """A function of modules of the package: what the shipped study's jobs and code are called once these are edited."""
    shutil.copytree(digest.SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "SCRIPTS", tmp_path / "scripts")
    study = config.resolve(yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8")))
    names = {"base": "nf4", "baseline": "nf4"}
    scripts = "fetch_model fetch_data tokenize_data prepare_base train_adapter evaluate_adapter evaluate_base".split()

    def edited(*modules: str) -> dict[str, str]:
        files = {tmp_path / f"scripts/frontier/{module}.py" for module in modules}
        sources = {file: file.read_text("utf-8") for file in files}
        for file, source in sources.items():
            file.write_text(source + "\nEDITED = True\n", encoding="utf-8")
        code = {name: digest.code_digest(name) for name in [*scripts, "measure_accuracy", "frontier/training"]}
        for file, source in sources.items():
            file.write_text(source, encoding="utf-8")
        made = config.identities(study, code).items()
        return code | {kind: it if isinstance(it, str) else it(names.get(kind, "nf4-r8-s0")) for kind, it in made}

    return edited


def test_plumbing_makes_nothing_again(identities):
    assert identities(*digest.PLUMBING) == identities()


def test_what_can_change_a_result_makes_it_again(identities):
    before = identities()
    launched = ["launch", "heap", "gpus"]
    measured = ["layers", "loss", "packing", "data", "models", "limits", "nvml", "measure", "outcomes", "records"]
    trained = ["training", "trainer", "kernels", "sharding", "spill", "clock", "checkpoints"]
    for module in launched + measured + trained:
        after = identities(module)
        expected = {"training", "train_adapter", "evaluation", *(["baseline"] if module not in trained else [])}
        assert expected <= {name for name in before if after[name] != before[name]}, module


def test_every_module_counts_or_is_known_not_to():
    """A new module is part of a result, or plumbing, or stands here: no job of the workflow comes to it."""
    without_a_job = {"__init__", "cluster", "status", "unlock"}
    counted = {path.stem for script in digest.SCRIPTS.glob("*.py") for path in digest.reachable(script)}
    modules = {path.stem for path in digest.SCRIPTS.glob("frontier/*.py")}
    assert modules - counted == without_a_job | set(digest.PLUMBING)

"""A code digest changes with logic and with nothing else, the same under every Python."""

import ast
import hashlib

import pytest
from frontier import digest

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
    """Walk the imports afresh, by name alone: all that a script can reach stands in its digest."""
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
                for line in text.splitlines():
                    words = line.replace(",", " ").split()
                    if words[:2] == ["from", "frontier"]:
                        waiting += words[3:]
                    elif words[:1] == ["from"] and words[1].startswith("frontier."):
                        waiting.append(words[1].split(".")[1])
        assert reached == expected | {script.stem}, script


def test_figures_are_no_part_of_training():
    names = {path.stem for path in digest.reachable(digest.SCRIPTS / "train_adapter.py")}
    assert {"training", "layers", "loss", "packing", "models", "data", "supervise"} <= names
    assert not names & {"figures", "summary", "evaluation"}

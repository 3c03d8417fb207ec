"""Run the lines of an adapter's card that load it, with the base and the adapter from folders here."""

import ast
import re
from pathlib import Path

_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def run_lines(card: str, base: Path, adapter: Path) -> None:
    """Run the first Python code of a card; whatever it calls base and adapter, they are loaded from these folders.

    What it raises is raised on: such a card is not to be written.
    """
    lines = _FromHere(base, adapter).visit(ast.parse(_CODE.findall(card)[0]))
    exec(compile(ast.fix_missing_locations(lines), "README.md", "exec"), {})


class _FromHere(ast.NodeTransformer):
    """Puts folders here in the place of the names by which code loads a base, an adapter and its tokenizer."""

    def __init__(self, base: Path, adapter: Path):
        self.base, self.adapter = base, adapter

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained":
            is_base = ast.unparse(node.func.value) == "AutoModelForCausalLM"
            node.args[-1] = ast.Constant(str(self.base if is_base else self.adapter))
            # A revision is of the hub, and the folder here is of that revision.
            node.keywords = [one for one in node.keywords if one.arg != "revision"]
        return node

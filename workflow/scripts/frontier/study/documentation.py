"""Write what is said of the keys elsewhere: config/README.md's tables, config/config.yaml's comments, the JSON schema.

`python -m frontier.study.documentation` (`make docs`) writes them; a test fails where one is not what would be written.
"""

import json
import re
from collections.abc import Iterator

import yaml

from frontier import paths
from frontier.records import write_text
from frontier.study.annotation import annotated
from frontier.study.json_schema import schema_of_all
from frontier.study.keys.configuration import OPTIONAL, SOURCED
from frontier.study.keys.key import Key, Section

CONFIG_FILE = paths.ROOT / "config" / "config.yaml"
README = paths.ROOT / "config" / "README.md"
_SCHEMA_HEAD = "# Written by `make docs` out of workflow/scripts/frontier/study/keys, for editors. Edit that instead.\n"
_TABLE_HEAD = "| key | takes | default | what it buys |\n|---|---|---|---|\n"
# A table of config/README.md, between two comments that the page does not show.
_TABLE = re.compile(
    r"(<!-- keys: ([\w.-]+); `make docs` writes this table -->\n\n).*?(\n<!-- end of keys -->)", re.DOTALL
)


def main() -> None:
    """Write each file that does not say what the keys say, and print its name."""
    for path, content in documents().items():
        if not path.exists() or path.read_text("utf-8") != content:
            write_text(path, content)
            print(path.relative_to(paths.ROOT))


def documents() -> dict:
    """Return the content that each file should have, by its path."""
    return {
        CONFIG_FILE: annotated(CONFIG_FILE.read_text("utf-8")),
        README: with_tables(README.read_text("utf-8")),
        paths.SCHEMA: schema_file(),
    }


def schema_file() -> str:
    """Return the JSON schema of every configuration as YAML."""
    # Through JSON, so that no part that two keys share becomes an alias, which is hard to read.
    plain = json.loads(json.dumps(schema_of_all()))
    return _SCHEMA_HEAD + yaml.safe_dump(plain, sort_keys=False, width=120, default_flow_style=None)


def with_tables(page: str) -> str:
    """Return the page with each of its tables of keys made anew; ValueError where it has other tables than `tables`."""
    made = tables()
    found = [match[2] for match in _TABLE.finditer(page)]
    if sorted(found) != sorted(made):
        raise ValueError(
            f"{README}: has tables of keys for {', '.join(found)}; takes one for each of {', '.join(made)}"
        )
    return _TABLE.sub(lambda match: match[1] + made[match[2]] + match[3], page)


def tables() -> dict[str, str]:
    """Return a Markdown table for each set of keys: a section's source, what its sources share, and all other keys."""
    made = {}
    for section in SOURCED:
        for source, keys in section.sources.items():
            made[f"{section.name}.{source}"] = _table(_rows(keys, f"{section.name}."))
        if section.shared:
            made[f"{section.name}.shared"] = _table(_rows(section.shared, f"{section.name}."))
    return made | {"optional": _table(_rows(OPTIONAL, ""))}


def _table(rows: Iterator[str]) -> str:
    return _TABLE_HEAD + "".join(rows)


def _rows(entries: tuple[Key | Section, ...], prefix: str) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, Section):
            yield from _rows(entry.keys, f"{prefix}{entry.name}.")
        else:
            cells = (f"`{prefix}{entry.name}`", entry.kind.takes, _default(entry), entry.buys)
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _default(key: Key) -> str:
    """Return a key's default as JSON, or in words where there is none."""
    if key.is_required:
        return "must be given"
    return "empty" if key.default is None else f"`{json.dumps(key.default)}`"


if __name__ == "__main__":
    main()

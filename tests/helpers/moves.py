"""A module of the package moved and renamed, with all that names it."""

import re
from pathlib import Path


def move(package: Path, old: str, new: str) -> None:
    """Move a module, named ROOM.MODULE, and change each import and use of it, as an editor would."""
    (old_room, old_name), (new_room, new_name) = old.split("."), new.split(".")
    target = package / new_room / f"{new_name}.py"
    (package / old_room / f"{old_name}.py").rename(target)
    for file in [*package.rglob("*.py"), *package.parent.glob("*.py")]:
        lines = file.read_text("utf-8").splitlines(keepends=True)
        names_it = False
        for number, line in enumerate(lines):
            line = line.replace(f"frontier.{old} ", f"frontier.{new} ")
            together = re.fullmatch(rf"( *)from frontier\.{old_room} import ([\w, ]+)\n", line)
            if together and old_name in (names := together[2].split(", ")):
                names.remove(old_name)
                rest = f"{together[1]}from frontier.{old_room} import {', '.join(names)}\n" if names else ""
                line = f"{rest}{together[1]}from frontier.{new_room} import {new_name}\n"
                names_it = True
            elif names_it:
                line = re.sub(rf"\b{old_name}\b(?=[.,)])", new_name, line)
            lines[number] = line
        file.write_text("".join(lines), encoding="utf-8")

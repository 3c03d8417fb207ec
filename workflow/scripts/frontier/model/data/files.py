"""Which files a user means by the path of a file of examples or of a folder of them.

Loads no library: each call of Snakemake asks which files to watch.
"""

from pathlib import Path

from frontier.errors import UserError

# Endings of the files that a folder is read for, by what is in them.
ENDINGS = {
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON",
    ".csv": "CSV",
    ".tsv": "CSV",
    ".parquet": "parquet",
    ".arrow": "Arrow",
    ".feather": "Arrow",
}
# What datasets' save_to_disk writes beside its Arrow files.
_NO_EXAMPLES = ("dataset_info.json", "dataset_dict.json", "state.json")


def example_files(path: str) -> list[str]:
    """Return the files of examples at a path, in the order of their names: a file itself, or all that a folder has.

    Folders within the folder are not read, nor are hidden files. Raises UserError where a folder has none.
    """
    folder = Path(path)
    if not folder.is_dir():
        return [path]
    found = [one for one in sorted(folder.iterdir()) if one.is_file() and one.suffix.lower() in ENDINGS]
    files = [str(one) for one in found if one.name not in _NO_EXAMPLES and not one.name.startswith((".", "_"))]
    if not files:
        inner = sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
        hint = f"; name one of its folders: {', '.join(inner[:5])}" if inner else ""
        raise UserError(f"data: {path}: takes a folder with files of {', '.join(ENDINGS)}, has none{hint}")
    return files

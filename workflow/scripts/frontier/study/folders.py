"""Tell a user who is in another folder than the study's what to type."""

from pathlib import Path

from frontier import paths
from frontier.errors import UserError

# Where a study has its configuration.
CONFIG = Path("config/config.yaml")
# Folders of what a study makes.
_MADE = ("results", "resources")
# Options of Snakemake whose value is a file that it writes, wherever that lies.
_WITH_A_FILE = ("--report", "--report-after-run", "--runtime-profile")


def check_folder(has_own_files: bool, root: Path = paths.ROOT) -> None:
    """Raise UserError where the working folder is no study's, and no other configuration is given (`has_own_files`)."""
    if has_own_files or CONFIG.exists():
        return
    raise UserError(
        f"folder: {Path.cwd()} has no {CONFIG}, so it is no study; in {root} type snakemake --cores 1, or for a study "
        "in a folder of its own snakemake --cores 1 --directory FOLDER"
    )


def check_targets(words: list[str]) -> None:
    """Raise UserError for a target that lies in the folder of another study, which is to be its working folder.

    `words` are those of the command line, since Snakemake knows its targets only when it has read its rules. A word
    counts as a target if it names what a study makes, and is no option's value.
    """
    for option, word in zip(["", *words], words, strict=False):
        target = Path(word)
        folder = next((one for one in target.parents if one.name and (one / CONFIG).is_file()), None)
        if folder is None or option in _WITH_A_FILE or target.is_absolute():
            continue
        made = target.relative_to(folder)
        if made.parts[0] in _MADE:
            raise UserError(
                f"{target}: is of the study in {folder}; type snakemake --cores 1 --directory {folder} {made}"
            )

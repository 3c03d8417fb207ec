"""Tell a user who is in another folder than the study's what to type."""

from collections.abc import Iterable
from pathlib import Path

from frontier import paths
from frontier.errors import UserError

# Where a study has its configuration.
CONFIG = Path("config/config.yaml")


def check_folder(has_own_files: bool, root: Path = paths.ROOT) -> None:
    """Raise UserError where the working folder is no study's, and no other configuration is given (`has_own_files`)."""
    if has_own_files or CONFIG.exists():
        return
    raise UserError(
        f"folder: {Path.cwd()} has no {CONFIG}, so it is no study; in {root} type snakemake --cores 1, or for a study "
        "in a folder of its own snakemake --cores 1 --directory FOLDER"
    )


def check_targets(targets: Iterable[str]) -> None:
    """Raise UserError for a target that lies in the folder of another study, which is to be its working folder."""
    for target in map(Path, targets):
        for folder in [target, *target.parents]:
            if folder.resolve() != Path.cwd().resolve() and (folder / CONFIG).is_file():
                rest = target.relative_to(folder).as_posix()
                words = f"snakemake --cores 1 --directory {folder}{'' if rest == '.' else f' {rest}'}"
                raise UserError(f"{target}: is of the study in {folder}; type {words}")

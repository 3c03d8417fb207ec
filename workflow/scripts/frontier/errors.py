"""Errors that a user can act on."""

from contextlib import contextmanager


class UserError(Exception):
    """Something outside the code, the configuration say, is wrong; its one line says what, and what to do instead."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, to be quoted in a one-line message of this project."""
    return str(error).strip().partition("\n")[0]


def one_line(error: BaseException) -> str:
    """Return an error's message with its lines behind each other, to be part of a line of ours."""
    return " ".join(str(error).split())


def printable(text: str) -> str:
    """Return a text as it is if it can be printed in a line, and else with escapes for what would break or hide it."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def no_study(folder: str) -> str:
    """Return the line for a folder of `merge` that is none of a finished study."""
    return (
        f"merge: {folder} is no finished study, it has no results/summary.csv; name one that has, or make it there "
        "with snakemake --cores 1 results/summary.csv"
    )


@contextmanager
def fetching(section: str, what: str, instead: str):
    """Raise UserError where the block fails to fetch `what`, which the config's `section` names.

    The message ends with `instead`, what to do instead, unless the operating system gave the reason, a full disk say.
    """
    from huggingface_hub.errors import HTTPError, XetDownloadError

    try:
        yield
    except (OSError, ValueError, HTTPError, XetDownloadError) as error:
        reason = first_line(error)
        if isinstance(error, OSError) and error.errno:
            line = f"{reason}, as {what} was fetched; downloads lie in HF_HOME, models in resources/cache too"
        else:
            line = f"the hub does not give {what} ({type(error).__name__}: {reason}); {instead}"
        raise UserError(f"{section}: {line}") from error

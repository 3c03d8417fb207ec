"""The hub's libraries, whose refusals are of many kinds, as a user meets them: one line."""

from contextlib import contextmanager

from frontier.errors import UserError, first_line


@contextmanager
def fetching(section: str, what: str, instead: str):
    """Raise UserError where the block cannot fetch `what`, of a config's `section`; `instead` is what else there is."""
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

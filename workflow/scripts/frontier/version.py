"""The workflow's own version."""

import tomllib

from frontier import paths


def workflow_version() -> str | None:
    """Return the version that the project's pyproject.toml states; None where the code was copied without that file.

    It goes into each record's environment and into no request or digest: a new version makes nothing again.
    """
    file = paths.ROOT / "pyproject.toml"
    return tomllib.loads(file.read_text("utf-8"))["project"]["version"] if file.is_file() else None

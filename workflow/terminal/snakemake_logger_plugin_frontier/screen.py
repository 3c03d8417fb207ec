"""A terminal with lines that stay and one below them that is written anew; a file or a pipe gets lines alone."""

import os
import shutil
import threading
from contextlib import suppress
from typing import TextIO

# Moves the cursor to the line's start and clears the line.
_CLEAR = "\r\033[K"


class Screen:
    """A stream to write to, by several threads; once it is gone, nothing is written any more."""

    def __init__(self, stream: TextIO):
        self._stream, self._lock, self._below = stream, threading.Lock(), ""
        self.is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"

    def print(self, line: str) -> None:
        """Print a line that stays."""
        self._write((_CLEAR if self.is_terminal else "") + line + "\n")

    def show(self, line: str) -> None:
        """On a terminal, write the line that passes anew; nothing elsewhere."""
        if self.is_terminal:
            self._write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])

    def clear(self) -> None:
        """Take the line that passes away."""
        if self.is_terminal:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()

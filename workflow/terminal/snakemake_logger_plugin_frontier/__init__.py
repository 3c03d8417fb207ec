"""A quiet terminal: a line where a run begins and one where a job ends, warnings, errors, and what the jobs say.

What Snakemake tells beside that goes to its log alone. A call that runs no jobs (`-n`, `--list`, `--dag`, `--lint`),
and one with `--verbose`, `--printshellcmds` or `--debug-dag`, prints what Snakemake prints without this plugin.
"""

import os
import sys
from logging import WARNING, LogRecord

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_frontier.overwritten import Overwritten
from snakemake_logger_plugin_frontier.screen import Screen
from snakemake_logger_plugin_frontier.sweep import Sweep

# What tells the jobs that their progress is shown by this plugin, and whether in a line that is written anew
# (`frontier.progress`).
VARIABLE = "FRONTIER_TERMINAL"
# How messages begin that the lines of this plugin and of the jobs make superfluous, beside all that is no warning.
_SAID_OTHERWISE = (
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete successfully.",
)


class LogHandler(LogHandlerBase):
    """Snakemake's log handler for the terminal."""

    def __post_init__(self) -> None:
        asked = self.common_settings
        stream = sys.stdout if asked.stdout else sys.stderr
        self._loud = ColorizingTextHandler(nocolor=asked.nocolor, stream=stream)
        self._loud.setFormatter(DefaultFormatter(asked.quiet, asked.show_failed_logs))
        self._filter = DefaultFilter(asked.quiet, asked.debug_dag, asked.verbose, asked.dryrun, asked.printshellcmds)
        self._is_loud = asked.dryrun or asked.verbose or asked.debug_dag or asked.printshellcmds
        self._overwritten = Overwritten() if asked.dryrun else None
        # What came before it was known whether any job will run.
        self._kept: list[LogRecord] = []
        self._sweep: Sweep | None = None
        if not self._is_loud:
            self._screen = Screen(sys.stderr)
            os.environ[VARIABLE] = "in place" if self._screen.is_terminal else "lines"

    def emit(self, record: LogRecord) -> None:
        """Show a record, in whichever way."""
        if not self._filter.filter(record):
            return
        if self._is_loud:
            self._emit_loud(record)
        elif self._sweep:
            self._emit_quiet(record, self._sweep)
        elif getattr(record, "event", None) == LogEvent.WORKFLOW_STARTED:
            self._kept.clear()
            self._sweep = Sweep(self._screen)
        elif record.levelno >= WARNING:
            self._release()
            self._loud.emit(record)
        else:
            self._kept.append(record)

    def close(self) -> None:
        """Say how the call has ended."""
        self._release()
        if self._sweep:
            self._sweep.end()
            self._sweep = None
        super().close()

    def _emit_loud(self, record: LogRecord) -> None:
        if self._overwritten and (line := self._overwritten.told(record)):
            self._loud.stream.write(line + "\n")
        self._loud.emit(record)

    def _emit_quiet(self, record: LogRecord, sweep: Sweep) -> None:
        if sweep.heed(record):
            return
        text = self._loud.format(record)
        if "Nothing to be done" in text:
            self._screen.print("nothing to be done: all that was asked for is there, and up to date")
        elif record.levelno >= WARNING and not text.startswith(_SAID_OTHERWISE) and not sweep.has_said(text):
            self._screen.clear()
            self._loud.emit(record)

    def _release(self) -> None:
        """Print what was kept back, as without this plugin."""
        for record in self._kept:
            self._loud.emit(record)
        self._kept.clear()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

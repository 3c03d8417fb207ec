"""The parts of the quiet terminal: how long runs will take still, and lines that are written anew."""

import io

import pytest
from snakemake_logger_plugin_frontier.jobs import duration, seconds_left
from snakemake_logger_plugin_frontier.screen import Screen


@pytest.mark.parametrize(
    ("waiting", "done", "running", "planned", "left"),
    [
        (2, [], [(10, None)], None, None),
        (2, [], [(10, 50.0)], None, 50 + 2 * 60),
        (2, [], [(10, None)], 100.0, 90 + 2 * 100),
        (2, [80, 90, 400], [(10, 5.0)], 100.0, 5 + 2 * 90),
        (4, [100], [(0, 10.0), (0, 20.0)], None, 20 + 4 * 100 / 2),
        (0, [100], [(300, None)], None, 0),
        (0, [], [], None, 0),
    ],
)
def test_what_was_measured_counts_before_the_plan(waiting, done, running, planned, left):
    assert seconds_left(waiting, done, running, planned) == left


def test_durations_read_as_people_say_them():
    assert [duration(seconds) for seconds in (0.4, 89, 91, 3540, 3600, 7500)] == [
        "0 s",
        "89 s",
        "2 min",
        "59 min",
        "1 h 00 min",
        "2 h 05 min",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_a_line_that_is_written_anew(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    screen = Screen(stream)
    screen.show("step 1 of very very many")
    screen.print("done")
    assert stream.getvalue() == "\r\x1b[Kstep 1 of very very\r\x1b[Kdone\n"


def test_a_file_has_lines_alone_and_a_stream_that_is_gone_none():
    stream = io.StringIO()
    screen = Screen(stream)
    screen.show("step 1")
    screen.clear()
    screen.print("done")
    assert stream.getvalue() == "done\n"
    stream.close()
    screen.print("nobody reads this")

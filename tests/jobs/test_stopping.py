"""A supervisor that is asked to stop, once and again."""

import signal

import pytest
from frontier.jobs import stopping


@pytest.fixture
def relay():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield stopping.Relay(print)
    for number, answer in before.items():
        signal.signal(number, answer)


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_before_there_is_a_worker_it_stops_once(relay, again):
    """Snakemake repeats its signal: the second came while the first's line was being put together."""
    with pytest.raises(stopping.Stopped):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(again)
    assert relay.requested

"""Replacements for CUDA graphs in a trace: what is captured is noted, and each replay counts it again."""

import contextlib
from collections.abc import Callable

from frontier.plan.step.tracer import Operation, Tracer


class TracedGraph:
    """What was captured on the meta device: each replay appends the same operations to the trace."""

    def __init__(self, tracer: Tracer):
        self.tracer = tracer
        self.operations: list[Operation] = []

    def replay(self) -> None:
        self.tracer.trace.operations += self.operations


class TracedGraphs:
    """Replaces `CudaGraphs` in a plan; what is allocated during a capture counts as in the graphs' own pool."""

    def __init__(self, tracer: Tracer):
        self.tracer = tracer

    def on_stream(self):
        """Return a context that does nothing: on the meta device nothing waits."""
        return contextlib.nullcontext()

    def warm_up(self, work: Callable) -> None:
        """Do nothing: the capture that follows allocates the same, in the graphs' own memory."""

    def capture(self, work: Callable) -> tuple[TracedGraph, object]:
        """Trace what `work` does as a graph's operations; return the graph and the result of `work`."""
        graph = TracedGraph(self.tracer)
        with self.tracer.capturing(graph.operations):
            result = work()
        return graph, result

"""CUDA graphs as the tracer sees them."""

import contextlib
from collections.abc import Callable

from frontier.plan.step.tracer import Operation, Tracer


class TracedGraph:
    """A CUDA graph that was captured on the meta device: each replay does its operations again."""

    def __init__(self, tracer: Tracer):
        self.tracer = tracer
        self.operations: list[Operation] = []

    def replay(self) -> None:
        self.tracer.trace.operations += self.operations


class TracedGraphs:
    """Stands in for `CudaGraphs`: what work allocates while it is captured belongs to a graph."""

    def __init__(self, tracer: Tracer):
        self.tracer = tracer

    def on_stream(self):
        """Return a context that does nothing: on the meta device nothing waits."""
        return contextlib.nullcontext()

    def warm_up(self, work: Callable) -> None:
        """Do nothing: the capture that follows allocates the same, in the graphs' own memory."""

    def capture(self, work: Callable) -> tuple[TracedGraph, object]:
        """Trace what `work` does as a graph's; return the graph and the result of `work`."""
        graph = TracedGraph(self.tracer)
        with self.tracer.capturing(graph.operations):
            result = work()
        return graph, result

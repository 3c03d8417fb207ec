"""CUDA graphs of one training: they share a stream and a pool of memory."""

from collections.abc import Callable
from contextlib import contextmanager

import torch


class CudaGraphs:
    """A stream on which work is captured in CUDA graphs and replayed, and the memory that all of them share."""

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def on_stream(self):
        """Run the block on the stream: after what was launched before the block, and before what is launched next."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def warm_up(self, work: Callable) -> None:
        """Do the work once uncaptured, so that every kernel that a graph may meet is loaded."""
        work()

    def capture(self, work: Callable) -> tuple[torch.cuda.CUDAGraph, object]:
        """Capture what `work` launches; return the graph and the result of `work`, which each replay writes anew."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            result = work()
        return graph, result

"""Adam steps on torch: eager, or captured as a CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lcsd.divroc.adam import Adam

GRAPH_WARMUP = 3
"""Steps before a CUDA graph is captured, so that all libraries are initialised."""


class _GraphStep:
    """Adam steps on CUDA: the first ones eager, then one captured graph, launched as a whole.

    A step is some hundred small kernels; launched one by one they would take longer to start than to run.
    """

    def __init__(self, eager: Callable[[], tuple[Any, Any]]) -> None:
        self._eager = eager
        self._stream = torch.cuda.Stream()
        self._left = GRAPH_WARMUP
        self._graph: Any = None
        self._values: tuple[Any, Any] | None = None

    def __call__(self) -> tuple[Any, Any]:
        if self._left > 0:
            self._left -= 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                values = self._eager()
            torch.cuda.current_stream().wait_stream(self._stream)
            return values
        if self._values is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):  # records, does not run
                self._values = self._eager()
        self._graph.replay()
        return self._values


class TorchSteps:
    """Adam steps of a tensor along the gradient of ``losses``, which returns the distance and the objective.

    ``fixed_work``: each step runs the same kernels, so that a CUDA graph can be made of them.
    """

    def __init__(self, control: Tensor, losses: Callable[[], tuple[Tensor, Tensor]], *, fixed_work: bool) -> None:
        self._control = control
        self._losses = losses
        # On CUDA a graph reads the rate from the device.
        self._rate = torch.zeros((), device=control.device) if control.is_cuda else None
        self._optimiser = Adam(control, 0.0 if self._rate is None else self._rate)
        # Algorithms that repeat bit by bit wait for the device, which a graph cannot.
        graphed = control.is_cuda and fixed_work and not torch.are_deterministic_algorithms_enabled()
        self._step = _GraphStep(self._eager) if graphed else self._eager

    def _eager(self) -> tuple[Any, Any]:
        distance, objective = self._losses()
        self._optimiser.step(*torch.autograd.grad(objective, self._control))
        return distance, objective.detach()

    def __call__(self, rate: float) -> tuple[float, float]:
        """Make one step at a learning rate; return distance and objective before it."""
        if self._rate is None:
            self._optimiser.rate = rate
        else:
            self._rate.fill_(rate)
        distance, objective = self._step()
        return float(distance), float(objective)

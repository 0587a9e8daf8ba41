"""Adam on one tensor, without torch's compiler."""

import torch
from torch.optim.adam import adam


class Adam:
    """The steps of ``torch.optim.Adam`` on one tensor, by the function that does its work.

    The class itself imports torch's compiler, for which a process waits two seconds and more.
    """

    def __init__(self, parameter: torch.Tensor, rate: float | torch.Tensor) -> None:
        self.rate = rate
        self._parameter = parameter
        self._means = torch.zeros_like(parameter), torch.zeros_like(parameter)
        # Steps that a CUDA graph replays count on the device.
        device = parameter.device if parameter.is_cuda else None
        self._count = torch.zeros((), dtype=torch.float32, device=device)

    @torch.no_grad()
    def step(self, gradient: torch.Tensor) -> None:
        """Move the tensor by one step along its gradient."""
        mean, square = self._means
        adam(
            [self._parameter],
            [gradient],
            [mean],
            [square],
            [],
            [self._count],
            capturable=self._parameter.is_cuda,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

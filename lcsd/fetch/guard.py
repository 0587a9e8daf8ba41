"""Turn into another program that ends with its parent, even if the parent is killed.

Run by its path, without the package: ``python -I -S guard.py PARENT_PID PROGRAM ARGUMENT ...``.
On Linux the kernel sends the signal (prctl(2), PR_SET_PDEATHSIG), and it outlives execv. Elsewhere the program
outlives a parent that is killed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Request the signal, then replace this process by the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The signal is not sent if the parent died before the call above.
    if os.getppid() == int(sys.argv[1]):
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()

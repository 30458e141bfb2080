"""Become another program that dies when its parent dies, run as a script by `process.spawn`.

The kernel's parent-death signal survives exec, so the server itself needs no knowledge of this.
Elsewhere than on Linux the program simply runs. Only the standard library, and little of it: the
start of every server waits for this file.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arguments: pid of the parent, then the program and its arguments."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the line above took effect.
        if os.getppid() != parent:
            sys.exit("the parent process is gone")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()

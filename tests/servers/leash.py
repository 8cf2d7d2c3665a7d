"""Executes a command that must not outlive the process that asked for it.

Run as a script: ``python leash.py OWNER_PID SIGNAL UID COMMAND…``. The kernel sends SIGNAL to the
command when its owner dies, be it by SIGKILL (Linux only; elsewhere the command runs unleashed).
UID 0 or more changes the user first, since a change of user takes a leash off. A script and not a
``preexec_fn``, because that is unsafe once the owner has threads.
"""

import ctypes  # here and not where it is used: the other user may not be able to read it
import os
import signal
import sys
from collections.abc import Sequence

KEEP_USER = -1


def leashed(
    command: Sequence[str], *, death: signal.Signals = signal.SIGKILL, uid: int = KEEP_USER
) -> list[str]:
    """The command line that runs ``command`` on a leash held by the calling *thread*.

    Linux ties the leash to the thread that starts the process: start from the main thread.
    """
    interpreter = [sys.executable, "-I", "-S", __file__]
    return [*interpreter, str(os.getpid()), str(int(death)), str(uid), *command]


def leash_this_process(owner: int, death: signal.Signals = signal.SIGKILL) -> None:
    """From now on this process gets ``death`` when its parent ``owner`` dies (Linux only)."""
    if sys.platform != "linux":
        return
    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, int(death), 0, 0, 0)
    if os.getppid() != owner:
        raise SystemExit("the owner died before the command began")


def _main() -> None:
    owner, death, uid, *command = sys.argv[1:]
    if int(uid) != KEEP_USER:
        _become(int(uid))
    leash_this_process(int(owner), signal.Signals(int(death)))
    # A test run that a shell put into the background ignores Ctrl-C, and would hand that on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


def _become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


if __name__ == "__main__":
    _main()

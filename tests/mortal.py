"""What workers do who die, as if for want of memory. The environment's MORTAL is the file that says: once already.

Nothing heavy is imported here, so that they start at once.
"""

import os
import signal


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_once():
    if not os.path.exists(os.environ["MORTAL"]):
        open(os.environ["MORTAL"], "w").close()
        die()


def squares():
    """What a worker does; how, depends on the number."""

    def square(number):
        if number == 5:
            die_once()
        if number == 100:
            die()
        return number**2

    return square


def too_much():
    def refuse(number):
        if number == 3:
            raise ValueError("3 is too much")

    return refuse

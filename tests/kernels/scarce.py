"""Run as a process of its own: convolutions in training where memory or threads are scarce. Prints what each call raised."""

import resource
from pathlib import Path

import numpy as np

from gossamer.errors import RuntimeFailure
from gossamer.kernels.conv_geometry import ConvGeometry
from gossamer.kernels.training_matrix import TrainingMatrix

MIB = 1 << 20
SIDE = 640  # the padded planes of two images: 25 MiB a side of the product


def leave(room: int) -> None:
    """So many bytes of address space more than now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def main() -> None:
    places = TrainingMatrix((8, 72), np.arange(9, dtype=np.uint32), np.arange(8, dtype=np.uint16))
    values, geometry = np.ones(8, np.float32), ConvGeometry(kernel=(3, 3), padding=(1, 1))
    small, large = np.ones((2, 8, 4, 4), np.float32), np.ones((2, 8, SIDE, SIDE), np.float32)
    y, dx = np.empty_like(large), np.empty_like(large)
    places.conv(values, geometry, small, threads=2)  # the threads are there
    leave(70 * MIB)  # for the planes of one thread, but not of two
    for threads in (2, 200):
        try:
            places.conv(values, geometry, large, out=y, threads=threads)
        except RuntimeFailure as error:
            print(error)
        try:
            places.conv_backward(values, geometry, large, y, need_dx=True, out=dx, threads=threads)
        except RuntimeFailure as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(places.conv(values, geometry, large, threads=2)[0, 0, 1, 1])


if __name__ == "__main__":
    main()

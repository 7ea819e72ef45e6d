"""All tasks by name."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.tasks.fashion_mnist import FASHION_MNIST
from gossamer.tasks.task import ImageTask

TASKS: Mapping[str, ImageTask] = {FASHION_MNIST.name: FASHION_MNIST}

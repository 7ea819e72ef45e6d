"""The engines that a packed network is compared with, by the name the user types."""

from gossamer.bench.engines.base import Artifact, Engine, Run
from gossamer.bench.engines.gossamer import Gossamer
from gossamer.bench.engines.onnxruntime import OnnxRuntime
from gossamer.bench.engines.openvino import OpenVino, OpenVinoInt8
from gossamer.bench.engines.torch import Torch, TorchCompile

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (Torch(), TorchCompile(), OnnxRuntime(), OpenVino(), OpenVinoInt8(), Gossamer())
}

__all__ = ["ENGINES", "Artifact", "Engine", "Run"]

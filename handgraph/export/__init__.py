"""Nets in other runtimes: ONNX with a batch of any size, onnxruntime and OpenVINO.

The extra ``handgraph[export]`` has what these need, ``handgraph[openvino]`` OpenVINO too.
"""

from handgraph.export.onnx import to_onnx, trace
from handgraph.export.runtimes import load_onnxruntime, load_openvino

__all__ = ["load_onnxruntime", "load_openvino", "to_onnx", "trace"]

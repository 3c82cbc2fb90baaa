"""Export of networks to ONNX with a dynamic batch size, and inference in onnxruntime and OpenVINO.

This package needs the extra ``handgraph[export]``. :func:`load_openvino` needs
``handgraph[openvino]``.
"""

from handgraph.export.onnx import to_onnx, trace
from handgraph.export.runtimes import load_onnxruntime, load_openvino

__all__ = ["load_onnxruntime", "load_openvino", "to_onnx", "trace"]

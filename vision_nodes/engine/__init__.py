"""uint8 image -> named arrays, on TensorRT, OpenVINO or ONNX Runtime, checked against a manifest."""

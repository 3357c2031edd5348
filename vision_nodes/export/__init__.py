"""Checkpoint -> ONNX -> quantized -> TensorRT. Offline only."""

"""Somebody else's ONNX file wrapped so that it meets the model contract. Pure onnx, without torch."""

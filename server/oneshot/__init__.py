"""One-shot requests: the served models, and batches that run on ONNX Runtime."""

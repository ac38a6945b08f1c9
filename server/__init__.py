"""The gRPC server: one-shot requests on ONNX Runtime, long jobs through the queue."""

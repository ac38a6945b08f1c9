"""The gRPC server: one-shot requests on ONNX Runtime, long jobs through the queue."""

import os

# gRPC reads this when it is imported. Its own lines would mix with the log's in another format, and the server itself
# logs what an operator needs to know.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

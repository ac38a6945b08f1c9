"""The gRPC server: one-shot requests on ONNX Runtime, long jobs through the queue."""

import os

# gRPC reads this when it is imported. Its own lines would stand between those of the log, in another form; whatever
# a person must know of them, the server says itself.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

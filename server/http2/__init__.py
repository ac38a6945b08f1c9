"""gRPC over HTTP/2 on asyncio: connections, calls, messages and metadata; nghttp2 speaks HTTP/2."""

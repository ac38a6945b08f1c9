"""The generated gRPC contract: made by `make proto` from proto/smalti/v1, never edited."""

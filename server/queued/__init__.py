"""Requests that go through the queue: makes jobs, follows them, streams a drawing."""

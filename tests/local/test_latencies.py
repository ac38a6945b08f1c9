import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from local.latencies import Latency, merge, parse


def a_page(*values, label="x"):
    registry = CollectorRegistry()
    histogram = Histogram("wait_seconds", "Waiting.", ["model"], buckets=(0.1, 0.2, 0.4), registry=registry)
    Histogram("unused_seconds", "Nothing.", registry=registry)
    for value in values:
        histogram.labels(label).observe(value)
    return generate_latest(registry).decode()


def only(page):
    [latency] = parse(page, ["wait_seconds", "unused_seconds", "missing_seconds"])
    return latency


def test_a_quantile_lies_within_its_bucket():
    latency = only(a_page(0.05, 0.15, 0.15, 0.3))
    assert latency.count == 4
    assert latency.labels == (("model", "x"),)
    assert latency.quantile(0.5) == pytest.approx(0.15)
    assert latency.quantile(0.25) == pytest.approx(0.1)
    assert latency.quantile(1.0) == pytest.approx(0.4)


def test_empty_buckets_do_not_move_a_quantile():
    assert only(a_page(0.3, 0.3)).quantile(0.5) == pytest.approx(0.3)


def test_a_quantile_in_the_last_bucket_is_its_lower_bound():
    assert only(a_page(7.0)).quantile(0.99) == pytest.approx(0.4)


def test_merge_adds_up_histograms_of_several_workers():
    parts = [only(a_page(0.05)), only(a_page(0.3)), only(a_page(0.3, label="y"))]
    merged = merge(parts)
    assert [(latency.labels[0][1], latency.count) for latency in merged] == [("x", 2), ("y", 1)]
    assert merged[0].buckets == ((0.1, 1), (0.2, 1), (0.4, 2), (float("inf"), 2))


def test_a_histogram_without_observations_is_left_out():
    empty = Latency(metric="wait_seconds", labels=(), buckets=((1.0, 0.0), (float("inf"), 0.0)))
    assert empty.count == 0
    assert parse(a_page(), ["wait_seconds", "unused_seconds"]) == []

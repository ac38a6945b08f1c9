"""What training itself measures: intervals, counting baselines, distances, comparisons."""

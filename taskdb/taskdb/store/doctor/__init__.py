"""Diagnosis: counts, statistics, drift, and why a task does not run."""

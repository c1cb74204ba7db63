"""Runs and forecasts on disk."""

"""Torch modules from network descriptions."""

"""Devices: what they have, and what they sustain."""

"""The library's public face: one file per verb."""

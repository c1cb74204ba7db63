"""The forecast as prior, the run as evidence: when it will end."""

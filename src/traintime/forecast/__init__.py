"""Time, memory and the chance of a target, before the run."""

"""The verbs, parsed and drawn; no arithmetic."""

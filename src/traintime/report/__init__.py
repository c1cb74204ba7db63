"""What people see: terminal, page."""

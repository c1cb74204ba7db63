"""What will be computed: operations, counted before any device is known."""

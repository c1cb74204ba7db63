"""Data sets: what is known of them, how they are got, and batches of them on a device."""

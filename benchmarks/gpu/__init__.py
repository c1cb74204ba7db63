"""What `gpu_ops.py` measures a GPU by: operations, dispatch and training steps."""

"""How long computations run: threads and processes, memory, progress, checkpoints."""

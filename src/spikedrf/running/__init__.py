"""Running long computations: threads and processes, memory, progress, checkpoints."""

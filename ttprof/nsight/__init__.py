"""NVIDIA's Nsight tools as programs: found, asked for their version, started. No torch, and nothing of a trace."""

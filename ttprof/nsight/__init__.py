"""NVIDIA's Nsight tools: finding and running them, and reading reports of Nsight Compute. Imports no torch."""

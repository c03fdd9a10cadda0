"""The process and the machine: memory, device locks, escaping. No torch."""

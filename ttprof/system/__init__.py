"""The process and the machine: memory, device locks, printable text. No torch."""

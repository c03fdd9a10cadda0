"""Turns measurements and expectations into verdicts. Only ``numerics`` and ``output_leaves`` import torch."""

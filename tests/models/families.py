"""One tiny model with random weights per family, built without a download, with the inputs of its forward.

Each function returns a ``Family``; ``inputs=None`` leaves them to ttprof. Packages are imported where they are used, so
that a missing one skips only its own families.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

from ttprof.codes import VerdictCode


@dataclass(frozen=True)
class Family:
    """A model and the inputs of its forward: a tensor, a tuple, or a dict of keyword arguments."""

    model: nn.Module
    inputs: Any
    zero_config: bool = False
    """Whether ttprof is to infer the inputs; those above are then only an example."""
    trains: bool = True
    plain: nn.Module | None = None
    """An equal model without the wrappers, for comparison."""
    untestable: dict[str, set[VerdictCode]] = field(default_factory=dict)
    """The codes of the ERROR or SKIP that is right for the modules that match a glob."""


FAMILIES: dict[str, Callable[[], Family]] = {}
"""Builders by name."""


def family(*packages: str) -> Callable[[Callable[[], Family]], Callable[[], Family]]:
    """Register a builder that needs these packages; it seeds torch, so that its weights are the same every time."""

    def register(build: Callable[[], Family]) -> Callable[[], Family]:
        @functools.wraps(build)
        def seeded() -> Family:
            for package in packages:
                pytest.importorskip(package)
            torch.manual_seed(0)
            return build()

        FAMILIES[build.__name__] = seeded
        return seeded

    return register


# Images


def _timm(architecture: str, side: int, **changes: Any) -> nn.Module:
    """A small model of timm, whose ``pretrained_cfg`` asks for images of this *side*."""
    import timm

    overlay = {"input_size": (3, side, side)}
    return timm.create_model(architecture, num_classes=7, pretrained_cfg_overlay=overlay, **changes).eval()


@family("timm")
def convnext() -> Family:
    model = _timm("convnext_atto", side=32, depths=(1, 1, 1, 1), dims=(8, 16, 16, 16))
    return Family(model, torch.randn(2, 3, 32, 32), zero_config=True)


@family("timm")
def swin() -> Family:
    sizes = {"img_size": 32, "patch_size": 2, "window_size": 4}  # img_size counts, not the config's input_size
    model = _timm("swin_tiny_patch4_window7_224", 224, **sizes, embed_dim=8, depths=(2, 1), num_heads=(2, 2))
    return Family(model, torch.randn(2, 3, 32, 32), zero_config=True)


@family("timm")
def efficientnet() -> Family:
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    blocks = decode_arch_def([["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r1_k3_s2_e2_c16_se0.25"], ["cn_r1_k3_s1_e2_c16"]])
    model = EfficientNet(blocks, num_classes=7, num_features=32, stem_size=8).eval()  # no config: a guess, 224 wide
    return Family(model, torch.randn(2, 3, 224, 224), zero_config=True)


@family("transformers")
def detr() -> Family:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=5,
    )
    return Family(
        DetrForObjectDetection(config).eval(), {"pixel_values": torch.randn(2, 3, 224, 224)}, zero_config=True
    )


@family("transformers")
def mask2former() -> Family:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=1,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=5,
        num_labels=3,
    )
    model = Mask2FormerForUniversalSegmentation(config).eval()
    return Family(model, {"pixel_values": torch.randn(2, 3, 64, 64)}, zero_config=True)


@family("transformers")
def sam() -> Family:
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=16,
            output_channels=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
            mlp_dim=32,
            num_pos_feats=8,
            window_size=2,
            global_attn_indexes=[],
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=16, image_size=32, patch_size=8, mask_input_channels=4
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_attention_heads=2, num_hidden_layers=1, iou_head_hidden_dim=16
        ),
    )
    points = torch.tensor([[[[5.0, 7.0]]]] * 2)
    return Family(
        SamModel(config).eval(), {"pixel_values": torch.randn(2, 3, 32, 32), "input_points": points}, zero_config=True
    )


# Diffusion


@family("diffusers")
def unet_2d_condition() -> Family:
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        mid_block_type=None,
        up_block_types=("UpBlock2D", "UpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=4,
    )
    inputs = {
        "sample": torch.randn(2, 4, 8, 8),
        "timestep": torch.tensor([10, 20]),
        "encoder_hidden_states": torch.randn(2, 8, 12),
    }
    return Family(model.eval(), inputs, zero_config=True)


@family("diffusers")
def dit() -> Family:
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
        norm_type="ada_norm_zero",
    )
    steps = torch.tensor([1, 2])
    inputs = {"hidden_states": torch.randn(2, 4, 8, 8), "timestep": steps, "class_labels": steps.clone()}
    return Family(model.eval(), inputs, zero_config=True)


@family("diffusers")
def autoencoder_kl() -> Family:
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
    )
    return Family(model.eval(), torch.randn(2, 3, 16, 16), zero_config=True)


# Language, speech and both with images


def _ids() -> dict[str, Any]:
    return {"input_ids": torch.randint(0, 97, (2, 8)), "use_cache": False}


@family("transformers")
def deepseek_v3() -> Family:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    config = DeepseekV3Config(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        first_k_dense_replace=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        n_shared_experts=1,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
        max_position_embeddings=64,
    )
    return Family(DeepseekV3ForCausalLM(config).eval(), _ids(), zero_config=True)


@family("transformers")
def qwen2_vl() -> Family:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    config = Qwen2VLConfig(
        text_config={
            "vocab_size": 99,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "mlp_ratio": 2},
        image_token_id=5,
        video_token_id=6,
        vision_start_token_id=7,
        vision_end_token_id=8,
    )
    ids = torch.tensor([[1, 7, 5, 5, 5, 5, 8, 20, 21, 22]])  # a grid of 4 × 4 patches becomes four image tokens
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(16, 3 * 2 * 4 * 4),
        "image_grid_thw": torch.tensor([[1, 4, 4]]),
        "mm_token_type_ids": (ids == 5).int(),
        "use_cache": False,
    }
    return Family(Qwen2VLForConditionalGeneration(config).eval(), inputs, zero_config=True)


@family("transformers")
def llava() -> Family:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4
    )
    text = LlamaConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=5, image_seq_length=4)
    ids = torch.tensor([[1, 5, 5, 5, 5, 20, 21, 22]])
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 8, 8), "use_cache": False}
    return Family(LlavaForConditionalGeneration(config).eval(), inputs, zero_config=True)


@family("transformers")
def clip() -> Family:
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 99, "max_position_embeddings": 16, "eos_token_id": 98, "bos_token_id": 97},
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    return Family(
        CLIPModel(config).eval(),
        {"input_ids": _ids()["input_ids"], "pixel_values": torch.randn(2, 3, 16, 16)},
        zero_config=True,
    )


@family("transformers")
def wav2vec2() -> Family:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    config = Wav2Vec2Config(
        vocab_size=12,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    return Family(Wav2Vec2ForCTC(config).eval(), {"input_values": torch.randn(2, 16_000)}, zero_config=True)


@family("transformers")
def t5() -> Family:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=99, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )
    return Family(
        T5ForConditionalGeneration(config).eval(),
        {**_ids(), "decoder_input_ids": torch.ones(2, 8).long()},
        zero_config=True,
    )


@family("transformers")
def rwkv() -> Family:
    from transformers import RwkvConfig, RwkvForCausalLM

    config = RwkvConfig(
        vocab_size=99,
        context_length=64,
        hidden_size=16,
        attention_hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        rescale_every=1,
    )
    return Family(RwkvForCausalLM(config).eval(), _ids(), zero_config=True)


@family("transformers")
def mamba() -> Family:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=99, hidden_size=16, state_size=4, num_hidden_layers=2)
    return Family(MambaForCausalLM(config).eval(), _ids(), zero_config=True)


# Graphs and recommendations


def _graph() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 8), torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])


@family("torch_geometric")
def gcn() -> Family:
    from torch_geometric.nn.models import GCN

    return Family(GCN(8, 16, num_layers=2, out_channels=4).eval(), _graph(), zero_config=True)


@family("torch_geometric")
def gat() -> Family:
    from torch_geometric.nn.models import GAT

    return Family(GAT(8, 16, num_layers=2, out_channels=4, heads=2, v2=True).eval(), _graph(), zero_config=True)


@family("torch_geometric")
def gcn_on_a_batch() -> Family:
    """A model that takes a ``torch_geometric.data.Batch`` and reads tensors from it."""
    from torch_geometric.data import Batch, Data
    from torch_geometric.nn import GCNConv, global_mean_pool

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = GCNConv(8, 16), nn.Linear(16, 3)

        def forward(self, batch: Any) -> torch.Tensor:
            return self.head(global_mean_pool(self.conv(batch.x, batch.edge_index).relu(), batch.batch))

    x, edges = _graph()
    batch = Batch.from_data_list([Data(x=x, edge_index=edges), Data(x=-x, edge_index=edges)])
    return Family(Classifier().eval(), (batch,), zero_config=True)


class _DLRM(nn.Module):
    """Dense features through an MLP, sparse ones through bags of embeddings, then their pairwise products."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU())
        self.tables = nn.ModuleList(nn.EmbeddingBag(rows, 8, mode="sum") for rows in (50, 20, 90))
        self.top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())

    def forward(self, dense: torch.Tensor, ids: list[torch.Tensor], offsets: list[torch.Tensor]) -> torch.Tensor:
        x = self.bottom(dense)
        rows = torch.stack([x, *(t(i, o) for t, i, o in zip(self.tables, ids, offsets, strict=True))], 1)
        left, right = torch.triu_indices(4, 4, 1)
        return self.top(torch.cat([x, (rows @ rows.mT)[:, left, right]], 1))


@family()
def dlrm() -> Family:
    ids = [torch.randint(0, rows, (7,)) for rows in (50, 20, 90)]
    offsets = [torch.tensor([0, 3, 4]) for _ in ids]
    return Family(_DLRM().eval(), (torch.randn(3, 13), ids, offsets))


# Adapters, quantisation, wrappers and parametrisations


def _block() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), nn.LayerNorm(16))


class _Under(nn.Module):
    """A model under the name that a wrapper gives it, so that both have the same dotted names."""

    def __init__(self, name: str, model: nn.Module) -> None:
        super().__init__()
        self.add_module(name, model)

    def forward(self, *args: Any) -> Any:
        return next(self.children())(*args)


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


@family("transformers")
def llama() -> Family:
    return Family(_llama().eval(), _ids(), zero_config=True)


@family("transformers", "peft")
def lora_peft() -> Family:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1, init_lora_weights=False)
    return Family(get_peft_model(_llama(), config), _ids(), zero_config=True)


class _LoRALinear(nn.Linear):
    """Merges its low-rank update into the weight in eval mode, and takes it out again in train mode, like loralib."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out)
        self.down, self.up = nn.Parameter(torch.randn(4, width_in)), nn.Parameter(torch.randn(width_out, 4))
        self.weight.requires_grad = False
        self.merged = False

    def train(self, mode: bool = True) -> _LoRALinear:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (self.up @ self.down).data * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        return y if self.merged else y + x @ self.down.T @ self.up.T


@family()
def lora_by_hand() -> Family:
    return Family(nn.Sequential(_LoRALinear(16, 32), nn.GELU(), _LoRALinear(32, 8)), torch.randn(4, 16))


@family()
def int8_dynamic() -> Family:
    model = torch.ao.quantization.quantize_dynamic(_block().eval(), {nn.Linear}, dtype=torch.qint8)
    return Family(model, torch.randn(4, 16), trains=False)


@family("torchao")
def int8_torchao() -> Family:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = _block().eval()
    quantize_(model, Int8WeightOnlyConfig())
    return Family(model, torch.randn(4, 16), trains=False)


@family()
def compiled() -> Family:
    model = _block().eval()
    return Family(
        torch.compile(copy.deepcopy(model), backend="aot_eager"), torch.randn(4, 16), plain=_Under("_orig_mod", model)
    )


@family()
def compiled_parts() -> Family:
    model, plain = _block().eval(), _block().eval()
    plain.load_state_dict(model.state_dict())
    plain[2] = _Under("_orig_mod", plain[2])
    model[0].compile(backend="eager")
    model[2] = torch.compile(model[2], backend="eager")
    return Family(model, torch.randn(4, 16), plain=plain)


class _Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.jit.script(_block().eval())
        self.traced = torch.jit.trace(nn.Linear(16, 16).eval(), torch.randn(2, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.traced(self.body(x))


@family()
def torchscript() -> Family:
    scripted = _Scripted().eval()
    plain = nn.Module()
    plain.body, plain.traced = _block(), nn.Linear(16, 16)
    plain.load_state_dict(scripted.state_dict())
    plain.forward = lambda x: plain.traced(plain.body(x))
    untestable = {"body.*": {VerdictCode.NOT_CALLED}}  # no hook runs in TorchScript
    return Family(scripted, torch.randn(4, 16), plain=plain, untestable=untestable)


@family()
def weight_norm() -> Family:
    parts = [parametrizations.weight_norm(nn.Linear(16, 16)), nn.Tanh(), nn.utils.weight_norm(nn.Linear(16, 16))]
    return Family(nn.Sequential(*parts).eval(), torch.randn(4, 16))


class _Symmetric(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.triu() + weight.triu(1).mT


@family()
def parametrized() -> Family:
    first, second = nn.Linear(16, 16), parametrizations.spectral_norm(nn.Linear(16, 16))
    parametrize.register_parametrization(first, "weight", _Symmetric())
    third = parametrizations.orthogonal(nn.Linear(16, 16))
    return Family(nn.Sequential(first, nn.GELU(), second, third), torch.randn(4, 16))


class _Checkpointed(nn.Module):
    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.first, self.second, self.reentrant = _block(), _block(), use_reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.second, self.first(x), use_reentrant=self.reentrant)


@family()
def checkpointing() -> Family:
    return Family(_Checkpointed(use_reentrant=False), torch.randn(4, 16))


@family()
def checkpointing_reentrant() -> Family:
    return Family(_Checkpointed(use_reentrant=True), torch.randn(4, 16))


@family()
def ddp() -> Family:
    model = _block()
    wrapped = nn.parallel.DistributedDataParallel(copy.deepcopy(model))
    return Family(wrapped.eval(), torch.randn(4, 16), plain=_Under("module", model))


@family()
def fsdp2() -> Family:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model, plain = _block(), _block()
    plain.load_state_dict(model.state_dict())
    mesh = init_device_mesh("cpu", (1,))
    fully_shard(model[2], mesh=mesh)
    fully_shard(model, mesh=mesh)
    model(torch.randn(4, 16))  # the first forward finishes FSDP's own set-up, for good
    model.reshard()
    uncopied = {"2": {VerdictCode.NO_REFERENCE, VerdictCode.NO_GRADIENT}}  # FSDP refuses deepcopy
    return Family(model.eval(), torch.randn(4, 16), plain=plain, untestable=uncopied)


# Tensors that are not strided


class _Jagged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(8, 16), nn.LayerNorm(16)
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embed(x))
        heads = (part(x).unflatten(-1, [2, 8]).transpose(1, 2) for part in (self.query, self.key, self.value))
        attended = nn.functional.scaled_dot_product_attention(*heads)
        return self.out(attended.transpose(1, 2).flatten(2))


@family()
def nested_jagged() -> Family:
    rows = [torch.randn(n, 8) for n in (3, 5, 2)]
    return Family(_Jagged().eval(), torch.nested.nested_tensor(rows, layout=torch.jagged))


class _SparseGraph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)
        self.aggregate = _Aggregate()

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        return self.second(self.aggregate(adjacency, self.first(x)).relu())


class _Aggregate(nn.Module):
    def forward(self, adjacency: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(adjacency, x)


@family()
def sparse_coo() -> Family:
    x, edges = _graph()
    return Family(_SparseGraph().eval(), (x, torch.sparse_coo_tensor(edges, torch.rand(8), (6, 6)).coalesce()))


@family()
def sparse_csr() -> Family:
    x, edges = _graph()
    adjacency = torch.sparse_coo_tensor(edges, torch.rand(8), (6, 6)).to_sparse_csr()
    return Family(_SparseGraph().eval(), (x, adjacency))


@family()
def sparse_gradient() -> Family:
    model = nn.Sequential(nn.Embedding(50, 16, sparse=True, max_norm=1.0), nn.Linear(16, 4))
    return Family(model.eval(), torch.randint(0, 50, (2, 8)))

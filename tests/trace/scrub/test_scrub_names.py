"""What a scrub replaces inside the names that it keeps, and which names it must leave alone."""

from __future__ import annotations

import pytest

from ttprof.trace.scrub.names import Names


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("load /home/alice/data/x.parquet now", "load <path 1> now"),
        ("/home/Al Smith/my data/z.bin", "<path 1>"),
        ("save to ~/ckpt/run1", "save to <path 1>"),
        ("save to ~alice/ckpt", "save to <path 1>"),
        (r"open C:\Users\alice\x.bin", "open <path 1>"),
        (r"open \\fileserver\alice\x.bin", "open <path 1>"),
        ("home/alice/x", "<path 1>"),
        ("runs ../alice/train.py", "runs train.py"),
        ("file=/mnt/alice/a.bin,mode=r", "file=<path 1>,mode=r"),
        ("alice/proj/data/file.parquet", "<path 1>"),
        (r"alice\proj\train.py", "train.py"),
        ("open('/srv/alice x/y z.txt')", "open('<path 1>')"),
        ("s3://bucket/key?signature=x", "<URL 1>"),
        ("mail bob@example.com", "mail <e-mail or login 1>"),
        ("ssh alice@gpu-17", "ssh <e-mail or login 1>"),
        ("clone git@example.com:alice/secret.git", "clone <e-mail or login 1>"),
        ("peer 10.1.2.3:29500", "peer <network address 1>:29500"),
        ("peer ::ffff:10.1.2.3", "peer <network address 1>"),
        ("peer fe80::1ff:fe23:4567:890a", "peer <network address 1>"),
        ("nic aa:bb:cc:dd:ee:ff", "nic <network address 1>"),
        ("node7.prod.corp.example.com", "<host name 1>"),
        ("ip-10-0-3-17.ec2.internal", "<host name 1>"),
        ("hf_abcdefghijklmnopqrstuvwx", "<token 1>"),
        ("sk-proj-Ab12Cd34Ef56", "<token 1>"),
        ("ghp_0123456789abcdefghij", "<token 1>"),
        ("AKIAIOSFODNN7EXAMPLE", "<token 1>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "<token 1>"),
        ("d41d8cd98f00b204e9800998ecf8427e", "<token 1>"),
        ("GPU-12345678-1234-1234-1234-123456789abc", "<token 1>"),
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "<token 1>"),
        ("HF_TOKEN=hunter2", "HF_TOKEN=<credential 1>"),
        ("WANDB_API_KEY=0123", "WANDB_API_KEY=<credential 1>"),
        ('{"api_key": "hunter2"}', '{"api_key": "<credential 1>"}'),
        ("USER=alice HOSTNAME=gpu17", "USER=<credential 1> HOSTNAME=<credential 2>"),
        ("AccountKey=hunter2;x", "AccountKey=<credential 1>;x"),
        ("password: hunter2", "password: <credential 1>"),
        ("PGPASSWORD=hunter2", "PGPASSWORD=<credential 1>"),
        ("MYSQL_PWD=hunter2 pass: x", "MYSQL_PWD=<credential 1> pass: <credential 2>"),
        ("x?sv=2020&sig=abc%2B", "x?sv=2020&sig=<credential 1>"),
        (r"{\"token\": \"hunter2\"}", r"{\"token\": \"<credential 1>\"}"),
        ("curl -u alice:hunter2 x", "curl -u <credential 1> x"),
        ("SLURM_JOB_USER=alice", "SLURM_JOB_USER=<credential 1>"),
        ("alice:hunter2@db.example.com:5432/x", "<e-mail or login 1>"),
        ("https%3A%2F%2Falice%3Ahunter2%40host", "<URL 1>"),
        ("gpu-node-17.cluster.example.net", "<host name 1>"),
        ("SG.abcdefghijklmnop.wxyzABCDEFGH", "<token 1>"),
        ("dapi0123456789abcdef0123456789abcdef", "<token 1>"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAA me", "<token 1> me"),
        ("--wandb-api-key hunter2", "--wandb-api-key <credential 1>"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer <credential 1>"),
    ],
)
def test_what_looks_like_a_secret_becomes_a_placeholder(name, cleaned):
    assert Names().clean(name) == cleaned


@pytest.mark.parametrize(
    "name",
    [
        "aten::scaled_dot_product_attention",
        "void at::native::(anonymous namespace)::softmax<2ul, 32>(int, float const*)::{lambda(int)#1}",
        "ampere_sgemm_128x64_tn",
        "Cijk_Ailk_Bljk_BBS_BH_MT32x32x64_MI16x16x16x1_SN_1LDSB0_APM1_ABV0_ACED0_AF0EM1_AF1EM1_AMAS0",
        "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_11FillFunctorIfEESt5arrayIPcLm1EEEEviT0_T1_",
        "autograd::engine::evaluate_function: ScaledDotProductEfficientAttentionBackward0",
        "ScaledDotProductFlashAttentionForCpuBackward0",
        "Torch-Compiled Region: 0/0",
        "## Call CompiledFxGraph fud64jsrxcxliekg7lptyw24yz5k3oa65b73wjfbhz6j2fg6ouu7 ##",
        "Memcpy HtoD (Pageable -> Device)",
        "module: encoder.layers.0.self_attn.net",
        "module: up-blocks.0.attn.to_q",
        "bypass: 3",
        "ttprof.iteration#3",
        "ProfilerStep#12",
        "nccl:all_reduce",
        "num_tokens=4096",
        "tokens: 128",
        "Optimizer.step#AdamW.step",
        "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__",
        "cublas 12.4",
        "<built-in method join of str object at 0xb2bfe0>",
        "",
    ],
)
def test_names_of_kernels_operators_and_modules_stay(name):
    assert Names().clean(name) == name
    assert Names().frame(name) == name


@pytest.mark.parametrize(
    ("frame", "cleaned"),
    [
        ("/home/alice/proj/train.py(88): forward", "train.py(88): forward"),
        ("secret_project/model.py(3): <lambda>", "model.py(3): <lambda>"),
        (r"C:\Users\alice\x.py(3): f", "x.py(3): f"),
        ("/home/alice/my proj (old)/x.py(3): f", "x.py(3): f"),
        ("torch/nn/modules/linear.py(114): forward", "torch/nn/modules/linear.py(114): forward"),
        ("/home/alice/env/lib/python3.11/site-packages/timm/layers/mlp.py(3): f", "timm/layers/mlp.py(3): f"),
        ("/home/alice/miniconda/lib/python3.11/json/decoder.py(3): f", "json/decoder.py(3): f"),
        ("torch/../../alice/x.py(3): f", "x.py(3): f"),
        ("nn.Module: Linear_0", "nn.Module: Linear_0"),
    ],
)
def test_the_file_of_a_python_function_loses_its_folders_outside_packages(frame, cleaned):
    assert Names().frame(frame) == cleaned


def test_different_names_stay_different():
    names = Names()
    frames = ["/a/one/train.py(3): f", "/a/two/train.py(3): f", "train.py(3): f", "/a/one/train.py(3): f"]
    assert [names.frame(f) for f in frames] == [
        "train.py(3): f",
        "train.py(3): f ~2",
        "train.py(3): f ~3",
        "train.py(3): f",
    ]
    assert names.clean("read /a/one/x") != names.clean("read /a/two/x")


def test_hidden_texts_are_replaced_as_words_in_any_case():
    names = Names(["gpu-box-17", "alice"])
    assert names.clean("gpu-box-17 step") == "<hidden text 1> step"
    assert names.clean("Alice_model") == "<hidden text 2>_model"
    assert names.clean("malice") == "malice"


def test_users_that_identify_nobody_are_hidden_only_on_request():
    names = Names(["root", "ab", "1234"])
    assert names.clean("root ab 1234") == "root ab 1234"
    names.hide(["root"], always=True)
    assert names.clean("root user") == "<hidden text 1> user"


def test_counts_are_of_distinct_texts():
    names = Names()
    for name in ("read /a/b/c", "write /a/b/c", "read /a/b/d", "mail bob@example.com"):
        names.clean(name)
    assert names.replaced == {"path": 2, "e-mail or login": 1}


@pytest.mark.parametrize(
    "piece",
    [
        "/",
        "a/",
        "/a ",
        '"/',
        "\\",
        "a-a.",
        "-----BEGIN",
        "--token",
        "a-",
        "token",
        "1:",
        "@",
        "x@",
        "C:\\",
        "a.b.",
        " =",
    ],
)
def test_a_long_name_takes_linear_time(piece):
    """A name with quadratic cost would take minutes here; a trace may contain thousands of long names."""
    names = Names()
    long = piece * (100_000 // len(piece))
    for name in (long, f"{long}(1): f", f'"{long}'):
        assert len(names.frame(name)) <= 2 * len(name)

"""Cleans the names that a scrubbed trace keeps: what looks like a secret, a person or a place becomes a placeholder.

Different names stay different, so that sums by name are the same before and after.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import partial
from itertools import pairwise

SHORTEST_HIDDEN = 3
"""The shortest text, in characters, that is hidden wherever it occurs as a word; shorter ones are parts of any name."""

PUBLIC = frozenset(
    [
        "torch",
        "torchvision",
        "torchaudio",
        "torchao",
        "torchtune",
        "torch_geometric",
        "transformers",
        "diffusers",
        "accelerate",
        "datasets",
        "peft",
        "trl",
        "timm",
        "vllm",
        "sglang",
        "deepspeed",
        "megatron",
        "apex",
        "lightning",
        "pytorch_lightning",
        "fairscale",
        "flash_attn",
        "flashinfer",
        "xformers",
        "triton",
        "numpy",
        "scipy",
        "pandas",
        "sklearn",
        "einops",
        "safetensors",
        "tokenizers",
        "huggingface_hub",
        "onnx",
        "onnxruntime",
        "tensorboard",
        "tqdm",
        "torch_tb_profiler",
        "pytest",
        "_pytest",
        "pluggy",
        "click",
        "ttprof",
        "asyncio",
        "collections",
        "concurrent",
        "ctypes",
        "importlib",
        "json",
        "logging",
        "multiprocessing",
        "unittest",
        "urllib",
    ]
)
"""Packages that anybody can install: the path of a file inside them says nothing about who recorded the trace."""

LONGEST_COUNT = 7
"""The most digits of a number of tokens (``tokens=4096``); a longer number behind that word is a secret."""

RANDOM_CHANGES = 0.36
"""How often, per character, the class (digit, upper, lower) changes in a random key: 0.66 in base62 on average."""

_GENERIC = frozenset(
    [
        "root",
        "user",
        "users",
        "home",
        "python",
        "python3",
        "localhost",
        "none",
        "null",
        "true",
        "false",
        "unknown",
        "default",
        "test",
    ]
)
"""Names of users and hosts that identify nobody, and that occur in the names of operators."""

_FRAME = re.compile(r"(?P<file>.+)\((?P<line>\d+)\): (?P<function>.*)", re.DOTALL)
_PACKAGES = re.compile(r"(?:.*/)?(?:(?:site|dist)-packages|lib(?:64)?/python\d[\d.]*)/", re.DOTALL)

_PART = r"[^\s\"'`()<>,;|/\\]"
_MORE = rf"(?: {_PART}*[/\\][^\s\"'`()<>,;|]*)*"
"""The rest of a path with spaces in the names of its folders."""

_SOURCE = r"\.(?:py|pyx|ipynb|cu|cuh|cpp|cc|cxx|c|h|hpp|so)"
_DATA = (
    r"\.(?:parquet|csv|tsv|jsonl?|txt|bin|pt|pth|ckpt|safetensors|gguf|onnx|npy|npz|h5|hdf5|arrow|ya?ml|toml|ini|cfg|conf"
    r"|pkl|pickle|zip|tar|gz|zst|sh|log|png|jpe?g|wav|mp4|sqlite|db|env|pem|key|git)"
)
_SECRET_KEY = (
    r"token|secret|passw(?:or)?d|passphrase|pwd|pass|(?:api|access|private|account)[_-]?key|credential|authorization"
    r"|signature|sig|cookie"
)

URL, EMAIL, CREDENTIAL, TOKEN = "URL", "e-mail or login", "credential", "token"
PATH, ADDRESS, HOST, HIDDEN = "path", "network address", "host name", "hidden text"
KINDS = (URL, CREDENTIAL, TOKEN, EMAIL, PATH, HOST, ADDRESS, HIDDEN)
"""What a placeholder can stand for, in the order of replacing: a URL contains a path, a path may contain an address."""

_PATTERNS = {
    URL: re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}(?::|%3[aA])(?:/|%2[fF]){2}[^\s\"'<>]+"),
    CREDENTIAL: re.compile(
        rf"(?:(?:(?:\b|_)(?:{_SECRET_KEY})|password)s?\\*[\"']?\s*(?:=|:(?!:))\s*"
        rf"|(?<![\w-])--?[\w-]{{0,40}}?(?:{_SECRET_KEY})[\w-]{{0,40}}[=\s]\s*|\bbearer\s+"
        r"|(?<![\w-])-u\s+(?=[^\s\"':]+:[^\s\"':])|(?:\b|_)(?-i:USER|USERNAME|LOGNAME|HOSTNAME)=)"
        r"(?:(?:bearer|basic)\s+)?\\*[\"']?(?P<value>[^\s\"',;&\\]+)",
        re.IGNORECASE,
    ),
    TOKEN: re.compile(
        r"\b(?:hf_|sk-|sk_|pk_|rk_|gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|nvapi-|wandb_|npm_|pypi-|dop_v1_|AIza|ya29\.)"
        r"[\w.-]{10,}"
        r"|\bSG\.[\w-]{10,}\.[\w-]{10,}|\b(?:dapi|SK|AC)[0-9a-f]{32,}|\bssh-(?:rsa|dss|ed25519)\s+AAAA\S+"
        r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"
        r"|-----BEGIN[^-]*-----.*?(?:-----END[^-]*-----|$)"
        r"|\b(?:[A-Za-z]{3}-)?[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
        r"|(?<![0-9A-Za-z_])[0-9a-fA-F]{32,}(?![0-9A-Za-z_])"
        r"|(?P<random>(?<![\w+/-])[A-Za-z0-9+/=-]{32,}(?![\w+/=-]))",
        re.DOTALL,
    ),
    EMAIL: re.compile(r"(?<![\w.+-])(?:[\w.+-]{1,64}:)?[\w.+-]{2,64}@[A-Za-z0-9][\w.-]+(?::[\w./~-]*)?"),
    PATH: re.compile(
        r"(?<=[\"'])(?:~|[A-Za-z]:)?[\\/]+[^\"'\\/]+[\\/][^\"']+(?=[\"'])"
        rf"|(?<![\w\\])[A-Za-z]:[\\/][^\s\"'`()<>,;|]*{_MORE}"
        rf"|\\\\[\w.$-]+\\[^\s\"'`()<>,;|]*{_MORE}"
        rf"|(?<![\w/.~-])(?:~[\w.-]*|\.{{1,2}})?/{_PART}+/[^\s\"'`()<>,;|]*{_MORE}"
        rf"|(?<![\w/.~-])~[\w.-]*/[^\s\"'`()<>,;|]*{_MORE}"
        rf"|(?<![\w/.+-])(?:[\w.+-]+/)*(?:home|Users)/[^\s\"'`()<>,;|]+{_MORE}"
        rf"|(?<![\w/\\.+-])(?:[\w.+-]+[/\\])+[\w.+-]*(?:{_SOURCE}|{_DATA})\b"
    ),
    HOST: re.compile(
        r"\bip-\d+-\d+-\d+-\d+(?:\.[\w-]+)*|(?<![\w.-])(?:[A-Za-z0-9-]+\.)+"
        r"(?:internal|corp|intranet|lan|localdomain|cluster\.local|com|org|edu|gov)(?![\w-])"
        r"|(?<![\w.-])(?=[a-z0-9.]*-)(?:[a-z0-9-]+\.){2,}(?:net|io|ai|dev|cloud|eu|de|fr|uk|nl|ch|cn|jp|kr|in|us)(?![\w-])",
        re.IGNORECASE,
    ),
    ADDRESS: re.compile(
        r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)|\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b"
        r"|(?<![\w:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:(?:\.\d{1,3}){3})?(?![\w:])"
    ),
}


class Names:
    """Cleans names, and counts the distinct texts that it replaced, by kind.

    *hidden* are texts to replace wherever they occur as a word: the host and the user that the trace itself states,
    and what the user asked to hide.
    """

    def __init__(self, hidden: Iterable[str] = ()) -> None:
        self._cleaned: dict[str, str] = {}
        self._taken: dict[str, str] = {}
        self._replaced: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
        self._hidden: re.Pattern[str] | None = None
        self._words: set[str] = set()
        self.hide(hidden)

    def hide(self, texts: Iterable[str], always: bool = False) -> None:
        """Hide more texts from now on; those that identify nobody only if *always*."""
        wanted = {text.strip() for text in texts}
        self._words |= {w for w in wanted if w and (always or _identifies(w))}
        if self._words:
            longest_first = sorted(self._words, key=lambda word: (-len(word), word))
            alternatives = "|".join(map(re.escape, longest_first))
            self._hidden = re.compile(rf"(?<![A-Za-z0-9])(?:{alternatives})(?![A-Za-z0-9])", re.IGNORECASE)

    @property
    def replaced(self) -> dict[str, int]:
        """How many distinct texts of each kind were replaced; kinds without any are left out."""
        return {kind: len(texts) for kind, texts in self._replaced.items() if texts}

    def clean(self, name: str) -> str:
        """The name of a kernel, an operator or a range, without what identifies somebody."""
        known = self._cleaned.get(name)
        return known if known is not None else self._distinct(name, self.text(name))

    def frame(self, name: str) -> str:
        """The name of a Python function, ``path(line): function``, without the folders outside packages."""
        known = self._cleaned.get(name)
        return known if known is not None else self._distinct(name, self._frame(name))

    def text(self, text: str) -> str:
        """A sentence without what identifies somebody; two sentences may become the same."""
        return self._replace(text, KINDS)

    def _frame(self, name: str) -> str:
        match = _FRAME.fullmatch(name)
        if match is None or not re.search(r"[/\\]", match["file"]):
            return self.text(name)
        short = shortened(match["file"])
        if short != match["file"]:
            self._number(PATH, match["file"])
        file = self._replace(short, [kind for kind in KINDS if kind != PATH])
        return f"{file}({match['line']}): {self.text(match['function'])}"

    def _replace(self, text: str, kinds: Iterable[str]) -> str:
        for kind in kinds:
            pattern = self._hidden if kind == HIDDEN else _PATTERNS[kind]
            if pattern is not None:
                text = pattern.sub(partial(self._placeholder, kind), text)
        return text

    def _distinct(self, name: str, text: str) -> str:
        """The cleaned *text* of a name, with a number behind it if another name was cleaned to the same."""
        known, count = text, 1
        while self._taken.setdefault(known, name) != name:
            count += 1
            known = f"{text} ~{count}"
        self._cleaned[name] = known
        return known

    def _placeholder(self, kind: str, match: re.Match[str]) -> str:
        """What replaces a match of a pattern; the match itself if it is harmless after all."""
        whole = match[0]
        value = match["value"] if kind == CREDENTIAL else whole
        if _is_harmless(kind, match):
            return whole
        if kind == PATH and re.search(rf"{_SOURCE}$", short := shortened(whole)):
            self._number(PATH, whole)
            return short
        return f"{whole[: len(whole) - len(value)]}<{kind} {self._number(kind, value)}>"

    def _number(self, kind: str, text: str) -> int:
        return self._replaced[kind].setdefault(text, len(self._replaced[kind]) + 1)


def shortened(path: str) -> str:
    """A path relative to the package of the file, or only the name of the file if it is in no public package."""
    unified = path.replace("\\", "/")
    outside = _PACKAGES.match(unified)
    inside = unified[outside.end() :] if outside else unified
    if inside != unified:
        return inside
    first, _, rest = unified.partition("/")
    return path if rest and first in PUBLIC and ".." not in rest.split("/") else unified.rpartition("/")[2]


def _identifies(word: str) -> bool:
    return len(word) >= SHORTEST_HIDDEN and word.lower() not in _GENERIC and not word.isdecimal()


def _is_harmless(kind: str, match: re.Match[str]) -> bool:
    """Whether a match is no secret: a count of tokens, a long CamelCase name, the file of a public package."""
    text = match[0]
    if kind == CREDENTIAL:
        value = match["value"]
        is_count = value.isdecimal() and len(value) <= LONGEST_COUNT and "token" in text.lower()
        return is_count or value.startswith("<")  # replaced already
    if kind == TOKEN:
        return match["random"] is not None and not _is_random(text)
    if kind == PATH:
        return shortened(text) == text
    return kind == ADDRESS and not _is_address(text)


def _is_random(text: str) -> bool:
    """Whether letters of both cases and digits alternate as in a random key, and not as in ``CamelCaseNames0``."""
    classes = [0 if c.isdigit() else 1 if c.isupper() else 2 for c in text]
    changes = sum(a != b for a, b in pairwise(classes))
    return set(classes) == {0, 1, 2} and changes >= RANDOM_CHANGES * len(text)


def _is_address(text: str) -> bool:
    """Whether it is an IP or a MAC address, and not a version or a piece of C++ with colons."""
    if re.fullmatch(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}", text):
        return True
    try:
        return bool(ipaddress.ip_address(text)) and any(c.isdigit() for c in text)
    except ValueError:
        return False

"""Time training steps of published architectures on this machine's CPU, and their operations.

    benchmarks/.environments/models/bin/python calibration/cpu_architectures.py

writes results/cpu_steps_architectures.json.gz, in some 25 minutes. Random networks hold few
of the operations that people arrange by hand: squeezing, gates, windows of attention, rotary
positions, one kind of norm beside another. The architectures are those of timm and transformers,
small or cut short, on small images and short texts, and recurrent ones after their papers; none of
them is one of the networks of `benchmarks/unseen_models.py`, which stay unseen.
`benchmarks/environments.py models` installs what they come from.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from cpu_steps import Case, Timed, graph_of, read, time_case, write
from traintime.hardware.allocator import keep_freed_memory
from traintime.workload.torchvision_operators import declare_missing_operators

OUT = Path(__file__).parent / "results" / "cpu_steps_architectures.json.gz"
BATCHES = (1, 3)
"""Times the batch of each that is timed."""
CLASSES = 10
VOCABULARY = 4000


@dataclass(frozen=True)
class OfImages:
    """A model of timm, with the side of its images and how many of them are a step."""

    name: str
    side: int
    batch_size: int
    family: str = "cnn"

    def case(self) -> Case:
        """Return how to make it."""
        side = self.side

        def build() -> nn.Module:
            declare_missing_operators()
            import timm

            fixed = {"img_size": side} if self.family == "transformer" else {}
            return timm.create_model(self.name, num_classes=CLASSES, **fixed)

        return Case(
            f"timm:{self.name}",
            self.family,
            build,
            lambda b: torch.randn(b, 3, side, side),
            self.batch_size,
        )


IMAGES = (
    OfImages("mobilenetv3_small_100", 96, 16),
    OfImages("mobilenetv3_large_075", 64, 16),
    OfImages("mobilenetv1_100", 64, 24),
    OfImages("efficientnet_b0", 64, 8),
    OfImages("efficientnet_lite0", 96, 8),
    OfImages("tf_efficientnetv2_b0", 64, 12),
    OfImages("mnasnet_small", 96, 16),
    OfImages("semnasnet_075", 64, 16),
    OfImages("fbnetc_100", 64, 16),
    OfImages("spnasnet_100", 64, 32),
    OfImages("lcnet_075", 96, 24),
    OfImages("tinynet_c", 64, 24),
    OfImages("ghostnet_100", 64, 16),
    OfImages("mixnet_s", 64, 12),
    OfImages("rexnet_100", 64, 12),
    OfImages("regnetx_002", 96, 12),
    OfImages("regnety_004", 64, 12),
    OfImages("resnext50_32x4d", 32, 16),
    OfImages("res2net50_26w_4s", 32, 12),
    OfImages("skresnet18", 48, 16),
    OfImages("resnet14t", 64, 12),
    OfImages("resnetv2_50d_gn", 32, 8),
    OfImages("seresnet50", 32, 16),
    OfImages("dla34", 64, 8),
    OfImages("ese_vovnet19b_dw", 64, 12),
    OfImages("hrnet_w18_small", 64, 8),
    OfImages("convnext_atto", 96, 12),
    OfImages("convnextv2_atto", 64, 16),
    OfImages("edgenext_xx_small", 96, 12),
    OfImages("mobilevit_xxs", 96, 8),
    OfImages("mobileone_s0", 64, 8),
    OfImages("repvgg_a0", 48, 8),
    OfImages("repghostnet_050", 96, 24),
    OfImages("starnet_s1", 64, 16),
    OfImages("fastvit_t8", 96, 4),
    OfImages("efficientvit_b0", 96, 16),
    OfImages("efficientformer_l1", 224, 2),
    OfImages("inception_next_atto", 96, 12),
    OfImages("selecsls42", 64, 12),
    OfImages("cs3darknet_s", 64, 24),
    OfImages("cspresnet50", 32, 16),
    OfImages("dpn48b", 48, 12),
    OfImages("gernet_s", 64, 12),
    OfImages("nf_resnet50", 32, 12),
    OfImages("eca_nfnet_l0", 32, 8),
    OfImages("xception41", 48, 4),
    OfImages("poolformer_s12", 64, 12),
    OfImages("resmlp_12_224", 64, 16, "transformer"),
    OfImages("gmlp_ti16_224", 64, 24, "transformer"),
    OfImages("mixer_s32_224", 128, 16, "transformer"),
    OfImages("xcit_nano_12_p16_224", 96, 16, "transformer"),
    OfImages("coat_lite_tiny", 64, 16, "transformer"),
    OfImages("cait_xxs24_224", 64, 12, "transformer"),
    OfImages("pit_ti_224", 96, 12, "transformer"),
    OfImages("resnet34", 32, 12),
    OfImages("resnet26", 48, 12),
    OfImages("resnet10t", 96, 12),
    OfImages("wide_resnet50_2", 32, 4),
    OfImages("densenet121", 32, 12),
    OfImages("inception_v3", 96, 6),
    OfImages("darknet21", 64, 6),
    OfImages("hardcorenas_a", 64, 16),
    OfImages("test_byobnet", 96, 64),
    OfImages("test_resnet", 96, 32),
    OfImages("test_efficientnet", 96, 64),
    OfImages("test_efficientnet_gn", 96, 64),
    OfImages("test_convnext", 96, 64),
    OfImages("test_nfnet", 96, 16),
    OfImages("pvt_v2_b0", 96, 8),
    OfImages("twins_svt_small", 64, 4),
    OfImages("swin_tiny_patch4_window7_224", 56, 4, "transformer"),
    OfImages("eva02_tiny_patch14_224", 84, 12, "transformer"),
    OfImages("mvitv2_tiny", 64, 4, "transformer"),
)


class _Scores(nn.Module):
    """A model of transformers whose output is the scores, of a text or of each of its tokens.

    Args:
        model: What it is.
        **options: What its forward is given beside the ids.
    """

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__()
        self.model, self.options = model, options

    def forward(self, ids: Tensor) -> Tensor:
        """Return (N, classes) or (N · T, vocabulary) scores of (N, T) ids."""
        return self.model(input_ids=ids, **self.options).logits.flatten(0, -2)


@dataclass(frozen=True)
class OfText:
    """A model of transformers by its configuration, with the tokens of a text.

    Args:
        name: Short.
        config: Name of the class of its configuration.
        model: Name of its class.
        length: Tokens of a text.
        batch_size: Texts of a step.
        sizes: What the configuration says otherwise than by default.
    """

    name: str
    config: str
    model: str
    length: int
    batch_size: int
    sizes: dict[str, Any]

    def case(self) -> Case:
        """Return how to make it."""
        of_tokens = "CausalLM" in self.model or "MaskedLM" in self.model

        def build() -> nn.Module:
            declare_missing_operators()
            import transformers

            sizes = {"vocab_size": VOCABULARY, "num_labels": CLASSES, "pad_token_id": 0}
            config = getattr(transformers, self.config)(**(sizes | self.sizes))
            model = getattr(transformers, self.model)(config)
            return _Scores(model, use_cache=False) if "CausalLM" in self.model else _Scores(model)

        return Case(
            f"transformers:{self.name}",
            "transformer",
            build,
            lambda b: torch.randint(1, VOCABULARY, (b, self.length)),
            self.batch_size,
            labels=self.length if of_tokens else 1,
        )


def _bert(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


def _llama(width: int, layers: int, heads: int, inner: int) -> dict[str, Any]:
    return _bert(width, layers, heads) | {"intermediate_size": inner}


TEXTS = (
    OfText("bert-tiny", "BertConfig", "BertForSequenceClassification", 64, 24, _bert(128, 2, 2)),
    OfText("bert-mini", "BertConfig", "BertForSequenceClassification", 96, 8, _bert(256, 4, 4)),
    OfText("bert-small", "BertConfig", "BertForMaskedLM", 64, 4, _bert(512, 4, 8)),
    OfText("electra", "ElectraConfig", "ElectraForSequenceClassification", 64, 6, _bert(256, 6, 4)),
    OfText("roberta", "RobertaConfig", "RobertaForMaskedLM", 48, 6, _bert(384, 4, 6)),
    OfText(
        "albert",
        "AlbertConfig",
        "AlbertForSequenceClassification",
        64,
        8,
        _bert(312, 4, 12) | {"embedding_size": 128},
    ),
    OfText(
        "distilbert",
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        96,
        4,
        {"dim": 384, "n_layers": 3, "n_heads": 6, "hidden_dim": 1536},
    ),
    OfText("fnet", "FNetConfig", "FNetForSequenceClassification", 128, 6, _bert(256, 4, 4)),
    OfText("mpnet", "MPNetConfig", "MPNetForSequenceClassification", 64, 6, _bert(256, 4, 4)),
    OfText(
        "deberta",
        "DebertaV2Config",
        "DebertaV2ForSequenceClassification",
        64,
        6,
        _bert(256, 3, 4) | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    OfText("llama", "LlamaConfig", "LlamaForCausalLM", 96, 3, _llama(288, 6, 6, 768)),
    OfText(
        "mistral",
        "MistralConfig",
        "MistralForCausalLM",
        64,
        6,
        _llama(256, 4, 8, 896) | {"num_key_value_heads": 2},
    ),
    OfText(
        "qwen",
        "Qwen2Config",
        "Qwen2ForCausalLM",
        128,
        2,
        _llama(320, 4, 5, 1280) | {"num_key_value_heads": 1},
    ),
    OfText("gpt-neox", "GPTNeoXConfig", "GPTNeoXForCausalLM", 128, 4, _bert(128, 6, 4)),
    OfText(
        "opt",
        "OPTConfig",
        "OPTForCausalLM",
        64,
        6,
        {
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "ffn_dim": 1024,
            "word_embed_proj_dim": 256,
        },
    ),
    OfText("bloom", "BloomConfig", "BloomForCausalLM", 96, 4, {"n_layer": 4, "hidden_size": 256}),
    OfText("phi", "PhiConfig", "PhiForCausalLM", 48, 8, _bert(256, 4, 4)),
    OfText(
        "gemma",
        "GemmaConfig",
        "GemmaForCausalLM",
        64,
        4,
        _llama(256, 4, 4, 1024) | {"head_dim": 64, "num_key_value_heads": 4},
    ),
)


class _Recurrent(nn.Module):
    """Words or values, a recurrent network in one or both directions, and scores.

    Args:
        kind: "lstm" or "gru".
        into: Words that there are, or values of a moment.
        width: Of a word; 0 for values.
        hidden: Units of a layer and direction.
        layers: How many.
        both: Whether it reads backwards too.
        out: Scores.
        every: Whether each moment gets scores, or the last one alone.
    """

    def __init__(
        self,
        kind: str,
        into: int,
        width: int,
        hidden: int,
        layers: int,
        *,
        both: bool = False,
        out: int = CLASSES,
        every: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(into, width) if width else nn.Identity()
        core = nn.LSTM if kind == "lstm" else nn.GRU
        self.core = core(width or into, hidden, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(hidden * (1 + both), out)
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out) or (N · T, out) scores."""
        states = self.core(self.embed(x))[0]
        return self.head(states.flatten(0, 1) if self.every else states[:, -1])


class _Attending(nn.Module):
    """A GRU that reads and one that writes, which attends to what was read (Bahdanau et al. 2015).

    The writer is given the whole text at once, as where teachers force it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read, self.write = nn.Embedding(VOCABULARY, width), nn.Embedding(VOCABULARY, width)
        self.reader = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.writer = nn.GRU(width, width, batch_first=True)
        self.of_read, self.of_written = nn.Linear(2 * width, width), nn.Linear(width, width)
        self.score, self.head = nn.Linear(width, 1), nn.Linear(3 * width, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        """Return (N · T, vocabulary) scores of (N, T) ids."""
        read, written = self.reader(self.read(ids))[0], self.writer(self.write(ids))[0]
        mixed = torch.tanh(self.of_read(read)[:, None] + self.of_written(written)[:, :, None])
        context = self.score(mixed).squeeze(-1).softmax(-1) @ read
        return self.head(torch.cat([written, context], -1)).flatten(0, 1)


@dataclass(frozen=True)
class OfSequences:
    """A recurrent network as papers describe it.

    Args:
        name: Short.
        build: Makes it.
        length: Moments of a sample.
        batch_size: Samples of a step.
        values: Of a moment; 0 where it is a word.
        every: Whether each moment has a label.
    """

    name: str
    build: Callable[[], nn.Module]
    length: int
    batch_size: int
    values: int = 0
    every: bool = False

    def case(self) -> Case:
        """Return how to make it."""

        def inputs(batch: int) -> Tensor:
            if self.values:
                return torch.randn(batch, self.length, self.values)
            return torch.randint(0, VOCABULARY, (batch, self.length))

        labels = self.length if self.every else 1
        return Case(f"paper:{self.name}", "rnn", self.build, inputs, self.batch_size, labels)


def _language_model(width: int, hidden: int, layers: int) -> nn.Module:
    return _Recurrent("lstm", VOCABULARY, width, hidden, layers, out=VOCABULARY, every=True)


SEQUENCES = (
    OfSequences("awd-lstm", lambda: _language_model(200, 400, 2), 35, 10, every=True),
    OfSequences("char-lstm", lambda: _language_model(64, 256, 2), 80, 8, every=True),
    OfSequences(
        "bilstm-tagger",
        lambda: _Recurrent("lstm", VOCABULARY, 100, 150, 1, both=True, every=True),
        40,
        16,
        every=True,
    ),
    OfSequences(
        "bigru-sentences", lambda: _Recurrent("gru", VOCABULARY, 128, 96, 1, both=True), 60, 24
    ),
    OfSequences("lstm-sentences", lambda: _Recurrent("lstm", VOCABULARY, 64, 100, 1), 120, 48),
    OfSequences(
        "deepar", lambda: _Recurrent("lstm", 8, 0, 40, 3, every=True), 96, 48, values=8, every=True
    ),
    OfSequences("lstm-series", lambda: _Recurrent("lstm", 16, 0, 128, 2), 72, 32, values=16),
    OfSequences("gru-series", lambda: _Recurrent("gru", 12, 0, 96, 1), 168, 48, values=12),
    OfSequences("bahdanau", lambda: _Attending(128), 24, 12, every=True),
)


def cases(only: str = "") -> Sequence[Case]:
    """Return all architectures, or those whose names hold a word."""
    found = [one.case() for one in (*IMAGES, *TEXTS, *SEQUENCES)]
    return [case for case in found if only in case.name]


def main() -> None:
    """Time them all, writing as it goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", type=float, default=0.4, help="seconds for one timing")
    parser.add_argument("--only", default="", help="a part of the names to time")
    parser.add_argument("--more", action="store_true", help="only those that --out has not yet")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    keep_freed_memory()
    timed: list[Timed] = read(given.out) if given.more else []
    known = {one.case for one in timed}
    began = perf_counter()
    for index, case in enumerate(case for case in cases(given.only) if case.name not in known):
        optimizer = ("sgd", "adam", "adamw")[index % 3]
        for precision in ("fp32", "bf16"):
            graph = graph_of(case, precision)
            timed += [
                time_case(
                    replace(case, batch_size=times * case.batch_size),
                    graph,
                    precision,
                    optimizer,
                    given.budget,
                )
                for times in BATCHES
            ]
        took = ", ".join(f"{one.step_s * 1e3:.1f}" for one in timed[-2 * len(BATCHES) :])
        print(f"{perf_counter() - began:5.0f} s  {case.name} {took} ms", flush=True)
        write(given.out, timed)


if __name__ == "__main__":
    main()

import json

import pytest

from traintime.errors import InputError
from traintime.workload.capture import graph_of, three_sizes
from traintime.workload.sample import Sample

transformers = pytest.importorskip("transformers")

from traintime.workload.hf_models import hf_subject, known_configs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(name):
        raise OSError("We couldn't connect\nto the internet")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)


@pytest.mark.parametrize("name", known_configs())
def test_a_known_config_has_the_parameters_that_were_published(name):
    subject = hf_subject(name)
    assert (
        sum(p.numel() for p in subject.module.parameters()) == known_configs()[name]["parameters"]
    )
    assert subject.size == known_configs()[name]["tokens"]


@pytest.mark.parametrize("name", ["gpt2", "openai-community/gpt2", "GPT2"])
def test_a_published_name_is_known_with_and_without_its_owner(name):
    assert hf_subject(name).input_shape == (1024,)


def test_llama_is_known_by_its_name_there():
    assert hf_subject("meta-llama/Llama-2-7b-hf").size == 4096


def tiny(tmp_path, **fields):
    values = {
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "vocab_size": 100,
        "n_positions": 64,
        **fields,
    }
    (tmp_path / "config.json").write_text(json.dumps(values))
    return str(tmp_path)


def test_a_folder_or_a_config_is_read(tmp_path):
    folder = tiny(tmp_path)
    for name in (folder, f"{folder}/config.json"):
        subject = hf_subject(name)
        assert (subject.size, type(subject.module).__name__) == (64, "GPT2LMHeadModel")


@pytest.mark.parametrize("numerics", ["fp32", "amp"])
def test_its_own_loss_is_trained_at_each_place(tmp_path, numerics):
    subject = hf_subject(tiny(tmp_path))
    graph = graph_of(subject, numerics, three_sizes(subject))
    ops = {kernel.op for kernel in graph.kernels}
    assert {"aten._log_softmax", "aten.nll_loss_forward", "aten.native_dropout"} <= ops
    forward = {kernel.op for kernel in graph.kernels if kernel.phase == "forward"}
    assert "aten.cat" not in forward  # into the cache that generating fills
    assert graph.size_unit == "tokens"
    attention = {kernel.kind for kernel in graph.kernels}
    assert "attention" in attention


@pytest.mark.parametrize(
    ("architecture", "labels"),
    [("GPT2ForSequenceClassification", (3,)), ("GPT2ForTokenClassification", (3, 64))],
)
def test_labels_have_the_shape_that_the_head_wants(tmp_path, architecture, labels):
    subject = hf_subject(tiny(tmp_path, architectures=[architecture], pad_token_id=0))
    assert subject.inputs(3, 64)[1]["labels"].shape == labels


def test_images_are_taken_too(tmp_path):
    folder = tiny(tmp_path, model_type="vit", image_size=32, patch_size=8, hidden_size=32,
                  num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                  architectures=["ViTForImageClassification"])  # fmt: skip
    assert graph_of(hf_subject(folder)).input_shape == (3, 32, 32)
    with pytest.raises(InputError, match="takes images of 3x32x32 and not of 3x64x64"):
        hf_subject(folder, Sample((3, 64, 64)))


def test_a_length_may_be_asked_for(tmp_path):
    assert hf_subject(tiny(tmp_path), Sample((16,), tokens=True)).input_shape == (16,)
    with pytest.raises(InputError, match="takes at most 64 tokens and not 65"):
        hf_subject(tiny(tmp_path), Sample((65,), tokens=True))
    with pytest.raises(InputError, match="takes text and not 3x8x8"):
        hf_subject(tiny(tmp_path), Sample((3, 8, 8)))


def test_a_config_that_nobody_has_is_refused_with_those_that_are_known():
    with pytest.raises(
        InputError, match=r"No config for hf:no/such.*couldn't connect\).*bert-base"
    ):
        hf_subject("no/such")


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "nothing"}', "{}"])
def test_a_file_that_is_no_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match="is no config that transformers knows"):
        hf_subject(str(tmp_path))


def test_other_input_than_text_and_images_is_refused(tmp_path):
    folder = tiny(tmp_path, model_type="wav2vec2", architectures=["Wav2Vec2ForCTC"])
    with pytest.raises(InputError, match=r"takes input_values.*file\.py:build"):
        hf_subject(folder)

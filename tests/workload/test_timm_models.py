import pytest

from traintime.errors import InputError, UnknownNameError
from traintime.workload.capture import graph_of, three_sizes
from traintime.workload.sample import Sample

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module", autouse=True)
def timm():
    from traintime.workload.torchvision_operators import declare_missing_operators

    declare_missing_operators()
    return pytest.importorskip("timm")


@pytest.fixture
def timm_subject():
    from traintime.workload.timm_models import timm_subject

    return timm_subject


def test_a_model_of_timm_has_its_own_input(timm_subject):
    subject = timm_subject("resnet18")
    graph = graph_of(subject)
    assert (graph.model, graph.input_shape) == ("timm:resnet18", (3, 224, 224))
    assert graph.parameters == 11_689_512
    assert graph.source.startswith("timm 1.")
    assert three_sizes(subject) == (160, 224, 288)


def test_another_image_is_taken_by_a_network_of_convolutions(timm_subject):
    whole, part = timm_subject("resnet18"), timm_subject("resnet18", Sample((1, 64, 64)))
    assert part.input_shape == (1, 64, 64)
    assert graph_of(part).flops(1) < graph_of(whole).flops(1) / 10


def test_a_transformer_is_built_for_another_image(timm_subject):
    subject = timm_subject("vit_tiny_patch16_224", Sample((3, 64, 64)))
    graph = graph_of(subject, "fp32", (32, 64, 96))
    assert graph.flops(1, 4.0) == pytest.approx(
        graph_of(timm_subject("vit_tiny_patch16_224", Sample((3, 128, 128)))).flops(1), rel=1e-9
    )


def test_an_unknown_model_names_the_nearest(timm_subject):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet50'.*list_models"):
        timm_subject("resnet5")


def test_an_image_that_is_not_square_is_refused(timm_subject):
    with pytest.raises(InputError, match="no square image"):
        timm_subject("resnet18", Sample((3, 64, 32)))


def test_what_timm_refuses_is_said(timm, timm_subject, monkeypatch):
    def refuse(name, **options):
        raise ValueError("no such patch\nand more")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(InputError, match="timm cannot build resnet18 with its defaults: no such"):
        timm_subject("resnet18")


def test_a_model_that_looks_at_its_weights_is_built_with_them(timm, timm_subject, monkeypatch):
    make = timm.create_model

    def picky(name, **options):
        module = make(name, **options)
        float(module.fc.weight[0, 0])
        return module

    monkeypatch.setattr(timm, "create_model", picky)
    assert not timm_subject("resnet18").module.fc.weight.is_meta

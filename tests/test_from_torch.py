"""Models of other packages as networks: outputs and every gradient to 1e-10, with the very same parameters."""

import importlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from nets.data.vision import vision_data_sets
from nets.training.gradients.backpropagation import backpropagate
from tests.layer_case import seeded

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def encoder_layer(**settings: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 12, **{"dropout": 0.0, "batch_first": True, **settings})


def encoder(**settings: Any) -> nn.TransformerEncoder:
    return nn.TransformerEncoder(encoder_layer(**settings), 2, nn.LayerNorm(8), enable_nested_tensor=False)


def tower() -> nn.Module:
    """Convolutions, norms with statistics that are not those of the start, and sequences in a sequence."""
    first = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    named = OrderedDict(conv=nn.Conv2d(4, 3, 1), pool=nn.AdaptiveAvgPool2d((2, 1)), flatten=nn.Flatten())
    module = nn.Sequential(OrderedDict(first=first, second=nn.Sequential(named), layers=nn.Linear(6, 5)))
    return used(module, 5, 2, 6, 6)


def used(module: nn.Module, *shape: int) -> nn.Module:
    module(torch.randn(shape))
    return module.eval()


SEQUENCES = {
    "encoder layer, norm first": (lambda: encoder_layer(norm_first=True), (3, 4, 8)),
    "encoder layer, norm last": (lambda: encoder_layer(activation="gelu"), (3, 4, 8)),
    "encoder layer without bias": (lambda: encoder_layer(bias=False, activation=nn.SiLU()), (3, 4, 8)),
    "encoder layer in evaluation mode": (lambda: encoder_layer(dropout=0.3).eval(), (3, 4, 8)),
    "encoder": (lambda: encoder(norm_first=True, activation="gelu"), (2, 5, 8)),
    "encoder without a norm": (
        lambda: nn.TransformerEncoder(encoder_layer(), 2, enable_nested_tensor=False),
        (2, 5, 8),
    ),
    "sequences and an encoder": (
        lambda: nn.Sequential(nn.Linear(3, 8), nn.Sequential(encoder(), nn.Tanh())),
        (2, 4, 3),
    ),
    "convolutions in sequences": (tower, (3, 2, 6, 6)),
}


def batch_for(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    return seeded(make), torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def hold_alike(module: nn.Module, x: Tensor, of_output: Callable[[Any], Tensor] = lambda y: y) -> nets.Network:
    """The network of the module, after its outputs and gradients were found equal to those of the module."""
    network = nets.Network.from_torch(module)
    assert {id(p) for p in network.parameters()} == {id(p) for p in module.parameters()}
    expected = of_output(module(x))
    torch.testing.assert_close(network(x), expected, **EXACT)
    loss = nets.MeanSquaredError()
    target = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=expected.dtype)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    gradients = torch.autograd.grad(loss(expected, target), list(module.parameters()))
    _, found = backpropagate(network, loss, nets.Batch(x, target))
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        torch.testing.assert_close(found[names[id(parameter)]], gradient, **EXACT)
    return network


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_tree_of_torch_becomes_the_same_network(name: str) -> None:
    hold_alike(*batch_for(*SEQUENCES[name]))


def test_names_of_a_sequence_stay_and_states_go_both_ways() -> None:
    module, x = batch_for(*SEQUENCES["convolutions in sequences"])
    network = nets.Network.from_torch(module)
    renamed = {name.replace("layers", "layers_"): tensor for name, tensor in module.state_dict().items()}
    assert list(network.state_dict()) == list(renamed)
    network.load_state_dict({name: tensor + 1 for name, tensor in renamed.items()})
    torch.testing.assert_close(network(x), module(x), **EXACT)


class Attention(nn.Module):
    """A class without a layer."""


class Encoder(nn.Sequential):
    """A sequence by inheritance."""


class Doubled(nn.Sequential):
    """No sequence: it has a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def deep() -> nn.Module:
    layers = nn.Sequential(OrderedDict(norm=nn.LayerNorm(2), attn=Attention()))
    return nn.Sequential(OrderedDict(encoder=nn.Sequential(OrderedDict(layers=Encoder(layers)))))


@pytest.mark.parametrize(
    ("module", "place"),
    [
        (deep, r"layer encoder\.layers\.0\.attn is Attention\(\); expected one of"),
        (lambda: nn.Sequential(nn.Tanh(), Attention()), r"layer 1 is Attention\(\)"),
        (Attention, r"^the module is Attention\(\)"),
        (lambda: nn.Sequential(Doubled(nn.Tanh())), "layer 0 is Doubled"),
        (lambda: nn.Sequential(encoder(batch_first=False)), r"layer 0\.layers\.0\.self_attn is .*batch_first=True"),
        (lambda: encoder_layer(activation=Attention()), r"layer activation is Attention\(\)"),
        (lambda: encoder_layer(activation=torch.sin), "'relu' or 'gelu'"),
        (lambda: nn.Sequential(nn.MultiheadAttention(4, 2)), "layer 0 is MultiheadAttention"),
        (lambda: nn.Sequential(nn.LSTM(2, 2, num_layers=2, batch_first=True)), "layer 0 is LSTM"),
    ],
)
def test_a_module_without_a_layer_is_named_with_its_path(module: Callable[[], nn.Module], place: str) -> None:
    with pytest.raises(nets.InputError, match=place):
        nets.Network.from_torch(module())


def test_a_class_is_registered_by_its_full_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from nets.calculus.layers import conversion

    monkeypatch.setattr(conversion, "_CONVERTERS", dict(conversion._CONVERTERS))
    nets.register(f"{Attention.__module__}.Attention", lambda module: nets.Linear(2, 2))
    assert isinstance(nets.Network.from_torch(Attention())[0], nets.Linear)
    with pytest.raises(nets.InputError, match="full name"):
        nets.register("Attention", lambda module: nets.Linear(2, 2))


@pytest.mark.parametrize("steps", [3])
def test_an_encoder_is_trained_by_both_engines_alike(steps: int) -> None:
    ends = []
    for engine in ("closed_form", "autograd"):
        module, x = batch_for(*SEQUENCES["encoder"])
        options: dict[str, Any] = {"engine": engine, "learning_rate": 0.1, "steps": steps}
        list(
            nets.descend(
                nets.Network.from_torch(module), nets.Batch(x, x.sin()), loss=nets.MeanSquaredError(), **options
            )
        )
        ends.append([p.detach() for p in module.parameters()])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def torchvision_models() -> Any:
    vision_data_sets()  # declares operators that the compiled part of torchvision may lack
    return importlib.import_module("torchvision.models")


def narrow(module: nn.Module, divisor: int) -> nn.Module:
    """The model with fewer channels, so that its tests take no second: the wide ones have up to 10⁸ numbers."""
    for name, child in list(module.named_modules()):
        fewer: nn.Module | None = None
        if isinstance(child, nn.Conv2d):
            channels = (max(3, size // divisor) for size in (child.in_channels, child.out_channels))
            settings = (child.kernel_size, child.stride, child.padding)
            fewer = nn.Conv2d(*channels, *settings, bias=child.bias is not None)
        elif isinstance(child, nn.BatchNorm2d):
            fewer = nn.BatchNorm2d(max(3, child.num_features // divisor))
        elif isinstance(child, nn.Linear):
            outputs = child.out_features if child.out_features < divisor else child.out_features // divisor
            fewer = nn.Linear(max(3, child.in_features // divisor), outputs, bias=child.bias is not None)
        elif isinstance(child, nn.Dropout):
            fewer = nn.Dropout(0.0)
        if fewer is not None:
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, fewer)
    return used(module, 2, 3, 64, 64)


MODELS = {
    "alexnet": lambda models: narrow(models.alexnet(num_classes=5), 32),
    "vgg11": lambda models: narrow(models.vgg11(num_classes=5, init_weights=False), 32),
    "vgg11_bn": lambda models: narrow(models.vgg11_bn(num_classes=5, init_weights=False), 32),
    "resnet18": lambda models: narrow(models.resnet18(num_classes=5), 16),
    "resnet50": lambda models: narrow(models.resnet50(num_classes=5), 16),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.matrix if n == "resnet50" else ()) for n in MODELS])
def test_a_model_of_torchvision_becomes_the_same_network(name: str) -> None:
    module, x = batch_for(lambda: MODELS[name](torchvision_models()), (2, 3, 64, 64))
    hold_alike(module, x)


def gpt2(**settings: Any) -> nn.Module:
    """GPT-2 of transformers from a configuration: nothing is downloaded."""
    vision_data_sets()  # transformers imports torchvision
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: it comes with the extra 'test' from Python 3.11 on"
    )
    sizes = {"vocab_size": 11, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
    dropout = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**sizes, **dropout, **settings}))


TOKENS = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    "settings",
    [{}, {"tie_word_embeddings": False}, {"activation_function": "gelu"}],
    ids=["tied", "a head of its own", "exact gelu"],
)
def test_gpt2_becomes_the_same_network(settings: dict[str, Any]) -> None:
    network = hold_alike(seeded(lambda: gpt2(**settings)), TOKENS, lambda y: y.logits)
    assert ("transformer.wte.weight" in network.shared_parameters()) == (settings.get("tie_word_embeddings", True))


def test_gpt2_in_evaluation_mode_has_no_dropout() -> None:
    module = seeded(lambda: gpt2(attn_pdrop=0.1, resid_pdrop=0.2, embd_pdrop=0.3).eval())
    hold_alike(module, TOKENS, lambda y: y.logits)


def test_gpt2_in_training_leaves_out_what_it_leaves_out() -> None:
    """Every weight of the attention: all masks are the same then."""
    hold_alike(seeded(lambda: gpt2(attn_pdrop=1.0).train()), TOKENS, lambda y: y.logits)


@pytest.mark.parametrize("setting", [{"scale_attn_by_inverse_layer_idx": True}, {"activation_function": "silu"}])
def test_an_unsupported_option_of_gpt2_is_named(setting: dict[str, Any]) -> None:
    place = {
        "activation_function": r"transformer\.h\.0\.mlp\.act is",
        "scale_attn_by_inverse_layer_idx": "layer transformer is",
    }
    (name,) = setting
    with pytest.raises(nets.InputError, match=place[name]):
        nets.Network.from_torch(gpt2(**setting))


@pytest.mark.matrix
def test_gpt2_is_verified() -> None:
    module = seeded(lambda: gpt2(n_layer=1, n_embd=4, vocab_size=5, n_positions=4))
    certificate = nets.verify(nets.Network.from_torch(module), TOKENS[:2, :3] % 5, coverage="auto")
    assert certificate.passed, str(certificate)

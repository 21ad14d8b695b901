"""`nets.GradientMonitor`: the norms of any model at every step, on disk after any end of the program."""

import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import nets

X, T = torch.randn(16, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(16, 2)


def model() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def backward(net: nn.Module) -> torch.Tensor:
    net.zero_grad()
    loss = nn.functional.mse_loss(net(X), T)
    loss.backward()
    return loss


def test_every_norm_of_every_step_equals_that_of_torch(tmp_path: Path) -> None:
    net = model()
    expected: dict[str, list[tuple[int, float]]] = {}
    with nets.GradientMonitor(net, tmp_path) as monitor:
        for step in range(1, 601):  # more than two blocks
            loss = backward(net)
            monitor.step(loss)
            norms = {name: float(p.grad.norm()) for name, p in net.named_parameters()}
            numbers = {"loss/train": loss.item(), **{f"gradient_norm/{name}": norm for name, norm in norms.items()}}
            for tag, number in {**numbers, "gradient_norm/total": math.hypot(*norms.values())}.items():
                expected.setdefault(tag, []).append((step, pytest.approx(number, rel=1e-6)))
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter -= 0.01 * parameter.grad
    assert scalars(tmp_path) == expected


def test_a_monitor_changes_no_gradient_and_no_parameter(tmp_path: Path) -> None:
    net = model()
    loss = backward(net)
    before = [(p.clone(), p.grad.clone()) for p in net.parameters()]
    with nets.GradientMonitor(net, tmp_path) as monitor:
        monitor.step(loss)
    assert all(torch.equal(p, q) and torch.equal(p.grad, g) for p, (q, g) in zip(net.parameters(), before, strict=True))


def test_a_parameter_without_a_gradient_has_no_number(tmp_path: Path) -> None:
    net = model()
    with nets.GradientMonitor(net, tmp_path) as monitor:
        monitor.step()  # before the first backward pass no parameter has a gradient
        backward(net)
        monitor.step()
        net[2].weight.grad = None
        monitor.step(0.5)
    found = scalars(tmp_path)
    assert [step for step, _ in found["gradient_norm/0.weight"]] == [2, 3]
    assert [step for step, _ in found["gradient_norm/2.weight"]] == [2]
    assert found["loss/train"] == [(3, 0.5)]


def test_a_norm_in_half_precision_does_not_overflow(tmp_path: Path) -> None:
    """Two gradients of 60,000 have a norm of 84,853, beyond the range of float16."""
    layer = nn.Linear(2, 1, bias=False).half()
    layer.weight.grad = torch.full((1, 2), 60_000.0, dtype=torch.float16)
    with nets.GradientMonitor(layer, tmp_path) as monitor:
        monitor.step()
    assert scalars(tmp_path)["gradient_norm/weight"][0][1] == pytest.approx(6e4 * math.sqrt(2), rel=1e-3)


def test_sparse_and_non_finite_gradients_have_norms(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1))
    with nets.GradientMonitor(net, tmp_path) as monitor:
        net(torch.tensor([1, 2, 1])).sum().backward()
        dense = net[0].weight.grad.to_dense()
        net[1].bias.grad = torch.tensor([math.nan])
        monitor.step()
    found = scalars(tmp_path)
    assert found["gradient_norm/0.weight"][0][1] == pytest.approx(dense.norm().item(), rel=1e-6)
    assert math.isnan(found["gradient_norm/1.bias"][0][1])


def test_a_monitor_may_record_every_third_step(tmp_path: Path) -> None:
    net = model()
    with nets.GradientMonitor(net, tmp_path, every=3) as monitor:
        for _ in range(10):
            monitor.step(backward(net))
    assert [step for step, _ in scalars(tmp_path)["loss/train"]] == [3, 6, 9]


def test_a_step_is_on_disk_after_a_second(tmp_path: Path) -> None:
    net = model()
    monitor = nets.GradientMonitor(net, tmp_path)
    monitor.step(backward(net))
    deadline = time.monotonic() + 20
    while "loss/train" not in scalars(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "loss/train" in scalars(tmp_path)
    monitor.close()
    monitor.close()


PROGRAM = """
import sys, time, torch, nets.telemetry
if sys.argv[2] == "SIGTERM":
    nets.telemetry.exit_on_sigterm()
net = torch.nn.Linear(3, 2)
monitor = nets.GradientMonitor(net, sys.argv[1])
for step in range(300):
    net.zero_grad()
    net(torch.ones(4, 3)).sum().backward()
    monitor.step()
print("here", flush=True)
if sys.argv[2] == "exception":
    raise RuntimeError("by the user")
if sys.argv[2] == "SIGTERM":
    time.sleep(60)
"""


@pytest.mark.parametrize(("end", "status"), [("exit", 0), ("exception", 1), ("SIGTERM", 143)])
def test_no_step_is_lost_at_any_end_of_the_program(tmp_path: Path, end: str, status: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(nets.__file__).parent.parent)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), end]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as program:
        assert program.stdout is not None and program.stdout.readline() == "here\n"
        if end == "SIGTERM":
            program.send_signal(signal.SIGTERM)
        program.communicate(timeout=60)
    assert program.returncode == status
    assert len(scalars(tmp_path)["gradient_norm/weight"]) == 300


def test_a_monitor_installs_no_signal_handler(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with nets.GradientMonitor(model(), tmp_path):
        assert signal.getsignal(signal.SIGTERM) is before


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def no_writer_thread() -> bool:
    """Whether the thread that writes for all monitors has ended, or ends within twenty seconds."""
    gc.collect()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(thread.name == "nets telemetry" for thread in threading.enumerate()):
            return True
        time.sleep(0.01)
    return False


def test_dropped_monitors_release_their_thread_files_and_weights(tmp_path: Path) -> None:
    assert no_writer_thread()  # the thread of an earlier test
    threads, files, weights = threading.active_count(), open_files(), []
    for number in range(5):
        net = model()
        monitor = nets.GradientMonitor(net, tmp_path / str(number))
        for _ in range(10):
            monitor.step(backward(net))
        weights += [weakref.ref(monitor), *(weakref.ref(parameter) for parameter in net.parameters())]
    assert threading.active_count() == threads + 1  # one for all monitors
    del monitor, net
    gc.collect()
    assert [reference() for reference in weights] == [None] * len(weights)
    if sys.platform == "linux":
        assert open_files() == files
    assert no_writer_thread()
    for number in range(5):
        assert [step for step, _ in scalars(tmp_path / str(number))["loss/train"]] == list(range(1, 11))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda d: nets.GradientMonitor(nn.Tanh(), d), "no parameter that requires a gradient"),
        (lambda d: nets.GradientMonitor(model(), d, every=0), "every is 0; expected a whole number of at least 1"),
        (lambda d: nets.GradientMonitor(model(), d / "file" / "x"), "cannot be written"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path: Path, make: object, sentence: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(nets.InputError, match=sentence):
        make(tmp_path)  # type: ignore[operator]


def test_the_norm_of_a_large_gradient_is_right(tmp_path: Path) -> None:
    """Right to 1e-6: four million squares in float32 are not added one after the other."""
    net = nn.Linear(2048, 2048)
    with nets.GradientMonitor(net, tmp_path) as monitor:
        net(torch.randn(4, 2048, generator=torch.Generator().manual_seed(0))).square().sum().backward()
        monitor.step()
    exact = net.weight.grad.double().norm().item()  # type: ignore[union-attr]
    assert scalars(tmp_path)["gradient_norm/weight"] == [(1, pytest.approx(exact, rel=1e-6))]


def test_the_norm_of_a_complex_gradient_is_right(tmp_path: Path) -> None:
    """(Σ |g|²)^½."""
    net = nn.Linear(2, 2, bias=False, dtype=torch.complex64)
    with nets.GradientMonitor(net, tmp_path) as monitor:
        net.weight.grad = torch.full((2, 2), 3 + 4j, dtype=torch.complex64)
        monitor.step()
    assert scalars(tmp_path)["gradient_norm/weight"] == [(1, 10.0)]


def test_a_loss_of_two_numbers_and_a_step_after_close_are_refused(tmp_path: Path) -> None:
    net = model()
    backward(net)
    monitor = nets.GradientMonitor(net, tmp_path)
    with pytest.raises(nets.InputError, match=r"the loss has shape \(2,\); expected one number"):
        monitor.step(torch.zeros(2))
    monitor.close()
    with pytest.raises(ValueError, match="after it was closed"):
        monitor.step()


def test_each_wrong_argument_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for model in (3, None, "model", [nn.Linear(2, 2)]):
        with pytest.raises(nets.InputError, match=r"^the model is .*expected a torch\.nn\.Module"):
            nets.GradientMonitor(model, tmp_path)  # type: ignore[arg-type]
    for directory in (3, None, b"runs"):
        with pytest.raises(nets.InputError, match=r"^log_dir is .*expected the path of a directory"):
            nets.GradientMonitor(nn.Linear(2, 2), directory)  # type: ignore[arg-type]
    monitor = nets.GradientMonitor(nn.Linear(2, 2), tmp_path)
    for loss in ("0.1", [0.1], object()):
        with pytest.raises(nets.InputError, match=r"^the loss is .*expected a number"):
            monitor.step(loss)  # type: ignore[arg-type]
    monitor.close()

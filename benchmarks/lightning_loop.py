"""Lightning with its gradient norms and its TensorBoard logger, against `nets.descend` with a Board."""

import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measuring import Loop, Row, interleaved, ratios, row
from benchmarks.steps import BATCH, LOGGED, RATE, WIDTHS, data, operations_alone, ours, plain
from nets.data.vision import vision_data_sets


def lightning_loop(width: int) -> Loop:
    """`log_dict(grad_norm(...))` at every step. The module measures its steps itself, so that the start of the Trainer
    does not count."""
    vision_data_sets()  # Lightning imports torchvision, which this call makes importable
    import lightning
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.utilities import grad_norm

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.started, self.ended = plain(width), 0.0, 0.0

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            loss = nn.functional.mse_loss(self.network(batch[0]), batch[1])
            self.log("loss/train", loss)
            return loss

        def on_before_optimizer_step(self, optimizer: object) -> None:
            self.log_dict(grad_norm(self.network, norm_type=2))

        def on_train_batch_start(self, batch: object, number: int) -> None:
            if self.global_step == 10:
                self.started = time.perf_counter()

        def on_train_batch_end(self, outputs: object, batch: object, number: int) -> None:
            self.ended = time.perf_counter()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=RATE)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    samples = data()
    loader = DataLoader(TensorDataset(samples.inputs, samples.targets), BATCH, shuffle=True)

    def loop(steps: int) -> float:
        module = Module()
        trainer = lightning.Trainer(
            max_steps=steps + 10, logger=TensorBoardLogger(tempfile.mkdtemp()), log_every_n_steps=1, accelerator="cpu",
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(module, loader)
        return (module.ended - module.started) / steps

    return loop


def rows(runs: int) -> Iterator[Row]:
    for width, threads in itertools.product(WIDTHS, (1, 2)):
        torch.set_num_threads(threads)
        loops = {
            "lightning": lightning_loop(width),
            "ours": ours(width, "closed_form"),
            "alone": operations_alone(width),
        }
        seconds = interleaved(loops, steps=100, runs=max(3, runs // 2))
        limit = median(ratios(seconds, "lightning", "alone"))
        yield row(
            f"Lightning, grad_norm and TensorBoardLogger ÷ {LOGGED}",
            f"64-{width:,}-10, batch 64, {threads} thread{'s' * (threads > 1)}",
            ratios(seconds, "lightning", "ours"),
            "≥ 20" if width <= 256 else "≥ 12",
            f"Lightning ÷ the products and elementwise calls of the step alone, with PyTorch, is {limit:.1f}",
        )

"""Lightning as its introduction has it: a LightningModule, a Trainer, a DataLoader.

From "Lightning in 15 minutes" (https://lightning.ai/docs/pytorch): Adam at 1e-3, ToTensor for each
image, `self.log` of the training loss, and the Trainer's defaults: logger, checkpoint after each
epoch, progress bar. Made stronger: batch 64 and shuffled, where the introduction's DataLoader has
its default of 1; the lighter transform of `pytorch.py`. A validation loop stops at the target.

The file's name is not lightning.py, which would hide the package from its own script.
"""

from __future__ import annotations

import contender
import lightning
import torch
from contender import Race
from pytorch import Images
from torch import nn
from torch.utils.data import DataLoader
from torch_networks import network

BATCH_SIZE = 64
LEARNING_RATE = 1e-3


class Classifier(lightning.LightningModule):
    """The race's network as Lightning trains it.

    Args:
        race: What to train, and to which accuracy.
    """

    def __init__(self, race: Race) -> None:
        super().__init__()
        self.race, self.network = race, network(race.model)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """Log the accuracy of a batch; Lightning averages by batch size."""
        images, labels = batch
        correct = (self.network(images).argmax(1) == labels).float()
        self.log("accuracy", correct.mean(), prog_bar=True, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the introduction's optimizer."""
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)

    def on_train_start(self) -> None:
        """Start the first epoch's clock."""
        self.race.training_begins()

    def on_train_epoch_end(self) -> None:
        """Stop where the race is over; the validation of the epoch has run by now."""
        if self.race.epoch_ended(self.trainer.callback_metrics["accuracy"].item()):
            self.trainer.should_stop = True


def main() -> None:
    """Run the race that the command line asks for."""
    race = contender.race_from_arguments()
    lightning.seed_everything(race.seed)
    train = DataLoader(Images(*race.images("train")), batch_size=BATCH_SIZE, shuffle=True)
    test = DataLoader(Images(*race.images("test")), batch_size=BATCH_SIZE)
    trainer = lightning.Trainer(max_epochs=race.max_epochs)
    trainer.fit(Classifier(race), train, test)
    race.report()


if __name__ == "__main__":
    main()

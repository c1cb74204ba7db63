"""Who takes part: each contender's script, its environment and the packages it needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from environments import OURS, packages_in, python_of

PEERS_FOLDER = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Contender:
    """One row of a benchmark.

    Args:
        name: How `--contenders` calls it.
        label: How the tables call it.
        environment: The environment of `environments.py` it runs in.
        packages: What must be installed there.
        script: File in `peers/`; empty for traintime, which is a command of its own.
    """

    name: str
    label: str
    environment: str
    packages: tuple[str, ...]
    script: str = ""

    def why_not(self) -> str:
        """Return why it cannot run here and what to type, or nothing if it can."""
        installed = {name.lower().replace("_", "-") for name in packages_in(self.environment)}
        if all(package in installed for package in self.packages):
            return ""
        if self.environment == OURS:
            return "not installed; type: pip install -e '.[train]'"
        return f"not installed; type: python benchmarks/environments.py {self.environment}"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that starts it."""
        python = str(python_of(self.environment))
        if not self.script:
            return [python, "-m", "traintime", *arguments]
        return [python, str(PEERS_FOLDER / self.script), *arguments]


TRAINTIME = Contender("traintime", "traintime", OURS, ("traintime", "torch"))

TIME_TO_ACCURACY = (
    TRAINTIME,
    Contender("pytorch", "PyTorch, tutorial", "torch", ("torch",), "pytorch.py"),
    Contender(
        "pytorch_tensors", "PyTorch, TensorDataset", "torch", ("torch",), "pytorch_tensors.py"
    ),
    Contender("lightning", "Lightning", "torch", ("lightning",), "lightning_trainer.py"),
    Contender("keras_torch", "Keras on torch", "torch", ("keras", "torch"), "keras_torch.py"),
    Contender("keras_jax", "Keras on JAX", "torch", ("keras", "jax"), "keras_jax.py"),
    Contender(
        "keras_tensorflow",
        "Keras on TensorFlow",
        "tensorflow",
        ("keras", "tensorflow-cpu"),
        "keras_tensorflow.py",
    ),
)

PLAIN_SLICING = Contender("plain", "plain slicing loop", "torch", ("torch",), "steps.py")

STEP_OVERHEAD = (
    PLAIN_SLICING,
    TRAINTIME,
    Contender("dataloader", "PyTorch, DataLoader", "torch", ("torch",), "steps_dataloader.py"),
    Contender("lightning", "Lightning", "torch", ("lightning",), "steps_lightning.py"),
    Contender("keras_torch", "Keras on torch", "torch", ("keras", "torch"), "steps_keras.py"),
)


def chosen(contenders: tuple[Contender, ...], names: str) -> tuple[Contender, ...]:
    """Return the contenders that a comma-separated list names.

    Raises:
        SystemExit: No contender has one of these names.
    """
    if names == "all":
        return contenders
    known = {contender.name: contender for contender in contenders}
    for name in names.split(","):
        if name not in known:
            raise SystemExit(f"No contender named '{name}'. There are: all, {', '.join(known)}.")
    return tuple(known[name] for name in names.split(","))

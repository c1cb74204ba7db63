"""A user's own torch module, from a file or a package, as something to capture."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from traintime.errors import InputError, TraintimeError, nearest
from traintime.workload.capture import Subject
from traintime.workload.captured_step import Inputs, Loss, default_loss
from traintime.workload.sample import Sample
from traintime.workload.stdout import stdout_to_stderr
from traintime.workload.time_limit import TookTooLongError, time_limit
from traintime.workload.weight_types import keeps_half

BUILD_LIMIT_S = 60.0
HOW_TO_BUILD = "Write a function without arguments that returns the torch module: def build(): ..."


def own_subject(
    text: str, sample: Sample | None = None, otherwise: Sample | None = None
) -> Subject:
    """Return the module that `path/to/file.py:build` or `package.module:build` makes.

    Args:
        text: As typed.
        sample: What `input=` says.
        otherwise: Taken if nothing was typed and `build` returns no example batch.

    Raises:
        InputError: The file or function is missing, raised, hung or returned something else.
    """
    target, _, name = text.rpartition(":")
    if not target or not name:
        raise InputError(
            f"model={text} names no function. Type model={text.strip(':')}:build. {HOW_TO_BUILD}"
        )
    with _guarded(f"Importing {target}"):
        namespace = _import(target)
    if not hasattr(namespace, name):
        raise _no_such_function(target, name, namespace)
    made = _build(target, name, getattr(namespace, name))
    source = f"{text}, torch {torch.__version__.partition('+')[0]}"
    return _subject(text, source, made, sample, otherwise)


def _import(target: str) -> ModuleType:
    if target.endswith(".py"):
        return _import_file(target)
    with _on_path(Path.cwd()):
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name and target.startswith(error.name):
                raise InputError(
                    f"There is no module '{target}' here or among the installed packages. Type a "
                    "file, model=path/to/file.py:build, or a module, model=package.module:build"
                ) from None
            raise


def _import_file(target: str) -> ModuleType:
    path = Path(target).expanduser().resolve()
    if path.is_dir():
        raise InputError(f"'{target}' is a folder. Type a file in it, model=path/to/file.py:build")
    if not path.is_file():
        there = [str(Path(target).parent / other.name) for other in path.parent.glob("*.py")]
        near = nearest(target, there)
        hint = f"Did you mean '{near}'?" if near else "Type model=path/to/file.py:build"
        raise InputError(f"There is no file '{target}'. {hint}")
    name = f"traintime_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    namespace = importlib.util.module_from_spec(spec)
    sys.modules[name] = namespace  # dataclasses look themselves up there
    with _on_path(path.parent):
        spec.loader.exec_module(namespace)
    return namespace


@contextlib.contextmanager
def _on_path(folder: Path) -> Generator[None]:
    """Let a module import its neighbours."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def _guarded(what: str) -> Generator[None]:
    """Keep what a user's code prints off our output, and say in one line how it failed."""
    try:
        with time_limit(BUILD_LIMIT_S), stdout_to_stderr():
            yield
    except TraintimeError:
        raise
    except TookTooLongError as error:
        raise InputError(
            f"{what} did not end: {error}. Leave out what trains or downloads, or put it under "
            "if __name__ == '__main__':; a very large module is made at once with: "
            "with torch.device('meta'):"
        ) from error
    except (Exception, SystemExit) as error:
        last = traceback.format_exception_only(error)[-1].strip()
        at = _place_of(error)
        raise InputError(f"{what} failed{at}: {last}") from error


def _place_of(error: BaseException) -> str:
    """Return the file and line that an error comes from; of a syntax error, those that it names."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _no_such_function(target: str, name: str, namespace: ModuleType) -> InputError:
    made_here = [
        key
        for key, value in vars(namespace).items()
        if callable(value) and getattr(value, "__module__", "") == namespace.__name__
    ]
    near = nearest(name, made_here)
    if near:
        hint = f"Did you mean model={target}:{near}?"
    elif made_here:
        hint = f"It has {', '.join(sorted(made_here)[:12])}. {HOW_TO_BUILD}"
    else:
        hint = f"It has no function. {HOW_TO_BUILD}"
    return InputError(f"'{target}' has no '{name}'. {hint}")


def _build(target: str, name: str, build: Any) -> Any:
    if isinstance(build, nn.Module):
        return build
    if not callable(build):
        raise InputError(
            f"'{name}' in '{target}' is no function but {_named(build)}. {HOW_TO_BUILD}"
        )
    with contextlib.suppress(ValueError, TypeError):
        needed = [
            parameter.name
            for parameter in inspect.signature(build).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if needed:
            raise InputError(
                f"'{name}' in '{target}' wants to be given {', '.join(needed)}. {HOW_TO_BUILD}"
            )
    with _guarded(f"{target}:{name}"):
        return build()


def _named(value: Any) -> str:
    """Return what a value is, with its article."""
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}"


def _subject(
    text: str, source: str, made: Any, sample: Sample | None, otherwise: Sample | None
) -> Subject:
    module, batch, loss = made, None, None
    if isinstance(made, tuple) and len(cast("tuple[Any, ...]", made)) in (2, 3):
        module, batch, loss = (*cast("tuple[Any, ...]", made), None)[:3]
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{text} returned {_named(module)} and must return a torch.nn.Module, or "
            "(module, example_batch)"
        )
    if sample or (batch is None and otherwise):
        batch = example_of(cast("Sample", sample or otherwise))
    if batch is None:
        raise InputError(
            f"{text} returned a module without an example batch, so its input is unknown. Type the "
            "shape of one sample, such as input=3x224x224 or input='512 tokens', or let it return "
            "(module, example_batch)"
        )
    return from_module(module, batch, loss, name=text, source=source)


def example_of(sample: Sample) -> Tensor:
    """Return a batch of one without values, which takes no memory however large it is."""
    dtype = torch.long if sample.tokens else torch.get_default_dtype()
    return torch.empty(1, *sample.shape, dtype=dtype, device="meta")


def from_module(
    module: nn.Module,
    example_batch: Any,
    loss: Loss | None = None,
    *,
    name: str = "",
    source: str = "",
) -> Subject:
    """Return a module as something to capture.

    Args:
        module: What is trained; it is not changed.
        example_batch: A tensor, a tuple of them or a dict of named ones, with the batch as first
            dimension. Of a pair that the module does not take, the second holds the labels.
        loss: Makes a scalar of the output; none for `default_loss`, or for cross-entropy at each
            place if the input is tokens.
        name: As a user calls it; none for the class's name.
        source: Where it comes from; none for the class's module.

    Raises:
        InputError: The batch holds no tensor with a first dimension, or the module's weights are
            of no known type.
    """
    half = keeps_half(module, name or type(module).__name__)
    args, kwargs = _arguments(module, example_batch)
    batched = [leaf for leaf in tree_flatten((args, kwargs))[0] if _has_rows(leaf)]
    if not batched:
        raise InputError(
            f"The example batch of {name or type(module).__name__} holds no tensor whose first "
            f"dimension is the batch; it is a {type(example_batch).__name__}"
        )
    first = cast("Tensor", batched[0])
    num_rows = first.shape[0]

    def inputs(batch_size: int, _size: int) -> Inputs:
        def scaled(value: Any) -> Any:
            if not _has_rows(value) or value.shape[0] != num_rows:
                return value
            return value[:1].repeat(batch_size, *(1 for _ in value.shape[1:]))

        return tree_map(scaled, args), tree_map(scaled, kwargs)

    is_text = first.ndim == 2 and not first.is_floating_point()
    kind = type(module)
    return Subject(
        name=name or kind.__name__,
        source=source or f"{kind.__module__}.{kind.__qualname__}",
        module=module,
        inputs=inputs,
        input_shape=tuple(first.shape[1:]),
        loss=loss or (token_loss if is_text else default_loss),
        half=half,
    )


def _has_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] > 0


def _arguments(module: nn.Module, batch: Any) -> Inputs:
    if isinstance(batch, Mapping):
        return (), dict(cast("Mapping[str, Any]", batch))
    if not isinstance(batch, tuple | list):
        return (batch,), {}
    args = tuple(cast("tuple[Any, ...]", batch))
    if len(args) == 2 and not _takes(module.forward, args) and _takes(module.forward, args[:1]):
        return args[:1], {}
    return args, {}


def _takes(function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(function).bind(*args)
    except (TypeError, ValueError):
        return False
    return True


def token_loss(output: Any) -> Tensor:
    """Return the cross-entropy of scores (B, T, vocabulary) at each place, else `default_loss`."""
    scores = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(scores, Tensor) or scores.ndim != 3:
        return default_loss(output)
    labels = torch.zeros(scores.shape[:2], dtype=torch.long, device=scores.device)
    return nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten())

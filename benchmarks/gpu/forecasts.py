"""What the forecast says of each step that was timed."""

from __future__ import annotations

from typing import Any

import torch

from gpu.models import OWN_MODELS, TINY_MODELS, Model, foreign_models, loss_of
from gpu.record import first_line
from traintime.forecast.device_parameters import fitted_parameters
from traintime.forecast.device_step import predict_device_step, rates, sized_kernels
from traintime.hardware.devices import DeviceSpec
from traintime.workload.capture import Subject, capture


def add_predictions(steps: list[dict[str, Any]], spec: DeviceSpec) -> None:
    """Write beside each step what the capture forecasts for it; a failure is written, too."""
    models = OWN_MODELS | TINY_MODELS
    if any(":" in row["model"] for row in steps):
        models |= foreign_models()
    graphs: dict[tuple[str, str], Any] = {}
    for row in steps:
        name, numerics = row["model"], "amp" if row["precision"] == "amp" else "fp32"
        if name not in models:
            continue
        try:
            if (name, numerics) not in graphs:
                graphs[name, numerics] = _captured(name, models[name], numerics)
            row["predicted"] = _predicted(graphs[name, numerics], row, spec)
        except Exception as error:
            row["predicted"] = {"problem": first_line(error)}


def _captured(name: str, model: Model, numerics: Any) -> Any:
    with torch.device("meta"):
        module = model.build()

    def inputs(batch_size: int, _: int) -> Any:
        return (model.inputs(batch_size, "meta"),), {}

    subject = Subject(name, model.source, module, inputs, model.shape, loss=loss_of)
    return capture(subject, numerics)


def _predicted(graph: Any, row: dict[str, Any], spec: DeviceSpec) -> dict[str, Any]:
    batch_size, precision, parameters = row["batch_size"], row["precision"], fitted_parameters()
    kernels = sized_kernels(graph, batch_size, 1.0, precision, parameters)
    device = rates(spec, precision, parameters.shares(spec))
    step = predict_device_step(
        graph,
        kernels,
        device,
        parameters,
        optimizer=row["optimizer"],
        contiguous=row["memory_format"] == "contiguous",
        mode=row["mode"],
    )
    return {
        "step_s": step.seconds,
        "device_s": step.device_s,
        "dispatch_s": step.dispatch_s,
        "flops": step.flops,
        "utilization": step.flops / (step.peak_flops * row["median_s"]),
        "num_calls": graph.num_calls,
        "parameters": graph.parameters,
        "parameter_tensors": graph.parameter_tensors,
        "kept_bytes": graph.kept_bytes.at(batch_size),
        "peak_bytes": graph.peak_bytes.at(batch_size),
    }

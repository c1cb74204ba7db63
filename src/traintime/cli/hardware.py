"""The hardware verb: parsed, handed to the library, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from traintime.cli.output import print_json
from traintime.cli.running import Json, run_verb

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 1000  # lines in a pipe end where the table does, and tear nothing

hardware = typer.Typer(
    help="The devices there are, and what each can do at best.", no_args_is_help=True
)


@hardware.command("list")
def hardware_list(
    kind: Annotated[
        str | None, typer.Option(help="gpu, cpu, tpu, asic, apple or igpu.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """List all devices: those that you saved, then the catalogue."""
    run_verb(lambda: list_devices(kind, as_json=as_json), as_json)


@hardware.command("show")
def hardware_show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="For example rtx-3090, or as its driver says it.")
    ],
    as_json: Json = False,
) -> None:
    """Show what one device can do at best, and where the figures come from."""
    run_verb(lambda: show_device(name, as_json=as_json), as_json)


@hardware.command("remove")
def hardware_remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As it was saved.")],
    as_json: Json = False,
) -> None:
    """Forget a device that `traintime machine --save NAME` kept."""
    run_verb(lambda: remove_device(name, as_json=as_json), as_json)


def list_devices(kind: str | None, *, as_json: bool) -> None:
    """Draw all devices of a kind."""
    from traintime.api import hardware as hardware_api
    from traintime.report.devices import device_table

    specs = hardware_api.hardware_list(kind)
    if as_json:
        print_json([spec.to_json() for spec in specs])
        return
    console = _wide_console()
    console.print(device_table(specs, console.width))


def show_device(name: str, *, as_json: bool) -> None:
    """Draw one device."""
    from traintime.api import hardware as hardware_api
    from traintime.report.devices import device_lines

    spec = hardware_api.hardware_show(name)
    if as_json:
        print_json(spec.to_json())
        return
    _wide_console().print(device_lines(spec))


def remove_device(name: str, *, as_json: bool) -> None:
    """Forget one device, and say so."""
    from traintime.api import hardware as hardware_api

    hardware_api.hardware_remove(name)
    if as_json:
        print_json({"removed": name})
    else:
        _wide_console().print(f"Removed {name}")


def _wide_console() -> Console:
    from traintime.cli.display import make_console

    console = make_console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console

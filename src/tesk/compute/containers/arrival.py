"""Bring what an attempt needs before its first container: inputs and images, at the same time."""

import asyncio
from pathlib import Path

from tesk.compute.containers.engine import Image
from tesk.compute.containers.machine import Machine
from tesk.compute.containers.reference import reference
from tesk.compute.plan import Plan, Step
from tesk.transfer import Told, TransferList, TransferReport


async def arrive(
    machine: Machine, plan: Plan, transfers: TransferList, root: Path, told: Told
) -> tuple[TransferReport, dict[str, tuple[str, Image]]]:
    """Fetch all; the first that fails ends the other. Returns the images by what executors call them, with their full names.

    Raises Missing, BackendUnavailable, TransferError.
    """
    inputs = asyncio.ensure_future(_inputs(machine, transfers, root, told))
    steps = {step.image: step for step in plan.steps}
    images = {name: asyncio.ensure_future(_image(machine, step, transfers.caller)) for name, step in steps.items()}
    both = (inputs, *images.values())
    try:
        await asyncio.gather(*both)
    finally:
        for each in both:
            each.cancel()
        await asyncio.gather(*both, return_exceptions=True)
    return inputs.result(), {name: found.result() for name, found in images.items()}


async def _inputs(machine: Machine, transfers: TransferList, root: Path, told: Told) -> TransferReport:
    return await machine.stager.fetch(transfers, root, None, told) if transfers.comes_first else TransferReport()


async def _image(machine: Machine, step: Step, caller: str) -> tuple[str, Image]:
    """The image of an executor, and what it is called where it comes from."""
    name = await machine.resolve(step.image, caller)
    return name, await machine.images.get(reference(name, f"executors[{step.index}].image"))

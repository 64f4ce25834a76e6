"""Checkpoints: one safetensors file that is either whole and unchanged, or rejected.

The file holds the parameters, the state of every optimiser, the state of the random numbers and,
in its header, what the run was. It is written beside the old one and then put in its place, so an
interruption leaves the old one. A checksum over tensors and header finds any changed byte.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from unigen_edu.declarations import Model
from unigen_edu.errors import UnigenError

FILE = "checkpoint.safetensors"
FORMAT = "1"


def tensor_checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def parameter_checksum(model: nn.Module) -> str:
    """SHA-256 of a model's parameters and buffers: equal exactly if every bit is equal."""
    return tensor_checksum(dict(model.state_dict()))


def _file_checksum(tensors: dict[str, Tensor], meta: str) -> str:
    return hashlib.sha256(f"{tensor_checksum(tensors)} {meta}".encode()).hexdigest()


def prepare_folder(folder: str | Path) -> Path:
    """Make `folder` and prove that it can be written; otherwise raise one sentence."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UnigenError(
            f"The folder {folder} cannot be written ({error.strerror}): choose another with --out."
        ) from None
    return folder


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write all of `tensors` and `meta` to `path`, or leave what was there."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(meta)
    header = {"format": FORMAT, "sha256": _file_checksum(whole, text), "meta": text}
    new = path.with_suffix(".part")
    try:
        new.write_bytes(serialise(whole, metadata=header))
        os.replace(new, path)
    except (OSError, SafetensorError) as error:
        new.unlink(missing_ok=True)
        raise UnigenError(
            f"The checkpoint {path} could not be written ({error}); the one before it is kept: "
            "free some space, or choose another folder."
        ) from None


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except FileNotFoundError:
        raise UnigenError(f"There is no checkpoint at {path}: train a model first.") from None
    except (OSError, SafetensorError) as error:
        raise UnigenError(
            f"{path} is damaged or is no checkpoint ({error}): delete it and train again, "
            "or restore a copy."
        ) from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and the description of the run; a damaged file raises one sentence."""
    tensors, header = _open(path)
    if header.get("format") != FORMAT:
        raise UnigenError(f"{path} was not written by this version of unigen_edu: train again.")
    if _file_checksum(tensors, header.get("meta", "")) != header.get("sha256"):
        raise UnigenError(
            f"{path} is damaged (its checksum does not match its contents): delete it and train "
            "again, or restore a copy."
        )
    return tensors, json.loads(header["meta"])


def step_of(path: Path) -> int:
    """The step at which the checkpoint was written."""
    return int(load(path)[1]["step"])


def load_parameters(model: Model, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy the parameters in `tensors` into `model`; wrong names or shapes raise one sentence."""
    parameters = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    own = model.state_dict()
    same_names = parameters.keys() == own.keys()
    if not same_names or any(parameters[name].shape != own[name].shape for name in own):
        raise UnigenError(
            f"The parameters in {path} do not fit the model '{model.name}' with options "
            f"{model.config}: build it with the options of the run."
        )
    model.load_state_dict(parameters)


def load_model(path: str | Path) -> tuple[Model, dict[str, Any]]:
    """The trained model of a checkpoint (or of the folder that holds one), and its description."""
    from unigen_edu import models

    path = Path(path)
    if path.is_dir():
        path = path / FILE
    tensors, meta = load(path)
    model = models.create(meta["model"], **meta["config"])
    load_parameters(model, tensors, path)
    return model.eval(), meta

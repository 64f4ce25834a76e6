"""A checkpoint gives back what was put in, or is refused: no third case."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from unigen_edu import checkpoints, models
from unigen_edu.checkpoints import parameter_checksum, tensor_checksum
from unigen_edu.errors import UnigenError
from unigen_edu.training import fit

META = {"model": "gan", "step": 12, "note": "Straße"}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "half": torch.randn(3, 2, generator=generator).to(torch.bfloat16),
        "single": torch.randn(2, 3, generator=generator).t(),  # not contiguous
        "double": torch.randn((), generator=generator, dtype=torch.float64),
        "count": torch.tensor(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "none": torch.zeros(0, 4),
    }


@pytest.fixture
def written(tmp_path) -> Path:
    path = tmp_path / checkpoints.FILE
    checkpoints.save(path, tensors(), META)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UnigenError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert str(path) in message
    return message


def test_what_was_saved_is_loaded_to_the_bit(written):
    loaded, meta = checkpoints.load(written)
    wanted = tensors()
    assert loaded.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor), name
    assert meta == META
    assert checkpoints.step_of(written) == 12
    assert [p.name for p in written.parent.iterdir()] == [checkpoints.FILE]


def test_every_changed_byte_is_found(written):
    content = written.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        written.write_bytes(changed)
        assert str(written) in refused(written)
    written.write_bytes(content)
    assert checkpoints.load(written)[1] == META


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, -1, -8, -60])
def test_every_cut_is_found(length, written):
    content = written.read_bytes()
    written.write_bytes(content[:length])
    assert "is damaged or is no checkpoint" in refused(written)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "thing.safetensors"
    assert "There is no checkpoint at" in refused(path)
    path.write_text("Call me Ishmael. Some years ago")
    assert "is no checkpoint" in refused(path)
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    assert "is no checkpoint" in refused(path)
    save_file(tensors() | {"single": torch.zeros(2)}, path)
    assert "was not written by this version" in refused(path)
    save_file({"a": torch.zeros(2)}, path, metadata={"format": checkpoints.FORMAT})
    assert "is damaged" in refused(path)
    (tmp_path / "folder").mkdir()
    assert "is no checkpoint" in refused(tmp_path / "folder")


def test_the_description_is_under_the_checksum(written):
    loaded, _ = checkpoints.load(written)
    digest = checkpoints._file_checksum(tensors(), json.dumps(META))
    forged = json.dumps({**META, "step": 99})
    header = {"format": checkpoints.FORMAT, "sha256": digest, "meta": forged}
    save_file(loaded, written, metadata=header)
    assert "checksum does not match" in refused(written)


@pytest.mark.parametrize("error", [OSError("No space left on device"), SafetensorError("I/O")])
@pytest.mark.parametrize("where", ["serialise", "write_bytes", "replace"])
def test_a_failed_write_keeps_the_old_checkpoint(error, where, written, monkeypatch):
    before = written.read_bytes()

    def fail(*arguments: object, **options: object) -> None:
        if where == "write_bytes":
            written.with_suffix(".part").write_text("half of it")
        raise error

    place = {"serialise": checkpoints, "write_bytes": Path, "replace": os}[where]
    monkeypatch.setattr(place, where, fail)
    with pytest.raises(UnigenError, match=r"could not be written .* is kept"):
        checkpoints.save(written, {"a": torch.ones(3)}, META)
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == [checkpoints.FILE]


def test_the_checksum_sees_every_difference_and_nothing_else():
    wanted = tensor_checksum(tensors())
    assert tensor_checksum(dict(reversed(tensors().items()))) == wanted
    assert tensor_checksum({n: t.contiguous() for n, t in tensors().items()}) == wanted
    one = torch.ones(2, 2)
    others = [
        {"b": one},
        {"a": one.double()},
        {"a": one.reshape(4)},
        {"a": torch.nextafter(one, 2 * one)},
        {"a": one, "b": one},
        {"a": torch.zeros(2, 2)},
        {"a": -torch.zeros(2, 2)},  # equal to the one before as numbers, not as bits
    ]
    assert len({tensor_checksum(found) for found in [{"a": one}, *others]}) == len(others) + 1


def test_parameter_checksum_includes_buffers():
    model = models.create("gan")
    before = parameter_checksum(model)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer[0] += 1
            break
    assert parameter_checksum(model) != before


@pytest.mark.parametrize("name", ["gan", "iwgan", "vae"])
def test_a_model_is_built_again_from_its_checkpoint(name, digits, small, tmp_path):
    model = small(name)
    fit(model, digits, steps=2, batch_size=8, device="cpu", out=tmp_path, progress=False)
    for path in (tmp_path, str(tmp_path), tmp_path / checkpoints.FILE):
        again, meta = checkpoints.load_model(path)
        assert type(again) is type(model)
        assert parameter_checksum(again) == parameter_checksum(model)
        assert not again.training
        assert (meta["model"], meta["step"], meta["seed"]) == (name, 2, 0)
        assert meta["data"] == digits.fingerprint
    torch.manual_seed(0)
    x = model.sample(3)
    torch.manual_seed(0)
    assert torch.equal(again.sample(3), x)


def test_parameters_of_another_model_are_refused(written):
    for given in (
        {"model.body.weight": torch.zeros(2)},
        {f"model.{n}": t for n, t in models.create("gan", latent=5).state_dict().items()},
    ):
        model = models.create("gan", latent=4)
        before = parameter_checksum(model)
        with pytest.raises(UnigenError, match="do not fit the model 'gan' with options"):
            checkpoints.load_parameters(model, given, written)
        assert parameter_checksum(model) == before


def test_prepare_folder_leaves_no_trace(tmp_path):
    folder = checkpoints.prepare_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []

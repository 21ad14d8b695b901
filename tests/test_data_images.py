"""MNIST and Fashion-MNIST through torchvision's loaders, over IDX files written from scikit-learn's digits."""

import gzip
import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_digits

from nets.data import DataSet, fashion_mnist, mnist
from nets.data.vision import vision_data_sets
from nets.errors import InputError

FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
SETS = [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")]
Loader = Callable[..., DataSet]


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """The IDX format of the MNIST page: 00 00, 08 for unsigned bytes, the number of axes, the lengths, the bytes."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


@pytest.fixture(scope="module")
def samples() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The 8 x 8 scans centred in 28 x 28 pixels, scaled from 0…16 to 0…255, and their classes."""
    scans, classes = load_digits(return_X_y=True)
    pixels = np.pad((scans.reshape(-1, 8, 8) * 15.9375).astype(np.uint8), ((0, 0), (10, 10), (10, 10)))
    return pixels, classes.astype(np.uint8)


@pytest.fixture
def contents(samples: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]) -> dict[str, bytes]:
    pixels, classes = samples
    parts = (pixels[:200], classes[:200], pixels[200:250], classes[200:250])
    return {file: idx_bytes(part) for file, part in zip(FILES, parts, strict=True)}


def write(root: Path, name: str, contents: dict[str, bytes], packed: bool = False) -> Path:
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for file, content in contents.items():
        (raw / f"{file}.gz" if packed else raw / file).write_bytes(gzip.compress(content) if packed else content)
    return raw


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("load", "name"), SETS)
def test_the_files_are_read(
    load: Loader,
    name: str,
    packed: bool,
    tmp_path: Path,
    contents: dict[str, bytes],
    samples: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> None:
    raw = write(tmp_path, name, contents, packed)
    before = sorted(path.name for path in raw.iterdir())
    data = load(root=tmp_path)
    pixels = torch.from_numpy(samples[0][:250].reshape(250, 784)).double() / 255
    mean = pixels[:200].mean(0)
    deviation = (pixels[:200] - mean).square().mean().sqrt()
    seen = pixels[:200].amax(0) > 0  # blank in all training images, so 0 in the held-out images, too
    for part, taken in ((data.train, slice(0, 200)), (data.test, slice(200, 250))):
        torch.testing.assert_close(part.inputs, torch.where(seen, (pixels[taken] - mean) / deviation, 0.0).float())
        assert part.targets.tolist() == samples[1][taken].tolist() and part.targets.dtype == torch.int64
    assert data.name == name and data.classes == 10 and len(data.labels) == 10
    # The loader adds no file to the user's folder.
    assert sorted(path.name for path in raw.iterdir()) == before


def test_pixels_blank_in_training_stay_finite(tmp_path: Path, contents: dict[str, bytes]) -> None:
    lit = bytearray(contents["t10k-images-idx3-ubyte"])
    lit[16] = 255  # a pixel of the margin: 0 in every training image
    write(tmp_path, "MNIST", {**contents, "t10k-images-idx3-ubyte": bytes(lit)})
    data = mnist(root=tmp_path)
    assert data.test.inputs.isfinite().all() and data.test.inputs[0, 0] == 0


def test_signed_targets(tmp_path: Path, contents: dict[str, bytes]) -> None:
    write(tmp_path, "MNIST", contents)
    signed, classes = mnist(root=tmp_path, targets="signed"), mnist(root=tmp_path)
    assert signed.train.targets.shape == (200, 10)
    assert torch.equal(signed.train.targets.argmax(1), classes.train.targets)
    assert (signed.train.targets.sum(1) == 1 - 9).all()


def test_a_seeded_subset_of_the_images(tmp_path: Path, contents: dict[str, bytes]) -> None:
    write(tmp_path, "MNIST", contents)
    few = mnist(root=tmp_path, train_samples=30, test_samples=20, seed=1)
    again = mnist(root=tmp_path, train_samples=30, test_samples=50, seed=1)
    other = mnist(root=tmp_path, train_samples=30, test_samples=20, seed=2)
    assert len(few.train) == 30 and len(few.test) == 20
    assert torch.equal(few.train.inputs, again.train.inputs)
    assert not torch.equal(few.train.inputs, other.train.inputs)
    # Only the 30 selected images determine the scale.
    assert few.train.inputs.mean(0).abs().max() < 1e-6
    assert few.train.inputs.square().mean().item() == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match=r"^train_samples is 201; expected a whole number from 1 to 200"):
        mnist(root=tmp_path, train_samples=201)
    with pytest.raises(InputError, match=r"^test_samples is 0; expected a whole number from 1 to 50"):
        mnist(root=tmp_path, test_samples=0)


def test_processed_files_of_old_torchvision_releases_are_ignored(tmp_path: Path, contents: dict[str, bytes]) -> None:
    # torchvision prefers MNIST/processed/*.pt, written by older releases, to the raw files.
    write(tmp_path, "MNIST", contents)
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.long)), processed / file)
    assert len(mnist(root=tmp_path).train) == 200


@pytest.mark.parametrize(("load", "name"), SETS)
def test_missing_files_are_named_with_the_folder(
    load: Loader, name: str, tmp_path: Path, contents: dict[str, bytes]
) -> None:
    with pytest.raises(InputError) as nothing:
        load(root=tmp_path / "data")
    for word in (str(tmp_path / "data" / name / "raw"), "data.download=true", *FILES):
        assert word in str(nothing.value)
    assert not (tmp_path / "data").exists()
    raw = write(tmp_path, name, contents)
    (raw / FILES[3]).unlink()
    with pytest.raises(InputError, match=f"lacks {FILES[3]} "):
        load(root=tmp_path)


IMAGES, LABELS = FILES[0], FILES[1]
DAMAGES: list[tuple[str, str, Callable[[bytes], bytes], str]] = [
    ("cut short", IMAGES, lambda b: b[:-100], r"is cut short, with 156716 bytes where its header promises 156816;?"),
    ("cut in the header", IMAGES, lambda b: b[:10], r"is cut short within its header of 16 bytes"),
    ("empty", IMAGES, lambda b: b"", r"is empty where an IDX file is expected"),
    ("too long", LABELS, lambda b: b + b"\0", r"is longer than it should be, with 209 bytes where .* 208"),
    (
        "a page of HTML",
        IMAGES,
        lambda b: b"<!DOCTYPE html>" + b,
        r"begins with the bytes 3c 21 44 4f where .* 00 00 08 03",
    ),
    ("labels for images", IMAGES, lambda b: idx_bytes(np.zeros(200, np.uint8)), r"00 00 08 01 where .* 00 00 08 03"),
    (
        "the wrong width",
        IMAGES,
        lambda b: idx_bytes(np.zeros((200, 8, 8), np.uint8)),
        r"images of 8 x 8 pixels where 28 x 28",
    ),
    ("no samples", LABELS, lambda b: idx_bytes(np.zeros(0, np.uint8)), r"holds no samples"),
    ("too few labels", LABELS, lambda b: idx_bytes(np.zeros(199, np.uint8)), r"200 images in .* but 199 labels in"),
    ("a label of 10", LABELS, lambda b: b[:-1] + b"\x0a", r"holds the label 10 where labels from 0 to 9"),
]


@pytest.mark.parametrize(
    ("file", "damage", "sentence"), [case[1:] for case in DAMAGES], ids=[case[0] for case in DAMAGES]
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_named(
    file: str,
    damage: Callable[[bytes], bytes],
    sentence: str,
    packed: bool,
    tmp_path: Path,
    contents: dict[str, bytes],
) -> None:
    write(tmp_path, "MNIST", {**contents, file: damage(contents[file])}, packed)
    with pytest.raises(InputError, match=sentence) as caught:
        mnist(root=tmp_path)
    assert file in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"not gzip", lambda b: b[:40] + b"\xff" * 40 + b[80:]])
def test_a_damaged_archive_is_named(
    damage: Callable[[bytes], bytes], tmp_path: Path, contents: dict[str, bytes]
) -> None:
    raw = write(tmp_path, "MNIST", contents, packed=True)
    archive = raw / f"{IMAGES}.gz"
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(InputError, match=r"-ubyte\.gz is cut short or no gzip file \(.*\): delete it"):
        mnist(root=tmp_path)


@pytest.fixture
def mirror(tmp_path: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A local server that replaces the mirrors; yields the folder that it serves."""
    served = tmp_path / "served"
    served.mkdir()
    resources = []
    for file, content in contents.items():
        (served / f"{file}.gz").write_bytes(gzip.compress(content))
        resources.append((f"{file}.gz", hashlib.md5((served / f"{file}.gz").read_bytes()).hexdigest()))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        data_set = vision_data_sets().MNIST
        monkeypatch.setattr(data_set, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(data_set, "resources", resources)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield served
        server.shutdown()
        thread.join()


def test_a_download_fetches_only_missing_files(tmp_path: Path, mirror: Path, contents: dict[str, bytes]) -> None:
    root = tmp_path / "fresh"
    assert len(mnist(root=root, download=True).train) == 200
    assert {path.name: path.read_bytes() for path in (root / "MNIST" / "raw").iterdir()} == contents
    # Files that exist are neither downloaded nor written again.
    for path in mirror.iterdir():
        path.unlink()
    assert len(mnist(root=root, download=True).test) == 50
    assert [path.name for path in root.iterdir()] == ["MNIST"]


def test_a_broken_download_leaves_no_file(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # First the third of four files is truncated, so its checksum differs; then there is no network.
    root = tmp_path / "fresh"
    archive = mirror / f"{FILES[2]}.gz"
    archive.write_bytes(archive.read_bytes()[:-30])
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"^MNIST could not be downloaded into .* \(.+\): try again with"
        ) as caught:
            mnist(root=root, download=True)
        assert str(root / "MNIST" / "raw") in str(caught.value) and "\n" not in str(caught.value)
        assert not list(root.iterdir())
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setattr(vision_data_sets().MNIST, "mirrors", [f"http://127.0.0.1:{taken.getsockname()[1]}/"])


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^MNIST could not be downloaded into "):
        mnist(root=tmp_path / "file", download=True)


def test_the_global_random_state_is_unchanged(tmp_path: Path, contents: dict[str, bytes]) -> None:
    write(tmp_path, "MNIST", contents)
    before = torch.get_rng_state()
    mnist(root=tmp_path, train_samples=10, seed=3)
    assert torch.equal(before, torch.get_rng_state())

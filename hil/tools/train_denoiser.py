"""Train the RAW denoiser: ``make train-denoiser``.

One step takes about 0.05 s of one core. Each checkpoint writes the result so far, so training can
be ended with Ctrl-C.

The result is two files in host/lenslink_isp/denoise: ``denoiser.onnx`` (the network, weights as
16-bit floats) and ``denoiser.json`` (how it was trained). The seeds are fixed. The sums of a
multi-threaded convolution are not, so a second training gives another network that is as good.

Clean pictures are photographs in scikit-image's wheel, and dead leaves (random discs that cover
each other). They get noise by the model of DNG's NoiseProfile, over all ISOs. The held-out pictures
of ``lenslink bench denoise`` are others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from lenslink.srgb import decode_srgb
from lenslink_isp.denoise.noise_units import FEATURES, NoiseUnits, make_features, pack

Floats = NDArray[np.float32]

OUTPUT = Path(__file__).resolve().parents[2] / "host" / "lenslink_isp" / "denoise"
SEED = 14
PATCH = 96
"""Side of a training patch, in pixels of the mosaic."""
BATCH = 8
CHECKPOINT = 125
WARM_UP = 200
"""Steps in which the learning rate of a stage rises."""
VALIDATION = 48

PICTURES = {
    "astronaut.png": "Eileen Collins; NASA, public domain",
    "chelsea.png": "Stefan van der Walt, CC0",
    "rocket.jpg": "SpaceX, public domain",
    "camera.png": "Lav Varshney, CC0",
    "hubble_deep_field.jpg": "NASA, public domain",
    "retina.jpg": "Mikael Haggstrom, CC0",
    "brick.png": "CC0Textures, CC0",
    "grass.png": "linolafett (DeviantArt), CC0",
    "gravel.png": "CC0Textures, CC0",
}
WEIGHTS = {"hubble_deep_field.jpg": 0.3, "retina.jpg": 0.3}
"""How often a picture is drawn, beside 1: these two have little detail."""
DEAD_LEAVES = 6


class Convolution(nn.Module):
    """A convolution that computes in 32 bits, also if its weights are stored in 16."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__()
        shape = (outputs, inputs, size, size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.stride, self.padding = stride, size // 2 if stride == 1 else 0
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return functional.conv2d(planes, weight, bias, self.stride, self.padding)


class Enlargement(nn.Module):
    """A transposed convolution of 2 x 2 pixels: twice as many rows and columns."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs, 2, 2))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.weight, std=(1 / inputs) ** 0.5)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return functional.conv_transpose2d(planes, self.weight.float(), self.bias.float(), 2)


class Network(nn.Module):
    """Features in, noise out. Three scales: packed pixels, 2 x 2 of them, and 4 x 4 of them."""

    def __init__(self, fine: int = 24, middle: int = 32, coarse: int = 64) -> None:
        super().__init__()
        self.enter = Convolution(FEATURES, fine, 3)
        self.reduce_1 = Convolution(fine, middle, 2, 2)
        self.before = Convolution(middle, middle, 3)
        self.reduce_2 = Convolution(middle, coarse, 2, 2)
        self.coarse_1 = Convolution(coarse, coarse, 3)
        self.coarse_2 = Convolution(coarse, coarse, 3)
        self.enlarge_2 = Enlargement(coarse, middle)
        self.after = Convolution(middle, middle, 3)
        self.enlarge_1 = Enlargement(middle, fine)
        self.finish = Convolution(fine, fine, 3)
        self.leave = Convolution(fine, 4, 3)
        with torch.no_grad():
            self.leave.weight *= 0.1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        relu = torch.relu
        fine = relu(self.enter(features))
        middle = relu(self.before(relu(self.reduce_1(fine))))
        coarse = relu(self.coarse_1(relu(self.reduce_2(middle))))
        coarse = relu(self.coarse_2(coarse))
        middle = relu(self.after(relu(middle + self.enlarge_2(coarse))))
        fine = relu(self.finish(relu(fine + self.enlarge_1(middle))))
        return self.leave(fine)


@dataclass(frozen=True)
class Stage:
    """A part of the training: what is minimized, and what the pictures look like."""

    loss: Literal["noise", "picture"]
    """The noise that is left, or the PSNR of the picture as RAW and as sRGB."""
    end: int
    """The last step."""
    blurred: float = 0.0
    """The share of patches that are out of focus."""
    least_exposure: float = 0.15
    saturated: float = 0.0
    """The share of patches whose colours do not overlap in the camera's filters."""
    coarse: float = 0.0
    """The share of patches with the noise of a phone at ISO 300 and more."""
    rate: float = 2e-3
    """Learning rate, after WARM_UP steps."""
    fade: int = 4500
    """Steps after which the rate has fallen to a half."""


STAGES = (
    Stage("noise", 1250),
    Stage("picture", 2000),
    # Smooth, dark parts were worse than those of BM3D, as figures of the benchmark's crops showed.
    Stage("picture", 3500, blurred=0.25, least_exposure=0.04, rate=1e-3, fade=600),
    # Saturated colours were, too: one of their channels is nearly black.
    Stage("picture", 4000, blurred=0.1, least_exposure=0.08, saturated=0.6, rate=8e-4, fade=500),
    # The shadows of noisy pictures were too bright: the digital number 0 cuts their noise off.
    Stage(
        "picture",
        4250,
        blurred=0.1,
        least_exposure=0.08,
        saturated=0.6,
        coarse=0.6,
        rate=8e-4,
        fade=300,
    ),
)


@dataclass
class Scenes:
    """Clean pictures of linear light, each in several sizes, and how often each is drawn."""

    pictures: list[Floats]
    chances: NDArray[np.float64]


def load_scenes(random: np.random.Generator) -> Scenes:
    """Return the photographs of the wheel and the dead leaves."""
    folder = Path(skimage.__file__).parent / "data"
    pictures, chances = [], []
    for name in PICTURES:
        values = cv2.imread(str(folder / name), cv2.IMREAD_COLOR_RGB)
        light = np.asarray(decode_srgb(values / 255), np.float32)
        # The traces of JPEG and of the camera's own demosaicing vanish in a smaller picture.
        for scale in (0.85, 0.6, 0.42):
            size = (int(light.shape[1] * scale), int(light.shape[0] * scale))
            smaller = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
            if min(smaller.shape[:2]) > PATCH:
                pictures.append(smaller)
                chances.append(WEIGHTS.get(name, 1.0) * min(smaller[..., 0].size, 200_000))
    for _ in range(DEAD_LEAVES):
        pictures.append(make_dead_leaves(random))
        chances.append(100_000)
    return Scenes(pictures, np.array(chances) / sum(chances))


def make_dead_leaves(random: np.random.Generator, side: int = 512) -> Floats:
    """Return discs of random size, colour and shading that cover each other, (side, side, 3).

    Sizes follow a power law, as those of objects in photographs do. Source: Lee, Mumford and Huang,
    "Occlusion models for natural images", Int. J. Computer Vision 41, 2001.
    """
    double = 2 * side
    picture = np.full((double, double, 3), 0.2, np.float32)
    rows, columns = np.mgrid[:double, :double].astype(np.float32)
    for _ in range(2500):
        radius = 8 / random.uniform(0.02, 1) ** 0.9
        y, x = random.uniform(0, double, 2)
        reach = int(radius) + 1
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        part = np.s_[top : int(y) + reach, left : int(x) + reach]
        inside = (rows[part] - y) ** 2 + (columns[part] - x) ** 2 < radius**2
        grey = random.uniform(0, 1) ** 2.2
        colour = grey * random.uniform(0.4, 1, 3)
        slope = random.normal(0, 0.4 / radius, 2)
        shade = 1 + slope[0] * (rows[part] - y) + slope[1] * (columns[part] - x)
        leaf = np.clip(shade, 0.1, 2)[..., None] * colour
        picture[part][inside] = leaf[inside]
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


@dataclass
class Sample:
    """A patch, or a batch of them: float32."""

    features: torch.Tensor
    """(N, 12, H, W): what the network sees."""
    noise: torch.Tensor
    """(N, 4, H, W): what it must find, in units of noise."""
    clean: torch.Tensor
    """(N, 4, H, W): light in units of noise."""
    shot: torch.Tensor
    """(N, 1, 1, 1): S of the noise profile."""
    offset: torch.Tensor
    """(N, 1, 1, 1): the square of half of the units at black."""
    gains: torch.Tensor
    """(N, 4, 1, 1): white balance of the four planes."""


def make_sample(scenes: Scenes, stage: Stage, random: np.random.Generator) -> tuple[Floats, ...]:
    """Return the parts of a :class:`Sample` of one patch, without the axis N."""
    picture = scenes.pictures[random.choice(len(scenes.pictures), p=scenes.chances)]
    top, left = (int(random.integers(0, length - PATCH)) for length in picture.shape[:2])
    light = picture[top : top + PATCH, left : left + PATCH]
    if random.random() < 0.5:
        light = light[:, ::-1]
    if random.random() < 0.5:
        light = light.transpose(1, 0, 2)
    if random.random() < stage.blurred:
        light = cv2.GaussianBlur(light, None, np.exp(random.uniform(np.log(0.7), np.log(12))))
    # Another camera: its filters overlap, and its red and blue are less sensitive than its green.
    overlap = 0 if random.random() < stage.saturated else random.uniform(0, 0.35)
    gains = np.array([random.uniform(0.35, 1), 1, random.uniform(0.35, 1)])
    camera = (light * (1 - overlap) + light.mean(2, keepdims=True) * overlap) * gains
    exposure = np.exp(random.uniform(np.log(stage.least_exposure), np.log(1.4)))
    clean = np.minimum(apply_mosaic(camera * exposure), 1)

    # The noise: from ISO 20 to beyond 6400, with little or much read noise.
    shot = np.exp(random.uniform(np.log(3e-5), np.log(2e-2)))
    electrons = 9.9 if random.random() < 0.3 else np.exp(random.uniform(np.log(0.7), np.log(14)))
    is_coarse = random.random() < stage.coarse
    if is_coarse:
        shot, electrons = np.exp(random.uniform(np.log(6e-4), np.log(2e-2))), 9.9
    read = min(electrons * shot, 0.25) ** 2
    black = 256 / 3839 if is_coarse or random.random() < 0.4 else random.uniform(0.02, 0.2)
    levels = 2 ** int(random.integers(12, 15)) / (1 + black)
    noisy = random.poisson(clean / shot) * shot + random.normal(0, read**0.5, clean.shape)
    noisy = np.round(np.clip(noisy, -black, 1) * levels) / levels

    units = NoiseUnits(shot, read)
    seen, true = (units.from_light(pack(each)) for each in (noisy, clean))
    features = make_features(seen, units.find_floor(-black))
    scalars = [np.full((1, 1, 1), each, np.float32) for each in (shot, read / shot**2 + 0.375)]
    balance = (1 / gains[[0, 1, 1, 2]]).astype(np.float32).reshape(4, 1, 1)
    return features, seen - true, true, *scalars, balance


def apply_mosaic(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the RGGB mosaic, (H, W), of a picture, (H, W, 3)."""
    mosaic = light[..., 1].copy()
    mosaic[0::2, 0::2] = light[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = light[1::2, 1::2, 2]
    return mosaic


def make_batch(scenes: Scenes, stage: Stage, random: np.random.Generator, count: int) -> Sample:
    """Return *count* patches."""
    samples = [make_sample(scenes, stage, random) for _ in range(count)]
    parts = [torch.from_numpy(np.stack(each)) for each in zip(*samples, strict=True)]
    batch = Sample(*parts)
    # A convolution is a third faster if the channels of a pixel lie side by side.
    batch.features = batch.features.contiguous(memory_format=torch.channels_last)
    return batch


def find_noise_loss(network: nn.Module, batch: Sample) -> torch.Tensor:
    """Return the mean over the patches of the root mean square of the noise that is left.

    The noise's own is about 1. The root gives each patch a say, however hard it is.
    """
    error = (network(batch.features) - batch.noise).square().mean(dim=(1, 2, 3))
    return (error + 1e-6).sqrt().mean()


def find_picture_loss(network: nn.Module, batch: Sample) -> torch.Tensor:
    """Return what the benchmark measures, with its sign changed: PSNR of RAW and of sRGB.

    It is a quarter of the sum of both logarithms of the mean square error. sRGB is that of
    white-balanced pixels, without demosaicing.
    """
    found = batch.clean + batch.noise - network(batch.features)

    def find_light(units: torch.Tensor) -> torch.Tensor:
        light = batch.shot * (units.clamp(min=0).square() / 4 - batch.offset)
        return light.clamp(0, 1)

    def encode(light: torch.Tensor) -> torch.Tensor:
        balanced = (light * batch.gains).clamp(max=1)
        power = 1.055 * balanced.clamp(min=0.0031308).pow(1 / 2.4) - 0.055
        return torch.where(balanced <= 0.0031308, 12.92 * balanced, power)

    light, true = find_light(found), find_light(batch.clean)
    errors = [light - true, encode(light) - encode(true)]
    logarithms = [(each.square().mean(dim=(1, 2, 3)) + 1e-8).log() for each in errors]
    return torch.stack(logarithms).mean() / 2


LOSSES = {"noise": find_noise_loss, "picture": find_picture_loss}


def train(steps: int, output: Path) -> None:
    """Train for *steps* steps. Each checkpoint writes the network and the record to *output*."""
    torch.manual_seed(SEED)
    scenes = load_scenes(np.random.default_rng(SEED))
    learner = Learner(scenes, Record(output, steps))
    begin = 0
    for stage in STAGES:
        learner.run_stage(stage, range(begin, min(stage.end, steps)))
        begin = stage.end


class Learner:
    """The network while it is trained."""

    def __init__(self, scenes: Scenes, record: Record) -> None:
        self._scenes, self._record = scenes, record
        self._network = Network().to(memory_format=torch.channels_last)

    def run_stage(self, stage: Stage, steps: range) -> None:
        """Train for one stage. The network becomes the mean of its last states: it is better."""
        network, find_loss = self._network, LOSSES[stage.loss]
        # Of the same pictures, but other patches and other noise: it shows how far training got.
        checks = make_batch(self._scenes, stage, np.random.default_rng(SEED + 1), VALIDATION)
        random = np.random.default_rng([SEED, steps.start])
        average = Network().to(memory_format=torch.channels_last)
        average.load_state_dict(network.state_dict())
        optimizer = torch.optim.AdamW(network.parameters(), stage.rate, weight_decay=1e-4)
        # A rate that does not depend on the number of steps, so training can be ended early.
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1, (step + 1) / WARM_UP) / (1 + step / stage.fade)
        )
        for count, step in enumerate(steps, 1):
            batch = make_batch(self._scenes, stage, random, BATCH)
            loss = find_loss(network, batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            keep = min(0.999, count / (count + 10))
            with torch.no_grad():
                for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                    mean.lerp_(now, 1 - keep)
            if count % CHECKPOINT == 0 or count == len(steps):
                with torch.no_grad():
                    left = float(find_loss(average, checks))
                self._record.add(step + 1, left, average)
        network.load_state_dict(average.state_dict())


def write_network(network: nn.Module, path: Path) -> None:
    """Write *network* as ONNX, its weights as 16-bit floats."""
    half = Network().half().eval()
    half.load_state_dict(network.state_dict())
    side = PATCH // 2
    # The newer exporter folds the 16-bit weights into 32-bit ones, so the file were twice as large.
    torch.onnx.export(
        half,
        (torch.zeros(1, FEATURES, side, side),),
        str(path),
        dynamo=False,
        do_constant_folding=False,
        opset_version=13,
        input_names=["features"],
        output_names=["noise"],
        dynamic_axes={name: {2: "height", 3: "width"} for name in ("features", "noise")},
    )


class Record:
    """How the network was trained: denoiser.json, beside the network itself."""

    def __init__(self, output: Path, steps: int) -> None:
        self._output, self._goal = output, steps
        self._losses: list[tuple[int, float]] = []
        self._start, self._cpu = time.monotonic(), time.process_time()

    def add(self, step: int, loss: float, network: nn.Module) -> None:
        """Write both files at a checkpoint. *loss* is that of the stage."""
        self._losses.append((step, round(loss, 5)))
        seconds = time.monotonic() - self._start
        print(f"step {step} of {self._goal}, {seconds:.0f} s: loss {loss:.5f}", flush=True)
        path = self._output / "denoiser.onnx"
        write_network(network, path)
        data = path.read_bytes()
        record = {
            "schema": "lenslink.denoiser/1",
            "command": "make train-denoiser",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "parameters": sum(each.numel() for each in network.parameters()),
            "seed": SEED,
            "steps": step,
            "stages": [asdict(stage) for stage in STAGES],
            "batch": BATCH,
            "patch": PATCH,
            "cpu_seconds": round(time.process_time() - self._cpu),
            "losses": self._losses,
            "pictures": PICTURES,
            "dead_leaves": DEAD_LEAVES,
            "held_out": "china, flower (scikit-learn), coffee (scikit-image)",
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "opencv": cv2.__version__,
                "scikit-image": skimage.__version__,
            },
        }
        text = json.dumps(record, indent=2) + "\n"
        path.with_suffix(".json").write_text(text, encoding="utf-8")


def main() -> None:
    """Read the options, and train."""
    parser = argparse.ArgumentParser(description="Train the RAW denoiser.")
    parser.add_argument("--steps", type=int, default=STAGES[-1].end, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the two files")
    options = parser.parse_args()
    torch.set_num_threads(2)
    cv2.setNumThreads(1)
    train(options.steps, options.output)


if __name__ == "__main__":
    main()

"""StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) in torch, as NVIDIA's PyTorch code parametrises it.

Any resolution and any number of channels; architecture `skip`; noise that does not change.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from prosopon.models.convert.stylegan2_pickle import SavedModule, StyleGanFileError

_EPSILON = 1e-8
_GAIN = math.sqrt(2)
"""Of the leaky ReLU, so that variance is kept."""
_HALF_BLOCKS, _HALF_CLAMP = 4, 256.0
"""NVIDIA's training computes as many blocks in half precision and holds their features to this (`conv_clamp`)."""


class Linear(nn.Module):
    """Fully connected, with the equalised learning rate folded into the weights."""

    def __init__(self, weight: Tensor, bias: Tensor, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight * (rate / math.sqrt(weight.shape[1])))
        self.bias = nn.Parameter(bias * rate)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


class Mapping(nn.Module):
    """z ``(N, z_dim)`` to w ``(N, w_dim)``. label: what a network with classes sees beside z, ``(w_dim,)``."""

    def __init__(self, layers: list[Linear], label: Tensor | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.register_buffer("label", label)
        self.z_dim = layers[0].weight.shape[1] - (0 if label is None else len(label))

    def forward(self, z: Tensor) -> Tensor:
        x = _normalised(z)
        if (label := self._buffers["label"]) is not None:
            x = torch.cat([x, label.expand(len(z), -1)], dim=1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2) * _GAIN
        return x


def _normalised(x: Tensor) -> Tensor:
    """Rows ``(N, C)`` of mean square 1."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + _EPSILON)


def modulated_convolution(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, up: bool) -> Tensor:
    """Equations 1 to 3: x ``(N, C, H, W)``, weight ``(C', C, k, k)``, style ``(N, C)`` to ``(N, C', H', W')``.

    Scaling a filter's input channels is scaling its input, and scaling all of a filter is scaling its output: so one
    convolution serves the batch. up: the transposed convolution of stride 2, ``2H + 1`` wide, that a filter follows.
    """
    if x.dtype == torch.float16 and demodulate:
        # Demodulation undoes any factor, and without these sums would leave half precision's range (as in NVIDIA's).
        weight = weight / (weight.abs().amax(dim=(1, 2, 3), keepdim=True) * math.sqrt(weight[0].numel()))
        style = style / style.abs().amax(dim=1, keepdim=True)
    scaled, energy = x * style.to(x.dtype)[:, :, None, None], None
    if demodulate:
        energy = style.square() @ weight.square().sum(dim=(2, 3)).T + _EPSILON  # (N, C')
    weight = weight.to(x.dtype)
    if up:
        y = functional.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2)
    else:
        y = functional.conv2d(scaled, weight, padding=weight.shape[-1] // 2)
    return y if energy is None else y * torch.rsqrt(energy).to(y.dtype)[:, :, None, None]


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with a small kernel ``(k, k)``, times 4: what doubling the sides takes from the mean."""
    channels = x.shape[1]
    weight = (4 * kernel.flip(0, 1)).to(x.dtype)[None, None].expand(channels, 1, *kernel.shape)
    return functional.conv2d(x, weight, groups=channels)


def upsampled(image: Tensor, kernel: Tensor) -> Tensor:
    """``(N, C, H, W)`` to ``(N, C, 2H, 2W)``: zeros between the pixels, then the filter."""
    n, c, h, w = image.shape
    spread = image.new_zeros(n, c, h, 2, w, 2)
    spread[:, :, :, 0, :, 0] = image
    spread = spread.reshape(n, c, 2 * h, 2 * w)
    taps = kernel.shape[0]
    before, after = (taps + 1) // 2, (taps - 2) // 2
    return filtered(functional.pad(spread, (before, after, before, after)), kernel)


class Layer(nn.Module):
    """A styled convolution: style, convolution, noise, bias, leaky ReLU."""

    def __init__(self, saved: SavedModule) -> None:
        super().__init__()
        affine = saved.module("affine")
        self.affine = Linear(affine.tensor("weight"), affine.tensor("bias"))
        self.weight = nn.Parameter(saved.tensor("weight"))  # (C', C, 3, 3)
        self.bias = nn.Parameter(saved.tensor("bias"))
        self.up = int(saved.settings.get("up", 1)) == 2
        noise = None
        if saved.settings.get("use_noise", True):
            noise = saved.tensor("noise_const") * saved.tensor("noise_strength")  # (H, W)
        self.register_buffer("noise", noise)
        self.register_buffer("kernel", saved.tensor("resample_filter"))
        self.clamp = _clamp(saved)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = modulated_convolution(x, self.weight, self.affine(w), demodulate=True, up=self.up)
        if self.up:
            taps = len(kernel := self.get_buffer("kernel"))
            before, after = (taps + 1) // 2 - 1, (taps - 2) // 2
            x = filtered(functional.pad(x, (before, after, before, after)), kernel)
        if (noise := self._buffers["noise"]) is not None:
            x = x + noise.to(x.dtype)
        x = functional.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], 0.2) * _GAIN
        clamp = _HALF_CLAMP if self.clamp is None and x.dtype == torch.float16 else self.clamp
        return x if clamp is None else x.clamp(-clamp, clamp)


class ToRgb(nn.Module):
    """Features to colours: a modulated 1x1 convolution without demodulation."""

    def __init__(self, saved: SavedModule) -> None:
        super().__init__()
        affine = saved.module("affine")
        self.affine = Linear(affine.tensor("weight"), affine.tensor("bias"))
        weight = saved.tensor("weight")  # (3, C, 1, 1)
        self.weight = nn.Parameter(weight / math.sqrt(weight[0].numel()))
        self.bias = nn.Parameter(saved.tensor("bias"))
        self.clamp = _clamp(saved)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = modulated_convolution(x, self.weight, self.affine(w), demodulate=False, up=False)
        x = x + self.bias.to(x.dtype)[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class Block(nn.Module):
    """One resolution. The first has a constant input and one convolution, the others double the sides."""

    def __init__(self, saved: SavedModule) -> None:
        super().__init__()
        self.constant = nn.Parameter(saved.tensor("const")) if "const" in saved.tensors else None  # (C, 4, 4)
        names = ["conv1"] if self.constant is not None else ["conv0", "conv1"]
        self.layers = nn.ModuleList(Layer(saved.module(name)) for name in names)
        self.to_rgb = ToRgb(saved.module("torgb"))
        self.register_buffer("kernel", saved.tensor("resample_filter"))
        self.half_precision = False

    def forward(self, x: Tensor | None, image: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """w: ``(N, layers + 1, w_dim)``; the last style is that to colours, and the next block's first."""
        if x is None:
            assert self.constant is not None
            x = self.constant.expand(len(w), -1, -1, -1)
        x = x.to(torch.float16 if self.half_precision else torch.float32)
        for index, layer in enumerate(self.layers):
            x = layer(x, w[:, index])
        colours = self.to_rgb(x, w[:, len(self.layers)]).float()
        if image is not None:
            colours = colours + upsampled(image, self.get_buffer("kernel"))
        return x, colours


class Synthesis(nn.Module):
    """w+ ``(N, styles, w_dim)`` to pictures ``(N, 3, R, R)`` float32 RGB, about -1..1."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resolution = 4 << (len(blocks) - 1)
        self.styles = 2 * len(blocks)

    def halve_precision(self, blocks: int = _HALF_BLOCKS) -> "Synthesis":
        """Compute the last blocks, where the time goes, in half precision; weights and colours stay float32."""
        for block in list(self.blocks)[-blocks:]:
            block.half_precision = True  # type: ignore[assignment]  # torch types attributes as modules or tensors
        return self

    def forward(self, w: Tensor, side: int | None = None) -> Tensor:
        """side: of the picture, no further than which the network is computed; by default its resolution."""
        x: Tensor | None = None
        image: Tensor | None = None
        first = 0
        for block in self.blocks:
            layers = len(block.layers)  # type: ignore[arg-type]  # torch types attributes as modules or tensors
            x, image = block(x, image, w[:, first : first + layers + 1])
            first += layers
            if x.shape[-1] == side:
                break
        assert image is not None
        return image


def mapping_of(generator: SavedModule, label: int | None = None) -> tuple[Mapping, Tensor]:
    """The mapping network and the mean w ``(w_dim,)``. label: the class, for a network that has classes.

    Raises `StyleGanFileError`, also where such a network is given no class of its own.
    """
    saved = generator.module("mapping")
    classes = int(generator.settings.get("c_dim") or 0)
    if classes and (label is None or label >= classes):
        raise StyleGanFileError(
            f"the generator has {classes} classes: set models.generator_class to one from 0 to {classes - 1}"
        )
    layers: list[Linear] = []
    while (name := f"fc{len(layers)}") in saved.modules:
        part = saved.module(name)
        weight = part.tensor("weight")
        rate = float(part.settings.get("bias_gain", 0.01))
        layers.append(Linear(weight, part.tensor("bias"), rate))
    if not layers:
        raise StyleGanFileError("the mapping network has no layers")
    embedded = None
    if classes:
        part = saved.module("embed")
        weight = part.tensor("weight")  # (w_dim, classes)
        one_hot = functional.one_hot(torch.tensor([label]), classes).float()
        embedded = _normalised(Linear(weight, part.tensor("bias"))(one_hot))[0].detach()
    return Mapping(layers, embedded).requires_grad_(False).eval(), saved.tensor("w_avg")


def synthesis_of(generator: SavedModule) -> Synthesis:
    """The synthesis network. Raises `StyleGanFileError` for another architecture than StyleGAN2's with skips."""
    saved = generator.module("synthesis")
    if "input" in saved.modules:
        raise StyleGanFileError(
            "this is a StyleGAN3 network (config-t or config-r), which is not supported: "
            "use a StyleGAN2 network, such as those that stylegan3's trainer makes with --cfg=stylegan2"
        )
    blocks: list[Block] = []
    while (name := f"b{4 << len(blocks)}") in saved.modules:
        part = saved.module(name)
        if part.settings.get("architecture", "skip") != "skip":
            raise StyleGanFileError("only the architecture 'skip' is supported")
        blocks.append(Block(part))
    if not blocks:
        raise StyleGanFileError("the synthesis network is not StyleGAN2's: it has no block 'b4'")
    return Synthesis(blocks).requires_grad_(False).eval()


def _clamp(saved: SavedModule) -> float | None:
    clamp = saved.settings.get("conv_clamp")
    return None if clamp is None else float(clamp)

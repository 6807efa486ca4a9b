"""A user's segmentation network: the W-Net of agaldran/lwnet (MIT), as the keys of its weights tell its layout."""

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, channels: int, width: int, pool: bool = False) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        layers: list[nn.Module] = []
        for source in (channels, width):
            layers += [nn.Conv2d(source, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
        self.block = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return self.block(x) + self.shortcut(x)


class Bridge(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Up(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.up_layer = nn.Module()
        self.up_layer.block = nn.Sequential(nn.ConvTranspose2d(channels, width, 2, stride=2))
        self.conv_bridge_layer = Bridge(width)
        self.conv_layer = Block(2 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv_layer(torch.cat([self.up_layer.block(x), self.conv_bridge_layer(skip)], 1))


class SmallUNet(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Block(channels, 8)
        self.down_path = nn.ModuleList([Block(8, 16, pool=True), Block(16, 32, pool=True)])
        self.up_path = nn.ModuleList([Up(32, 16), Up(16, 8)])
        self.final = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        full = self.first(x)
        half = self.down_path[0](full)
        x = self.up_path[0](self.down_path[1](half), half)
        return self.final(self.up_path[1](x, full))


class WNet(nn.Module):
    """Fundus images (B, 3, H, W) in [0, 1], sides multiples of 4, to vessel probabilities (B, 1, H, W)."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.unet1 = SmallUNet(3)
        self.unet2 = SmallUNet(4)
        self.load_state_dict(load_file(weights))

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.unet2(torch.cat([image, self.unet1(image)], 1)))

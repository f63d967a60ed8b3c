"""The work of a step in plain PyTorch, for step_times.py: the same shapes, batches, losses and optimizers."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional

torch.set_num_threads(len(__import__('os').sched_getaffinity(0)))
RANDOM = np.random.RandomState(0)


def training(model, optimizer, images, labels, label_smoothing=0.0):
    """Returns the function of one training step."""
    def step():
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images), labels, label_smoothing=label_smoothing)
        loss.backward()
        optimizer.step()
        return float(loss)
    return step


def labels_of(count):
    """Returns random labels of ten classes."""
    return torch.from_numpy(RANDOM.randint(0, 10, count))


def mnist():
    """One training step of 128 digits."""
    model = nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(3136, 1024), nn.ReLU(), nn.Dropout(0.2), nn.Linear(1024, 10))
    return training(model, torch.optim.Adam(model.parameters(), 1e-3), torch.rand(128, 1, 28, 28), labels_of(128))


def cifar10_book():
    """One training step of 96 images."""
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
                          nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Dropout(0.5),
                          nn.Linear(512, 10))
    return training(model, torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05), torch.rand(96, 3, 32, 32),
                    labels_of(96), 0.1)


class Muon(torch.optim.Optimizer):
    """Nesterov's momentum, made orthogonal by three Newton-Schulz steps, of filters with a fixed norm."""

    def __init__(self, params):
        super().__init__(params, {'lr': 0.12, 'momentum': 0.6})

    @torch.no_grad()
    def step(self):
        """Takes one step."""
        for kernel in self.param_groups[0]['params']:
            slot = self.state[kernel].setdefault('momentum', torch.zeros_like(kernel))
            slot.mul_(0.6).add_(kernel.grad)
            update = kernel.grad.add(slot, alpha=0.6).reshape(len(kernel), -1)
            update = update / (update.norm() + 1e-7)
            for _ in range(3):
                square = update @ update.T
                update = 3.4445 * update + (-4.7750 * square + 2.0315 * square @ square) @ update
            kernel.mul_(len(kernel) ** 0.5 / kernel.norm()).add_(update.reshape(kernel.shape), alpha=-0.12)


def cifar10_airbench():
    """One training step of 500 images, channels last, which is the faster on a processor."""
    layers, depth = [nn.Conv2d(3, 24, 2), nn.SiLU()], 24
    layers[0].weight.requires_grad = False
    for maps in (64, 256, 256):
        layers += [nn.Conv2d(depth, maps, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(maps), nn.SiLU(),
                   nn.Conv2d(maps, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.SiLU()]
        depth = maps
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.requires_grad = False
    model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(256, 10, bias=False))
    model = model.to(memory_format=torch.channels_last)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    muon = Muon([parameter for parameter in trained if parameter.ndim == 4])
    others = torch.optim.SGD([parameter for parameter in trained if parameter.ndim < 4], 0.1, momentum=0.85,
                             nesterov=True, weight_decay=5e-4)
    images = torch.rand(500, 3, 32, 32).to(memory_format=torch.channels_last)
    other_step = training(model, others, images, labels_of(500), 0.2)

    def step():
        loss = other_step()
        muon.step()
        muon.zero_grad()
        return loss
    return step


def style(size):
    """The losses and their gradient at size x size pixels, VGG-19 to conv5_1, average pooling."""
    blocks, depth = [], 3
    for block, count in enumerate((2, 2, 4, 4, 1)):
        convolutions = []
        for _ in range(count):
            convolutions.append(nn.Conv2d(depth, min(512, 64 * 2 ** block), 3, padding=1))
            depth = min(512, 64 * 2 ** block)
        blocks.append(convolutions)
    for convolution in (one for block in blocks for one in block):
        nn.init.kaiming_normal_(convolution.weight)
        convolution.requires_grad_(False)

    def activations(image):
        found, layer = [], image
        for number, block in enumerate(blocks):
            for position, convolution in enumerate(block):
                layer = functional.relu(convolution(layer))
                if position == 0 or (number, position) == (3, 1):
                    found.append(layer)
            layer = functional.avg_pool2d(layer, 2) if number < 4 else layer
        return found[:4] + found[5:], found[4]  # five style layers; conv4_2

    def gram(layer):
        flat = layer.reshape(layer.shape[1], -1)
        return flat @ flat.T / flat.shape[1]

    image = torch.rand(1, 3, size, size) * 255
    with torch.no_grad():
        styles, content = activations(image.flip(2))
        targets = [gram(layer) for layer in styles]

    def step():
        pixels = image.clone().requires_grad_(True)
        found, found_content = activations(pixels)
        loss = 5 * functional.mse_loss(found_content, content) + 100 * sum(
            functional.mse_loss(gram(layer) / len(target), target / len(target))
            for layer, target in zip(found, targets))
        loss = loss + ((pixels[:, :, 1:] - pixels[:, :, :-1]) ** 2).mean() + (
            (pixels[..., 1:] - pixels[..., :-1]) ** 2).mean()
        loss.backward()
        return pixels.grad
    return step


def style_256():
    """See style."""
    return style(256)


def style_512():
    """See style."""
    return style(512)

"""A few of the bundled digits and a narrow network in MNIST's place, for tests of whatever happens around them."""
COUNTS = {'train': 120, 'validation': 40, 'test': 50}
WIDTHS = {'CONV1_MAPS': 4, 'CONV2_MAPS': 8, 'HIDDEN_UNITS': 512}


def patch(set_attribute):
    """Puts them in their place; `set_attribute` is monkeypatch.setattr, or setattr."""
    from datasets import mnist
    sample = mnist.load_sample()
    few = sample._replace(**{f'{part}_{kind}': getattr(sample, f'{part}_{kind}')[:count]
                             for part, count in COUNTS.items() for kind in ('images', 'labels')})
    set_attribute(mnist, 'load_sample', lambda: few)
    narrow(set_attribute)


def narrow(set_attribute):
    """Puts the narrow network alone in the place of MNIST's; it learns to read from the whole sample."""
    import mnist_convnet
    for name, width in WIDTHS.items():
        set_attribute(mnist_convnet, name, width)

"""Real images in memory, with fixed splits: `registry.load(name, split, root, size)`.

Every set comes as uint8 [images, channels, height, width] with labels where it has them,
its licence and citation, and a sha256 of what it was read from. The splits are fixed here
and documented beside each reader; no run chooses its own. The folder is the register: a
decorated function in a file here is a data set.

    embedded    mnist-5k, digits, photos: inside wheels that are installed anyway, no download
    downloaded  mnist, fashion_mnist, kmnist, cifar10, cifar100, stl10, through torchvision
    imagenette  imagenette, imagenette-128
    folder      folder:PATH, the reader's own images; cifar10-jpeg reads its copy with it
"""

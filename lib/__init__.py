"""The study: a reader needs nothing else to follow the notebooks.

masking      where to hide: strategies that draw boolean masks, True = hidden
patches      images <-> patches, and a mask of patches as a mask of pixels
pixels       what the models see: standardised, blanked, judged on a region
models       vanilla autoencoder, adversarial autoencoder, ViT-MAE, baselines
data         real images as uint8, with fixed train, validation and test splits
training     one loop that knows no model; feed makes its batches, augment changes them
finetune     few labels: from scratch, fine-tuned, or on frozen features
measures     PSNR, SSIM, linear probe, k-NN; evaluate applies them to any model
statistics   intervals, paired differences
windows      a picture of any size, completed by a model of small ones
figures      pictures of arrays and tables

`lib.run` makes one record of one experiment, `engine` makes many. Neither is known here.
Two conventions hold everywhere: `mask` is boolean with True = hidden, and randomness is
an argument (a `torch.Generator`, see streams); nothing here seeds globally.
"""

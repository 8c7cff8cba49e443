"""The shared code of the study, in the order in which data flows through it.

data         real images as uint8, with fixed train, validation and test splits
masking      where to hide: strategies that draw boolean masks, True = hidden
patches      images <-> patches, and a patch mask as a mask of pixels
pixels       what the models see: standardised, blanked, judged on a region
transformer  attention, blocks and sin-cos positions
models       vanilla autoencoder, adversarial autoencoder, ViT-MAE, baselines
training     one loop that knows no model
evaluate     one set of measures for every model
experiment   parameters -> record: the only place that trains and measures
records      JSON results with provenance, and the tables made from them
figures      pictures of arrays and tables
schemas      what each notebook accepts; parameters checks what it was given

Two conventions hold everywhere: `mask` is boolean with True = hidden, and
randomness is an argument (a `torch.Generator`); nothing here seeds globally.
"""

"""Numbers that stand for something in what is true of a frame."""

BACKGROUND = 0  # class 0 of labels and class logits: no object; classes follow from 1
IGNORED = -1  # of a label: neither learned nor called background
BELIEVED = 0.4  # score from which on a detection is taken for true
UNKNOWN = 255  # of a mask's pixel: neither foreground nor background, left out of the loss

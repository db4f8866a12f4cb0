"""What settings may be set to, by name: light, so that a command's --help need not load what it is about."""

# Policies that can be deployed, blind ones last; and those that look before they choose (streaming/policies.py).
DEPLOYABLE = ("rule", "learned", "raster", "random")
LOOK_FIRST = ("foresight", "oracle")
POLICIES = (*DEPLOYABLE, *LOOK_FIRST)
# How the windows of a training clip are chosen; 'mixed' tosses a coin per clip.
TRAIN_WINDOWS = ("random", "raster", "mixed")
# How frames get to the model's size (resizing.py).
RESIZE_MODES = ("stretch", "letterbox")
# What attention adds to: the rule's values, or nothing, as the paper words it.
POLICY_PRIORS = ("rule", "none")
# Where context is remembered: at every convolution (Figure 11b), or at the input alone (Figure 11a).
MEMORIES = ("features", "pixels")
# Of detectors: those of the paper (Figure 10), or of the Object Detection API's SSD MobileNetV2.
HEADS = ("patchwork", "ssd")
# What networks compute in while they are trained.
PRECISIONS = ("float32", "bfloat16", "float16")
# Of exported files.
QUANTIZATIONS = ("none", "float16", "int8")
CALIBRATION_FRAMES = 64

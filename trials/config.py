"""What can be set: the trainer's configuration and the data it reads. Imports no torch.

The defaults are the published setting of EnlightenGAN (arXiv 1906.06972 and its official code), but for two accidents
of it, `generator.norm_splits` and `local.border`; `studies/paper.yaml` has these, too. Every field that can change a
result is part of a trial's identity, unless `trials.canonical` drops it as inert.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Config", "Data", "EvaluationSet"]

VGG_LAYERS = tuple(f"relu{block}_{n}" for block, depth in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, depth + 1))
VggLayer = Literal[
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3",
    "relu4_1", "relu4_2", "relu4_3", "relu5_1", "relu5_2", "relu5_3",
]  # fmt: skip
Adversarial = Literal["relativistic_least_squares", "least_squares", "hinge", "logistic"]
Folder = Annotated[Path, Field(strict=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
MOST_EVALUATIONS = 100_000
"""Of one training."""


class Section(BaseModel):
    """Frozen, typed settings; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Attend(Section):
    """Where the attention map acts, each place apart."""

    input: bool = True
    """As the generator's fourth input channel."""
    skips: bool = True
    """As a factor of what skip connections carry."""
    bottleneck: bool = True
    """As a factor between the bottleneck's two convolutions."""
    residual: bool = True
    """As a factor of what the network adds to its input (the official times_residual)."""


class Generator(Section):
    """The attention-guided U-Net."""

    width: int = Field(32, ge=1, le=256)
    """Channels of the first stage; each stage below has twice as many."""
    depth: int = Field(4, ge=1, le=6)
    """How often the image is halved."""
    attention: Literal["self_regularised", "turned", "constant", "none"] = "self_regularised"
    """The map: `self_regularised`, 1 - luminance; `none` takes out all four uses of `attend`. Placebos of equal
    capacity: `turned`, that map turned by 180 degrees, the same values in wrong places; `constant`, ones everywhere.
    """
    attend: Attend = Attend()
    skips: bool = True
    """Skip connections. Without them the decoder's first convolutions have half as many inputs."""
    norm: Literal["batch", "instance", "none"] = "batch"
    norm_splits: int = Field(1, ge=1)
    """Parts of a batch that batch norm normalises apart. The published training, on three GPUs, had 3; the running
    statistics are the first part's, as there."""
    pool: Literal["max", "average"] = "max"
    """How features are halved (the official use_avgpool). The attention map is always halved by its maximum."""
    upsampling: Literal["bilinear_aligned", "bilinear", "nearest", "transposed"] = "bilinear_aligned"
    """`bilinear_aligned`: corners aligned, the only way of the published training's torch; `bilinear`: later torch's
    default; `nearest`; `transposed`: a transposed convolution instead of upsampling and convolution."""
    input_weight: Weight = 1.0
    """Weight of the input in the output (the official skip; 0: the network makes the whole image)."""
    output: Literal["unbounded", "tanh"] = "unbounded"
    """What becomes of the network's last convolution before it is weighed and added (the official tanh)."""


class GlobalDiscriminator(Section):
    """The discriminator that judges the whole crop."""

    discriminator: bool = True
    layers: int = Field(5, ge=1, le=8)
    """Convolutions of stride 2 (the official n_layers)."""
    width: int = Field(64, ge=1, le=256)
    """Channels after the first convolution; they double up to eight times this."""


class Local(Section):
    """The patches, and the discriminator that judges them. The local feature loss uses the patches too."""

    discriminator: bool = True
    layers: int = Field(4, ge=1, le=8)
    width: int = Field(64, ge=1, le=256)
    patches: int = Field(6, ge=1, le=64)
    """Patches cut from each image in each step: 6 in the official code (1 + 5), 5 in the paper."""
    patch_px: int = Field(32, ge=8, le=512)
    """Side of a patch, in pixels."""
    offsets: Literal["shared", "apart"] = "shared"
    """`shared`: each patch lies at one place in all images of the batch, as published; `apart`: at its own in each."""
    border: Literal["whole", "official"] = "whole"
    """`official`: patches never reach the last row and column, as in the official code."""


class Loss(Section):
    """The terms of the generator's loss: weight x term, summed. Terms of weight 0 are not computed."""

    convention: Literal["code", "paper"] = "code"
    """Factors where paper and code differ. `code`: the two halves of an adversarial loss are averaged (not so the
    generator's, but for the relativistic one), features are averaged over channels too. `paper`: both are summed."""
    global_adversarial: Adversarial = "relativistic_least_squares"
    local_adversarial: Adversarial = "least_squares"
    global_weight: Weight = 1.0
    local_weight: Weight = 1.0
    sfp_global: Weight = 1.0
    """Weight of the self-feature-preserving loss on the whole crop."""
    sfp_local: Weight = 1.0
    """Weight of the self-feature-preserving loss on the patches."""
    sfp_target: Literal["undarkened", "input"] = "undarkened"
    """Whose features are preserved: the low-light crop's, as in the code, or the generator's input's, as in the paper
    (the same unless `augment.darken` darkened it)."""
    colour_constancy: Weight = 0.0
    """Remedy for loss of colour: the output's channels should have one mean (Zero-DCE, arXiv 2001.06826)."""
    identity: Weight = 0.0
    """Remedy for loss of colour: a normal-light image should come out as it went in (CycleGAN, arXiv 1703.10593)."""
    gradient: Weight = 0.0
    """Remedy for loss of detail: the output's luminance should have the input's gradients, brightness apart."""
    total_variation: Weight = 0.0
    """Remedy for noise and artefacts: the output's total variation."""


class Vgg(Section):
    """VGG16, whose features the self-feature-preserving loss compares."""

    weights: str = "imagenet"
    """`imagenet` (torchvision's), `random` (fixed, the same for every trial), or the path of a state dict."""
    layer: VggLayer = "relu5_1"
    max_pools: int = Field(3, ge=0, le=4)
    """How many of the first four max-pools are run. The official code skips the fourth; the paper reads as if all."""
    instance_norm: bool = True
    """Whether features are brought to mean 0 and variance 1 before they are compared (off: no_vgg_instance)."""
    input: Literal["raw", "centred", "torchvision"] = "raw"
    """What VGG sees: `raw`, 0..255; `centred`, less Caffe's mean (the official vgg_mean); `torchvision`, 0..1 less
    ImageNet's mean over its deviation, for which torchvision's weights were trained."""


class Optimiser(Section):
    """Adam, one for each network."""

    learning_rate: Positive = 1e-4
    discriminator_learning_rate: Positive | None = None
    """That of the discriminators, if it is another."""
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    schedule: Literal["linear", "halving", "constant"] = "linear"
    """After the flat epochs the learning rate falls `linear` to zero (published), or by `halving` (the official
    new_lr: at their end, after a fifth and seven tenths of the rest, four times at nine tenths)."""
    flat: Share = 0.5
    """Share of the epochs at the full learning rate."""
    epoch_steps: int = Field(32, ge=1)
    """Steps in an epoch: the learning rate changes between epochs (1016 normal-light images / batch 32: 32)."""
    period_steps: int | None = Field(None, ge=1)
    """Steps that the schedule spans; by default all. With fewer, training goes on past it, as `after` says."""
    after: Literal["hold", "restart"] = "hold"
    """Past the schedule: `hold` the last learning rate, or `restart` the schedule, as often as there is time."""


class Stabilise(Section):
    """Remedies for an equilibrium that is hard to find; all off by default."""

    r1: Weight = 0.0
    """Weight of the gradient penalty on real images (R1, arXiv 1801.04406): r1 / 2 x the squared gradient norm."""
    r1_every: int = Field(1, ge=1)
    """Steps between penalties; each is weighed by so much more (StyleGAN2's lazy regularisation)."""
    spectral_norm: bool = False
    """Spectral norm in every convolution of the discriminators (arXiv 1802.05957)."""
    clip_gradient: Positive | None = None
    """The largest norm of each network's gradient."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay, per step, of an exponential moving average of the generator; the average is evaluated and saved."""
    pool: int = Field(0, ge=0, le=10_000)
    """Images made before that discriminators are shown half of the time instead of new ones. The official code asks
    for 50, but overwrites the answer: 0 is what it does."""


class Augment(Section):
    """Random changes of the training crops."""

    flip: bool = True
    """Horizontal and vertical flips, as in the official code."""
    darken: Share = 0.5
    """Probability of dividing the generator's input (only that) by a number between the two below."""
    darken_min: float = Field(2.0, ge=1)
    darken_max: float = Field(4.0, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Augment:
        if self.darken_min > self.darken_max:
            raise ValueError(f"darken_min must not exceed darken_max, but {self.darken_min} > {self.darken_max}")
        return self


class Compute(Section):
    """How the device computes. Each choice changes results a little, so it is part of a trial's identity."""

    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """`tf32`: float32 with products of 10 bits, on NVIDIA GPUs; `bfloat16`: mixed, weights stay float32."""
    channels_last: bool = True
    """Whether channels come last in memory."""
    compile: bool = False
    """Whether generator and VGG16 are compiled (`torch.compile`): a minute or more at the start, less for each step
    on a GPU; on a CPU it gained nothing."""


class Collapse(Section):
    """The rule by which the output has collapsed; the training then ends as DIVERGED."""

    contrast_levels: Weight = 1.0
    """Collapsed if the mean over images of the output's contrast, in grey levels, lies below this."""
    clipped_share: Share = 0.99
    """Collapsed if more than this share of the output's pixels is black, or saturated in every channel."""
    evaluations: int = Field(2, ge=1)
    """Evaluations in a row that must say so."""


class Watch(Section):
    """What is watched while training; none of it changes what is learned."""

    spike_score: Positive = 6.0
    """A gradient norm is an event if its logarithm lies so many robust deviations from the median before it. The first
    20 steps are not judged."""
    window_steps: int = Field(100, ge=20, le=10_000)
    """Steps over which median and deviation (from the median absolute one) are taken."""
    collapse: Collapse = Collapse()
    duality_gap_steps: int = Field(0, ge=0, le=10_000)
    """Steps of each best response for the duality gap, estimated at the end; 0 for none."""


class Config(Section):
    """Everything about the training of one trial that can change its result, but the seed and the data."""

    steps: int = Field(6400, ge=1)
    """Training steps: 200 epochs of 32."""
    batch: int = Field(32, ge=1)
    crop_px: int = Field(320, ge=16)
    """Side of the training crop, in pixels; the generator halves it `generator.depth` times."""
    pairing: Literal["fixed", "independent"] = "fixed"
    """`fixed`: low-light image i always meets normal-light image i (modulo), as published; `independent`: drawn apart.
    """
    evaluate_every: int = Field(320, ge=1)
    """Steps between evaluations. The last step is always evaluated; every evaluation leaves a checkpoint."""
    init: str | None = None
    """A file of weights from which the generator starts: an official `*_net_G_A.pth`, or one of this trainer."""
    generator: Generator = Generator()
    global_: GlobalDiscriminator = Field(GlobalDiscriminator(), alias="global")
    local: Local = Local()
    loss: Loss = Loss()
    vgg: Vgg = Vgg()
    optimiser: Optimiser = Optimiser()
    stabilise: Stabilise = Stabilise()
    augment: Augment = Augment()
    compute: Compute = Compute()
    watch: Watch = Watch()

    @model_validator(mode="after")
    def _evaluations_can_be_kept(self) -> Config:
        evaluations = -(-self.steps // self.evaluate_every)
        if evaluations > MOST_EVALUATIONS:
            raise ValueError(
                f"evaluate_every must leave at most {MOST_EVALUATIONS} evaluations, but {self.steps} steps with one "
                f"every {self.evaluate_every} are {evaluations}"
            )
        return self

    @model_validator(mode="after")
    def _crop_halves(self) -> Config:
        stride = 1 << self.generator.depth
        if self.crop_px % stride:
            raise ValueError(
                f"crop_px must be a multiple of {stride}, since the generator halves it {self.generator.depth} times, "
                f"but is {self.crop_px}"
            )
        return self

    @model_validator(mode="after")
    def _patch_in_crop(self) -> Config:
        if self.local.patch_px > self.crop_px:
            raise ValueError(f"local.patch_px must not exceed crop_px, but {self.local.patch_px} > {self.crop_px}")
        return self

    @model_validator(mode="after")
    def _something_to_learn(self) -> Config:
        if not (self.trains_global or self.trains_local or self.compares_features or self.loss.identity > 0):
            raise ValueError(
                "the generator learns from nothing: every weight in `loss` is 0 or its discriminator is switched off"
            )
        return self

    @model_validator(mode="after")
    def _statistics_exist(self) -> Config:
        bottleneck, norm = self.crop_px >> self.generator.depth, self.generator.norm
        part = -(-self.batch // self.generator.norm_splits)  # as torch.chunk parts, the last may be smaller
        values = bottleneck**2 * ((self.batch - 1) % part + 1 if norm == "batch" else 1)
        if norm != "none" and values == 1:
            parts = f" in {self.generator.norm_splits} parts" if self.generator.norm_splits > 1 else ""
            what = f"batch {self.batch}{parts}" if norm == "batch" else "instance norm"
            raise ValueError(
                f"{what} with crop_px {self.crop_px} leaves {norm} norm one value at the generator's bottleneck; "
                "raise batch or crop_px"
            )
        pools = min(self.vgg.max_pools, int(self.vgg.layer[4]) - 1)
        smallest = (2 if self.vgg.instance_norm else 1) << pools
        for name, weight, side in (
            ("crop_px", self.loss.sfp_global, self.crop_px),
            ("local.patch_px", self.loss.sfp_local, self.local.patch_px),
        ):
            if weight > 0 and side < smallest:
                raise ValueError(
                    f"{name} must be {smallest} or more for the features at vgg.layer {self.vgg.layer} after {pools} "
                    f"max-pools, but is {side}"
                )
        return self

    @property
    def trains_local(self) -> bool:
        """Whether a local discriminator is trained."""
        return self.local.discriminator and self.loss.local_weight > 0

    @property
    def trains_global(self) -> bool:
        """Whether a global discriminator is trained."""
        return self.global_.discriminator and self.loss.global_weight > 0

    @property
    def cuts_patches(self) -> bool:
        """Whether any term looks at patches."""
        return self.trains_local or self.loss.sfp_local > 0

    @property
    def compares_features(self) -> bool:
        """Whether any term needs VGG."""
        return self.loss.sfp_global > 0 or self.loss.sfp_local > 0


class EvaluationSet(Section):
    """Images that are scored, never trained on."""

    low: Folder
    normal: Folder | None = None
    """The references, under the same file names (extension apart); without them there is no PSNR, SSIM and the like."""
    scenes: str | None = None
    """Which images show one scene: a regular expression with one group over the file's name, or a CSV `file,scene`."""

    @model_validator(mode="before")
    @classmethod
    def _folder_alone(cls, value: Any) -> Any:
        """Read `DICM: DIR` as a set without references."""
        return {"low": value} if isinstance(value, str | Path) else value


class Data(Section):
    """Where the images come from."""

    source: Literal["photos", "folders"] = "photos"
    """`photos`: photographs bundled with scikit-image and scikit-learn, for trying; `folders`: `low` and `normal`."""
    low: Folder | None = None
    normal: Folder | None = None
    evaluate: dict[str, EvaluationSet] = {}
    confirm: dict[str, EvaluationSet] = {}

    @model_validator(mode="after")
    def _complete(self) -> Data:
        if self.source == "folders":
            needs = [
                f"`{name}`, a folder of {name}-light images" for name in ("low", "normal") if not getattr(self, name)
            ]
            if not self.evaluate:
                needs.append("`evaluate`, at least one named set: {NAME: {low: DIR, normal: DIR}}")
            if needs:
                raise ValueError(f"source: folders needs {', and '.join(needs)}")
        elif self.low is not None or self.normal is not None:
            raise ValueError("`low` and `normal` belong to source: folders, but source is photos")
        return self

"""What can be set: the trainer's configuration and the data it reads. Imports no torch.

The defaults are the published setting of EnlightenGAN (arXiv 1906.06972 and its official code). Every field
that can change a result is part of a trial's identity, unless `canonical` drops it as inert.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Config", "Data", "EvaluationSet", "canonical"]

VGG_LAYERS = tuple(f"relu{block}_{n}" for block, depth in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, depth + 1))
VggLayer = Literal[
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3",
    "relu4_1", "relu4_2", "relu4_3", "relu5_1", "relu5_2", "relu5_3",
]  # fmt: skip
Adversarial = Literal["relativistic_least_squares", "least_squares"]
Folder = Annotated[Path, Field(strict=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Frozen, typed settings; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Generator(Section):
    """The attention-guided U-Net."""

    width: int = Field(32, ge=1, le=256)
    """Channels of the first stage; each of the four stages below has twice as many."""
    attention: Literal["self_regularised", "none"] = "self_regularised"
    """The map 1 - luminance as fourth input channel, on skips, bottleneck and residual; or none of these."""


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
    """Patches cut from each image in each step; one offset for the whole batch (official code: 1 + 5)."""
    patch_px: int = Field(32, ge=8, le=512)
    """Side of a patch, in pixels."""


class Loss(Section):
    """The terms of the generator's loss: weight x term, summed."""

    global_adversarial: Adversarial = "relativistic_least_squares"
    local_adversarial: Adversarial = "least_squares"
    global_weight: Weight = 1.0
    local_weight: Weight = 1.0
    sfp_global: Weight = 1.0
    """Weight of the self-feature-preserving loss on the whole crop."""
    sfp_local: Weight = 1.0
    """Weight of the self-feature-preserving loss on the patches."""


class Vgg(Section):
    """VGG16, whose features the self-feature-preserving loss compares."""

    weights: str = "imagenet"
    """`imagenet` (torchvision's), `random` (fixed, the same for every trial), or the path of a state dict."""
    layer: VggLayer = "relu5_1"
    max_pools: int = Field(3, ge=0, le=4)
    """How many of the first four max-pools are run. The official code skips the fourth."""
    instance_norm: bool = True


class Optimiser(Section):
    """Adam, one for each network, all with the same learning rate."""

    learning_rate: Positive = 1e-4
    beta1: float = Field(0.5, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    flat: Share = 0.5
    """Share of the epochs at the full learning rate; over the rest it falls linearly to zero."""
    epoch_steps: int = Field(32, ge=1)
    """Steps in an epoch: the learning rate changes between epochs (914 low-light images / batch 32: about 32)."""


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


class Config(Section):
    """Everything about the training of one trial that can change its result, but the seed and the data."""

    steps: int = Field(6400, ge=1)
    """Training steps: 200 epochs of 32."""
    batch: int = Field(32, ge=1)
    crop_px: int = Field(320, ge=16, multiple_of=16)
    """Side of the training crop, in pixels; a multiple of 16, since the generator halves four times."""
    pairing: Literal["fixed", "independent"] = "fixed"
    """`fixed`: low-light image i always meets normal-light image i (modulo), as published; `independent`: drawn apart.
    """
    evaluate_every: int = Field(320, ge=1)
    """Steps between evaluations. The last step is always evaluated; every evaluation leaves a checkpoint."""
    generator: Generator = Generator()
    global_: GlobalDiscriminator = Field(GlobalDiscriminator(), alias="global")
    local: Local = Local()
    loss: Loss = Loss()
    vgg: Vgg = Vgg()
    optimiser: Optimiser = Optimiser()
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _patch_in_crop(self) -> Config:
        if self.local.patch_px > self.crop_px:
            raise ValueError(f"local.patch_px must not exceed crop_px, but {self.local.patch_px} > {self.crop_px}")
        return self

    @model_validator(mode="after")
    def _something_to_learn(self) -> Config:
        if not (self.trains_global or self.trains_local or self.compares_features):
            raise ValueError(
                "the generator learns from nothing: every weight in `loss` is 0 or its discriminator is switched off"
            )
        return self

    @model_validator(mode="after")
    def _statistics_exist(self) -> Config:
        if self.batch == 1 and self.crop_px == 16:
            raise ValueError(
                "batch 1 with crop_px 16 leaves batch norm one value at the generator's bottleneck; raise either"
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
    """The references, under the same file names (extension apart); without them only NIQE is measured."""
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


def canonical(config: Config) -> dict[str, Any]:
    """Return the settings that can change a result, without those that are inert under the others.

    Two configurations with equal canonical settings train to equal results from equal seeds.
    """
    settings = config.model_dump(mode="json", by_alias=True)
    loss, vgg = settings["loss"], settings["vgg"]
    if not config.trains_global:
        settings["global"] = {"discriminator": False}
        del loss["global_adversarial"], loss["global_weight"]
    if not config.trains_local:
        for name in ("layers", "width"):
            del settings["local"][name]
        settings["local"]["discriminator"] = False
        del loss["local_adversarial"], loss["local_weight"]
    if not config.cuts_patches:
        settings["local"] = {"discriminator": False}
    if not config.compares_features:
        settings["vgg"] = None
    elif int(config.vgg.layer[4]) <= config.vgg.max_pools:
        vgg["max_pools"] = int(config.vgg.layer[4]) - 1  # the layer lies before the last pool
    if config.optimiser.flat == 1:
        del settings["optimiser"]["epoch_steps"]  # the learning rate never changes
    if config.augment.darken == 0:
        del settings["augment"]["darken_min"], settings["augment"]["darken_max"]
    return settings

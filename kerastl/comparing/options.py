"""The options of `python -m kerastl.compare`: defaults, ranges, words. No TensorFlow."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from kerastl.comparing.candidates import Candidate, parse_candidates, repeated_candidates
from kerastl.config import FitConfig, fit_words
from kerastl.data_options import DataOptions, typed_words
from kerastl.errors import ConfigError
from kerastl.option_values import DATA, WHOLE, one_token, parse_image_size

_CANDIDATES = Group("Candidates", sort_key=1)
_LIMITS = Group("Limits", sort_key=2)


@Parameter(name="*")
@dataclass(frozen=True)
class CompareOptions(DataOptions):
    """Which backbones are compared, on which images, within what."""

    _: KW_ONLY

    backbones: Annotated[str, Parameter(group=_CANDIDATES)] = "small"
    """With commas between them: NAME, NAME@SIZE, NAME=WEIGHTS or NAME@SIZE=WEIGHTS, where WEIGHTS
    is none or a file; small for those with fewer than 7.5 million weights; all."""

    image_size: Annotated[
        tuple[int, int] | None, Parameter(group=_CANDIDATES), one_token(parse_image_size, "SIZE")
    ] = None
    """Size of those that name none, one number or HEIGHTxWIDTH. Default: the domain's, or each
    backbone's own."""

    domain: Annotated[
        Literal["photo", "dihedral-gray", "satellite", "document"] | None,
        Parameter(group=_CANDIDATES),
    ] = None
    """What kind of pictures these are, as for kerastl.fit."""

    resize_mode: Annotated[
        Literal["auto", "stretch", "crop", "pad"], Parameter(group=_CANDIDATES)
    ] = "auto"
    """How an image of another shape is fitted, as for kerastl.fit."""

    colour: Annotated[Literal["auto", "keep", "grey"], Parameter(group=_CANDIDATES)] = "auto"
    """Whether the network sees the luminance alone, as for kerastl.fit."""

    pooling: Annotated[Literal["avg", "max", "gem", "stages"], Parameter(group=_CANDIDATES)] = "avg"
    """How feature maps become one vector, as for kerastl.fit."""

    max_latency_ms: Annotated[float | None, Parameter(group=_LIMITS)] = None
    """Milliseconds that one image may take on this machine, pixels in and probabilities out; what
    takes longer is measured no further."""

    max_minutes: Annotated[float | None, Parameter(group=_LIMITS)] = None
    """Minutes for all of it; candidates that are not reached are listed. What was computed is
    kept: the same command goes on."""

    most_images: Annotated[int, Parameter(group=_LIMITS), WHOLE] = 4000
    """Images at most, drawn class by class; with more, differences become clearer and time grows
    in proportion."""

    feature_cache: Annotated[str, Parameter(group=DATA, negative="")] = "auto"
    """Folder where features are kept for later fits, as for kerastl.fit; none keeps nothing."""

    feature_cache_gib: Annotated[float, Parameter(group=DATA)] = 10.0
    """What that folder may hold, in GiB."""

    def __post_init__(self) -> None:
        """Bring flexible values to their one form and check every range."""
        object.__setattr__(self, "image_size", parse_image_size(self.image_size))
        for name in ("max_latency_ms", "max_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"`{name}` must be above 0; received {name}={value:g}.")
        if self.most_images < 10:
            raise ConfigError(
                f"`most_images` must be 10 or more; received most_images={self.most_images}."
            )
        super().__post_init__()
        self.fit_config(self.candidates[0])

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What is compared."""
        return parse_candidates(self.backbones, image_size=self.image_size, domain=self.domain)

    @property
    def repeated(self) -> tuple[str, ...]:
        """Names of candidates that were asked for more than once."""
        return repeated_candidates(self.backbones, image_size=self.image_size, domain=self.domain)

    def fit_config(self, candidate: Candidate) -> FitConfig:
        """Return a fit with a candidate on the same images, which checks these options too.

        Args:
            candidate: One of `candidates`.

        Raises:
            ConfigError: A value cannot work.
        """
        shared = {field.name for field in dataclasses.fields(FitConfig)} & {
            field.name for field in dataclasses.fields(CompareOptions)
        }
        # The time of a comparison is not that of a fit.
        values: dict[str, Any] = {name: getattr(self, name) for name in shared - {"max_minutes"}}
        values |= {
            "backbone": candidate.backbone,
            "image_size": candidate.image_size,
            "weights": candidate.weights,
        }
        return FitConfig(**values)

    def fit_command(self, candidate: Candidate) -> str:
        """Return what to type to train with a candidate on the same images.

        Args:
            candidate: One of `candidates`.

        Example:
            >>> options = CompareOptions("my photos", backbones="EfficientNetLite0@300", seed=3)
            >>> options.fit_command(options.candidates[0])[22:]
            "'my photos' --seed 3 --backbone EfficientNetLite0 --image-size 300"
        """
        words = fit_words(self.fit_config(candidate), also=("backbone",))
        return f"python -m kerastl.fit {words}"

    @property
    def command(self) -> str:
        """What to type for the same comparison."""
        return f"python -m kerastl.compare {typed_words(self, CompareOptions)}"

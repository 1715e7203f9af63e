"""How to learn: the options of training."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from kerastl.data_options import DataOptions
from kerastl.option_values import (
    TRAINING,
    WHOLE,
    one_token,
    parse_tune,
    parse_unfreeze_blocks,
    parse_views,
)


@Parameter(name="*")
@dataclass(frozen=True)
class TrainingOptions(DataOptions):
    """Which images, and how to learn from them."""

    _: KW_ONLY

    recipe: Annotated[
        Literal["default", "probe", "bit", "fastai", "gradual", "cyclical", "bn"],
        Parameter(group=TRAINING),
    ] = "default"
    """Where all numbers of training come from that are not given: default (probe, then
    fine-tuning), probe, bit (Big Transfer), fastai, gradual (block by block), cyclical, bn
    (BatchNorm's scale and shift alone). --print-recipe shows them and their sources."""

    unfreeze_blocks: Annotated[
        int | Literal["all"] | None,
        Parameter(group=TRAINING),
        one_token(parse_unfreeze_blocks, "BLOCKS"),
    ] = None
    """How many blocks, counted from the top, fine-tuning trains: a number, 0 or all. What is not
    given, here and below, is the recipe's; by default the top half."""

    tune: Annotated[str | None, Parameter(group=TRAINING), one_token(parse_tune, "BLOCKS")] = None
    """Train only these blocks, and the head; what lies below and above stays as it is. first,
    middle or last third, a block counted from the input, from 1, or a range such as 5-8. For
    other cameras, noise or grey the first blocks can be the ones to train (surgical
    fine-tuning). In place of unfreeze_blocks."""

    fine_tune_epochs: Annotated[int | None, Parameter(group=TRAINING), WHOLE] = None
    """Longest length of fine-tuning; 0 for the probe alone. Default: what
    800 steps take, 8 epochs at least and 32 at most."""

    patience_epochs: Annotated[int | None, Parameter(group=TRAINING), WHOLE] = None
    """Fine-tuning stops after so many epochs without a better validation loss, measured after the
    temperature that fits it best. Default: 5, and no early stop where images are few."""

    checks_per_epoch: Annotated[int | None, Parameter(group=TRAINING), WHOLE] = None
    """How often in an epoch the validation loss is measured, at even distances, its end included:
    the weights that a run keeps may be those of half an epoch. No step depends on it. Default:
    2."""

    max_minutes: Annotated[float | None, Parameter(group=TRAINING)] = None
    """Training ends so many minutes after the start, with the best so far: fine-tuning is cut short
    (its rate then has not fallen as planned: prefer fewer epochs) or left out. The probe is
    always fitted, and testing and the report come after. With --folds the minutes are for all
    folds together."""

    batch_size: Annotated[int | None, Parameter(group=TRAINING), WHOLE] = None
    """Images per step. Default: 32."""

    accumulate_steps: Annotated[int, Parameter(group=TRAINING), WHOLE] = 1
    """In how many parts the images of a step of fine-tuning go through the network; their gradients
    are added up, so that the result stays the same with less memory; not with batch_norm train,
    which sees one part at a time. When memory runs out, twice as many parts are taken by
    themselves."""

    learning_rate: Annotated[float | None, Parameter(group=TRAINING)] = None
    """Highest rate of fine-tuning. Default: 2e-4 for networks of mobile size, else 1e-4."""

    schedule: Annotated[
        Literal[
            "constant",
            "cosine",
            "one-cycle",
            "fastai",
            "step",
            "bit",
            "triangular",
            "triangular2",
            "exp-range",
            "slanted-triangle",
            "plateau",
        ]
        | None,
        Parameter(group=TRAINING),
    ] = None
    """How the rate changes: cosine (climbs, then falls to 0; the default), one-cycle, step (a tenth
    three times), triangular and its kin (up and down in cycles of four epochs), slanted-triangle,
    plateau (a third whenever two epochs bring nothing), constant."""

    optimizer: Annotated[
        Literal["adamw", "adam", "sgd", "rmsprop", "lion"] | None, Parameter(group=TRAINING)
    ] = None
    """What takes the steps. Default: adamw. (sgd has a momentum of 0.9; give it a rate.)"""

    weight_decay: Annotated[float | None, Parameter(group=TRAINING)] = None
    """While fine-tuning, apart from the gradients; none on biases and scales, those of
    normalisation included. Default: 1e-3."""

    layer_decay: Annotated[float | None, Parameter(group=TRAINING)] = None
    """What the rate is multiplied by for each block down from the head; 1 for one rate, the
    default."""

    l2_sp: Annotated[float | None, Parameter(group=TRAINING)] = None
    """Decay of the backbone's kernels towards what they were, in place of weight_decay; for few
    images. Default: 0."""

    epochs_per_block: Annotated[float | None, Parameter(group=TRAINING)] = None
    """Unfreeze gradually: each block so many epochs after the one above it. Default: 0, all at
    once."""

    batch_norm: Annotated[
        Literal["frozen", "affine", "train", "only"] | None, Parameter(group=TRAINING)
    ] = None
    """What fine-tuning does with BatchNorm: frozen (nothing, the default), affine (its scale and
    shift learn, its statistics stay), train (both), only (scale and shift and nothing else of the
    backbone)."""

    label_smoothing: Annotated[float | None, Parameter(group=TRAINING)] = None
    """Part of each target that is spread over all classes. Default: 0; more spoils calibration."""

    clip_norm: Annotated[float | None, Parameter(group=TRAINING)] = None
    """Largest norm of all gradients together, of what has begun to be trained; 0 for any.
    Default: 1."""

    ema_momentum: Annotated[float | None, Parameter(group=TRAINING)] = None
    """Of a moving average of the weights, which is then what is validated and kept, such as 0.99;
    0 for the weights themselves, the default."""

    soup: Annotated[int | None, Parameter(group=TRAINING), WHOLE] = None
    """Of how many of the best checks the weights are averaged, where validation prefers that to
    the best check alone. Default: 1, no average."""

    interpolate: Annotated[bool | None, Parameter(group=TRAINING)] = None
    """Whether weights between the probe's and the fine-tuned ones are tried on validation.
    Default: yes, but not with --recipe bit and fastai."""

    resume: Annotated[bool, Parameter(group=TRAINING, negative="")] = False
    """Go on with the same command where it was killed: after the last epoch of fine-tuning that was
    complete; with --folds also after the last fold that was. What the frozen part had computed is
    in the feature cache in any case."""

    deterministic: Annotated[bool, Parameter(group=TRAINING, negative="")] = False
    """The same seed gives the same bits, on the same machine with the same versions: sums whose
    order is left to chance are made in order, XLA is off, and nothing is reused from earlier runs,
    whose batches were others."""

    log: Annotated[Literal["none", "tensorboard", "mlflow", "wandb"], Parameter(group=TRAINING)] = (
        "none"
    )
    """Where else to write the history of fine-tuning, by the callback of that tool, which must be
    installed: tensorboard (into the run folder), mlflow or wandb (where their own settings say).
    history.csv is always written."""

    augment: Annotated[
        Literal["auto", "none", "light", "medium", "strong", "mirrors", "dihedral", "tilt"],
        Parameter(group=TRAINING),
    ] = "auto"
    """How training images are varied: light (mirrored, slightly cropped), medium and strong
    (RandAugment on top, for photographs), mirrors (pictures without an up: mirrored both ways,
    small shifts), dihedral (turned by 90° as well), tilt (small turns, shears and shifts, never
    mirrored: for writing), none. The probe is fitted on the mirror images too. auto: the domain's,
    or light."""

    views: Annotated[
        int | Literal["auto", "live"],
        Parameter(group=TRAINING),
        one_token(parse_views, "VIEWS"),
    ] = "auto"
    """How many views of each training image, itself and varied ones, run through the frozen part,
    once, for fine-tuning to choose from in every epoch; live runs it in every epoch over new
    ones. auto takes up to 4, or live where the policy needs it or room is short."""

    precision: Annotated[Literal["auto", "float32", "bfloat16"], Parameter(group=TRAINING)] = (
        "float32"
    )
    """What training computes in; weights and answers are always float32. auto: fine-tuning steps in
    mixed precision on GPUs and TPUs made for it, on CPUs in bfloat16 if that is faster here, and
    features and kept views of training images in bfloat16 where there are many and a sample of
    them agrees (up to twice as fast, some tenths of a point less accurate). bfloat16: also for
    few images; steps stay float32 where that is faster."""

    mix: Annotated[Literal["none", "mixup", "cutmix"], Parameter(group=TRAINING)] = "none"
    """Blend pairs of training images (mixup) or paste windows (cutmix), and their labels with
    them. For more than some 20,000 images, or long training."""

    imbalance: Annotated[
        Literal["none", "balanced", "sqrt", "effective", "sampling", "logit-adjust"],
        Parameter(group=TRAINING),
    ] = "none"
    """What to do about classes of very different sizes: logit-adjust (train plainly, then shift
    the answers as if all were equally frequent), sampling (every class drawn equally often), or
    weights in the loss: balanced, sqrt (half way) or effective (number of samples). Not for
    several labels per image, which have thresholds."""

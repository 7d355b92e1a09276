"""The settings of the stage train."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mlip.core.section import Count, Positive, Section
from mlip.potential.architecture import Architecture


class EnergyFitSettings(Section):
    """Energies fitted in closed form after the epochs: forces hardly fix those along a path."""

    prior_ev: Positive = Field(
        default=0.5,
        description="How far the fit may move the energy of a cell that counts: one standard deviation (eV).",
    )
    noise_ev: Positive = Field(
        default=0.02, description="Noise of the energy of a cell that counts, one with at least min_atoms atoms (eV)."
    )
    small_noise_ev: Positive = Field(
        default=0.1,
        description="Noise of the energy of a smaller cell, which contains finite-size effects (eV; docs/method.md).",
    )
    min_atoms: Count = Field(
        default=48,
        description="Number of atoms from which a cell counts. If no training frame has as many, all frames count.",
    )


class CalculatorSettings(Section):
    """An ASE calculator that takes the place of a trained potential."""

    name: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="Class of the calculator, as package.module:Class; also a function that makes one.",
    )
    arguments: dict[str, Any] = Field(default={}, description="Keyword arguments with which the calculator is made.")
    trusted: bool = Field(
        default=False,
        description="The calculator runs its own code; set true only for packages and arguments that you trust.",
    )

    @model_validator(mode="after")
    def _is_trusted(self) -> "CalculatorSettings":
        if not self.trusted:
            raise ValueError(f"{self.name} would run its own code; if you trust the calculator set trusted: true")
        return self


class TrainSettings(Section):
    """Training of every committee member."""

    added_later: ClassVar[frozenset[str]] = frozenset({"model", "calculator"})

    model: str | None = Field(
        default=None,
        description=(
            "A potential that is used as it is, without training: the folder of a released model, a trusted .model "
            "file, or the name of a MACE foundation model. null: train."
        ),
    )
    calculator: CalculatorSettings | None = Field(
        default=None,
        description="An ASE calculator that is used in the place of a trained potential, one structure a call.",
    )
    base: str | None = Field(
        default="datasets/models/base",
        description=(
            "Folder of a released model, a trusted .model file, the name of a MACE foundation model, or null "
            "to train from scratch."
        ),
    )
    trust_pickle: bool = Field(
        default=False,
        description=(
            "Allow a .model file. Such a file is a pickle and runs the code inside it: set true only for "
            "files you trust."
        ),
    )
    architecture: Architecture = Field(
        default=Architecture(),
        description="Shape of the model when it is trained from scratch; a base model brings its own.",
    )
    members: Count = Field(default=2, description="Number of committee members.")
    epochs: Count = Field(default=60, description="Number of epochs.")
    batch_frames: Count = Field(
        default=4, description="Frames per update; they are packed by edges into as many model calls as memory needs."
    )
    learning_rate: Positive = Field(default=1e-3, description="Learning rate.")
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.99, description="Decay of the exponential moving average of the weights."
    )
    energy_weight: Positive = Field(
        default=500.0,
        description=(
            "Weight of the squared error of the energy per atom (eV^2). Beyond some thousands the "
            "gradient-norm limit cancels it."
        ),
    )
    force_weight: Positive = Field(
        default=100.0, description="Weight of the squared error of the force components ((eV/Angstrom)^2)."
    )
    huber_ev_per_angstrom: Positive = Field(
        default=0.5, description="Force errors beyond this count linearly (eV/Angstrom)."
    )
    patience: Count = Field(
        default=30,
        description=(
            "Training ends after this many epochs without a better validation loss. No effect with `keep: last`."
        ),
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="Which weights are kept: those of the epoch with the best validation loss, or of the last epoch.",
    )
    dtype: Literal["float64", "float32"] = Field(default="float32", description="Precision of the training.")
    energy_fit: EnergyFitSettings | None = Field(
        default=None, description="Closed-form fit of the energies after the epochs; null: none, {}: with its defaults."
    )
    cueq: bool = Field(
        default=False,
        description="Train with cuEquivariance kernels (GPUs only). The saved model does not depend on it.",
    )

    @model_validator(mode="after")
    def _nothing_is_trained_where_a_model_is_given(self) -> "TrainSettings":
        if self.given is None:
            return self
        if self.model is not None and self.calculator is not None:
            raise ValueError("model and calculator are both given; leave one out")
        own = {"model", "calculator", "trust_pickle"}
        changed = [k for k, f in type(self).model_fields.items() if k not in own and getattr(self, k) != f.default]
        if changed:
            raise ValueError(
                f"model: {self.given} is used as it is, so {', '.join(changed)} would have no effect; leave them out, "
                "or give the model as base to train from it"
            )
        return self

    @property
    def given(self) -> str | None:
        """Name of the model or calculator that is used as it is; None where a training makes the potential."""
        return self.model if self.calculator is None else self.calculator.name

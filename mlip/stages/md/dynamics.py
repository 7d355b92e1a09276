"""Langevin dynamics of many replicas of one system, one call of the potential per step for all of them.

Takes a `Batch` (what replicas share, and where each starts), settings and a potential; gives the state after some steps
and the frames on the way. Frozen atoms do not move and do not count. Replicas that leave their bounds are stopped.

The splitting BAOAB (Leimkuhler and Matthews, doi:10.1093/amrx/abs010), each step
    v += f dt/2m;  x += v dt/2;  v = c v + sqrt(kT (1 - c^2)/m) N(0,1), c = exp(-g dt);  x += v dt/2;  v += f(x) dt/2m
and with g = 0 velocity Verlet. Every replica has its own random numbers, from the seed and its own name.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.core.status import Status
from mlip.core.units import ACCELERATION, BOLTZMANN_EV_PER_KELVIN
from mlip.stages.md.settings import MdSettings
from mlip.stages.md.trajectory import Frames, Header
from mlip.stages.neb.endpoints import OUT_OF_DOMAIN
from mlip.stages.sites.sites import DESORBED

RUNNING, EXPLODED, EXPLODED_AT_START = "running", "exploded", "exploded at the start"
CODES = (RUNNING, EXPLODED, EXPLODED_AT_START, DESORBED, OUT_OF_DOMAIN)
MAX_STEP_ANGSTROM = 1.0  # no atom moves farther in one step
EQUILIBRATION_FRICTION_PER_PS = 10.0  # at least, until equilibration ends


class Field(Protocol):
    """The potential of all replicas of a batch."""

    def forces(self, positions: Array) -> tuple[Array, Array]:
        """Energies (R,) in eV and forces (R, N, 3) in eV/Angstrom at positions (R, N, 3)."""

    def spread(self, positions: Array) -> Array | None:
        """Largest standard deviation over the committee of the force on an atom, (R,); None without a committee."""


Begin = Callable[[Array], Field]


@dataclass(frozen=True)
class Batch:
    """Replicas of one system: the same atoms in the same cell, from their own positions at their own temperature."""

    header: Header
    masses: Array  # (N,) u
    mobile: NDArray[np.bool_]  # (N,)
    starts: Array  # (R, N, 3) Angstrom
    seed: int

    @property
    def free(self) -> bool:
        """Whether every atom moves, so that the whole system can drift."""
        return bool(self.mobile.all())

    @cached_property
    def cell(self) -> Array:
        """Cell vectors as rows, Angstrom."""
        return np.array(self.header.cell_angstrom)

    @cached_property
    def temperatures(self) -> Array:
        """Of each replica, in kelvin: (R,)."""
        return np.array(self.header.temperatures_kelvin)


@dataclass(frozen=True)
class State:
    """Everything that the rest of a run depends on."""

    step: int  # done since the start, equilibration included
    positions: Array  # (R, N, 3) Angstrom, unwrapped
    velocities: Array  # (R, N, 3) Angstrom/fs
    forces: Array  # (R, N, 3) eV/Angstrom
    energies_ev: Array  # (R,)
    random: tuple[str, ...]  # state of each replica's generator, JSON
    status: tuple[Status, ...]  # of each replica: RUNNING, or why it was stopped: a code of CODES
    stopped_at: tuple[int, ...]  # step; -1 while running
    kept: Array  # (R, N, 3): the last good frame, or the one that stopped the replica

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which replicas go on, (R,)."""
        return np.array([s.code == RUNNING for s in self.status])


def grid(settings: MdSettings) -> tuple[int, int, int]:
    """Steps of equilibration, steps in all, and steps of a chunk, each a whole number of frames."""
    frame = settings.frame_steps

    def steps(length_ps: float) -> int:
        return round(1000.0 * length_ps / settings.time_step_fs / frame) * frame

    equilibration = steps(settings.equilibrate_ps)
    return equilibration, equilibration + max(steps(settings.target_ps), frame), settings.chunk_frames * frame


def start(batch: Batch, settings: MdSettings, field: Field) -> State:
    """Velocities drawn at twice the temperature of each replica, forces at its start; a bad start has a status.

    A relaxed start gives half of its kinetic energy to the potential within a few vibrations.
    """
    shape = batch.starts.shape
    rngs = [np.random.default_rng(_stream(batch, r)) for r in range(shape[0])]
    width = np.sqrt(2 * BOLTZMANN_EV_PER_KELVIN * ACCELERATION * batch.temperatures[:, None] / batch.masses)
    velocities = np.stack([rng.standard_normal(shape[1:]) for rng in rngs]) * width[..., None]
    velocities *= batch.mobile[None, :, None]
    energies, forces = field.forces(batch.starts)
    state = State(
        step=0,
        positions=batch.starts.copy(),
        velocities=velocities,
        forces=forces,
        energies_ev=energies,
        random=tuple(json.dumps(rng.bit_generator.state) for rng in rngs),
        status=(Status(RUNNING),) * shape[0],
        stopped_at=(-1,) * shape[0],
        kept=batch.starts.copy(),
    )
    bad = _unsafe(batch, state, settings)
    return _stopped(batch, state, {r: Status(EXPLODED_AT_START, why) for r, why in bad.items()})


def _stream(batch: Batch, replica: int) -> list[int]:
    """Seed of a replica's random numbers: of its own name, whatever runs beside it."""
    named = f"{batch.header.name} {batch.header.replicas[replica]} {batch.header.temperatures_kelvin[replica]:g}"
    digest = hashlib.sha256(named.encode()).digest()
    return [batch.seed, int.from_bytes(digest[:8], "little")]


def advance(
    batch: Batch,
    state: State,
    settings: MdSettings,
    field: Field,
    *,
    until: int,
    on_frame: Callable[[int, float], None] = lambda _step, _temperature: None,
) -> tuple[State, Frames]:
    """The state at step `until`, and the frames on the way there.

    Args:
        batch: what is run.
        state: where it is.
        settings: how.
        field: the potential, prepared at the positions of the state.
        until: step at which to end.
        on_frame: called at every frame with the step and the mean temperature of the running replicas.
    """
    equilibration, _, _ = grid(settings)
    rngs = [_generator(text) for text in state.random]
    recorder = _Recorder(batch, settings)
    while state.step < until and state.running.any():
        if state.step == equilibration:
            recorder.record(state, field)
            if settings.ensemble == "nve":
                state = _without_drift(batch, state)
        if state.step < equilibration:
            friction = max(settings.friction_per_ps, EQUILIBRATION_FRICTION_PER_PS)
        else:
            friction = 0.0 if settings.ensemble == "nve" else settings.friction_per_ps
        state = _step(batch, state, settings, field, rngs, friction=friction)
        if state.step % settings.frame_steps == 0:
            state, spread = _checked(batch, state, settings, field)
            if state.step > equilibration:
                recorder.record(state, field, spread)
            heat = temperatures(batch, state, settings)[state.running]
            on_frame(state.step, float(heat.mean()) if len(heat) else 0.0)
    random = tuple(json.dumps(rng.bit_generator.state) for rng in rngs)
    return replace(state, random=random), recorder.frames()


def _generator(text: str) -> np.random.Generator:
    rng = np.random.default_rng()
    rng.bit_generator.state = json.loads(text)
    return rng


def _step(
    batch: Batch, state: State, settings: MdSettings, field: Field, rngs: list[np.random.Generator], *, friction: float
) -> State:
    """One step of all replicas; those that were stopped stay where they started."""
    dt = settings.time_step_fs
    push = 0.5 * dt * ACCELERATION / batch.masses[None, :, None] * batch.mobile[None, :, None]
    running = state.running
    v = state.velocities + push * state.forces
    moved = 0.5 * dt * v
    if friction > 0:
        c = np.exp(-friction * dt / 1000.0)
        noise = np.zeros_like(v)
        for r in np.flatnonzero(running):
            noise[r, batch.mobile] = rngs[r].standard_normal((int(batch.mobile.sum()), 3))
        width = np.sqrt(
            (1 - c * c) * BOLTZMANN_EV_PER_KELVIN * ACCELERATION * batch.temperatures[:, None] / batch.masses
        )
        v = c * v + width[..., None] * noise
    moved = moved + 0.5 * dt * v
    far = np.nan_to_num(np.linalg.norm(moved, axis=2).max(axis=1), nan=np.inf)
    wild = {
        int(r): Status(EXPLODED, f"an atom moved {far[r]:.3g} Angstrom in a step")
        for r in np.flatnonzero(far > MAX_STEP_ANGSTROM)
    }
    state = _stopped(batch, replace(state, step=state.step + 1, positions=state.positions + moved, velocities=v), wild)
    energies, forces = field.forces(state.positions)
    v = state.velocities + push * forces
    state = replace(state, velocities=v, forces=forces, energies_ev=energies)
    bad = _unsafe(batch, state, settings)
    return _stopped(batch, state, {r: Status(EXPLODED, why) for r, why in bad.items()})


def _unsafe(batch: Batch, state: State, settings: MdSettings) -> dict[int, str]:
    """Replicas whose forces or temperature are out of bounds, and why."""
    largest = np.linalg.norm(state.forces[:, batch.mobile], axis=2).max(axis=1)
    heat = temperatures(batch, state, settings)
    limit = settings.max_temperature_ratio * batch.temperatures
    out: dict[int, str] = {}
    for r in range(len(largest)):
        if not np.isfinite(largest[r]):
            out[r] = "forces are not finite"
        elif largest[r] > settings.max_force_ev_per_angstrom:
            out[r] = f"a force of {largest[r]:.3g} eV/Angstrom (md.max_force_ev_per_angstrom)"
        elif not heat[r] <= limit[r]:
            out[r] = f"{heat[r]:.0f} K (md.max_temperature_ratio)"
    return out


def _checked(batch: Batch, state: State, settings: MdSettings, field: Field) -> tuple[State, Array | None]:
    """The state with replicas stopped whose ion left or whose forces the committee disputes; the committee's spread."""
    host, ions = slice(None, batch.header.atoms - len(batch.header.ions)), -len(batch.header.ions)
    nearest = nearest_host(state.positions[:, host], state.positions[:, ions:], batch.cell)
    far = nearest.max(axis=1)
    gone = {
        int(r): Status(DESORBED, f"an ion is {far[r]:.1f} Angstrom from every atom (md.desorbed_angstrom)")
        for r in np.flatnonzero(far > settings.desorbed_angstrom)
    }
    spread = field.spread(state.positions)
    if spread is not None:
        limit = "md.max_force_std_ev_per_angstrom"
        disputed = np.flatnonzero(spread > settings.max_force_std_ev_per_angstrom)
        gone |= {
            int(r): Status(OUT_OF_DOMAIN, f"committee spread {spread[r]:.2f} eV/Angstrom ({limit})")
            for r in disputed
            if int(r) not in gone
        }
    running = state.running[:, None, None]
    state = replace(state, kept=np.where(running, state.positions, state.kept))
    return _stopped(batch, state, gone), spread


def nearest_host(host: Array, ions: Array, cell: Array) -> Array:
    """Distance of every ion (R, n, 3) to the nearest of the host's atoms (R, m, 3): shape (R, n), Angstrom."""
    inverse = np.linalg.inv(cell)
    out = np.empty(ions.shape[:2])
    for k in range(ions.shape[1]):
        scaled = (host - ions[:, k, None]) @ inverse
        out[:, k] = np.linalg.norm((scaled - np.round(scaled)) @ cell, axis=2).min(axis=1)
    return out


def _stopped(batch: Batch, state: State, reasons: dict[int, Status]) -> State:
    """The state with running replicas stopped for these reasons: at rest where they started, never in the way."""
    new = {r: why for r, why in reasons.items() if state.running[r]}
    still = [*np.flatnonzero(~state.running), *new]
    if not still:
        return state
    positions, velocities, forces = state.positions.copy(), state.velocities.copy(), state.forces.copy()
    positions[still], velocities[still], forces[still] = batch.starts[still], 0.0, 0.0
    return replace(
        state,
        positions=positions,
        velocities=velocities,
        forces=forces,
        status=tuple(new.get(r, s) for r, s in enumerate(state.status)),
        stopped_at=tuple(state.step if r in new else at for r, at in enumerate(state.stopped_at)),
    )


def _without_drift(batch: Batch, state: State) -> State:
    """The state without momentum, where every atom moves."""
    if not batch.free:
        return state
    momentum = (batch.masses[None, :, None] * state.velocities).sum(axis=1, keepdims=True)
    return replace(state, velocities=state.velocities - momentum / batch.masses.sum())


def temperatures(batch: Batch, state: State, settings: MdSettings) -> Array:
    """Temperature of every replica, (R,) kelvin, from its kinetic energy.

    Three degrees of freedom per mobile atom: the thermostat acts on each, so momentum is not conserved. Without a
    thermostat and with nothing frozen momentum stays zero, which takes three away.
    """
    conserved = settings.ensemble == "nve" and batch.free and state.step > grid(settings)[0]
    freedom = 3 * int(batch.mobile.sum()) - (3 if conserved else 0)
    twice = (batch.masses[None, :, None] * state.velocities**2).sum(axis=(1, 2)) / ACCELERATION
    return np.asarray(twice / (freedom * BOLTZMANN_EV_PER_KELVIN))


class _Recorder:
    """Gathers frames; entries of stopped replicas are NaN."""

    def __init__(self, batch: Batch, settings: MdSettings) -> None:
        self._batch, self._settings = batch, settings
        self._first: int | None = None
        self._rows: list[tuple[Array, ...]] = []

    def record(self, state: State, field: Field, spread: Array | None = None) -> None:
        batch = self._batch
        if self._first is None:
            self._first = (state.step - grid(self._settings)[0]) // self._settings.frame_steps
        if spread is None:
            spread = field.spread(state.positions)
        hidden = ~state.running
        host = slice(None, batch.header.atoms - len(batch.header.ions))
        row = (
            state.positions[:, list(batch.header.stored)],
            (state.positions - batch.starts)[:, host].mean(axis=1),
            state.energies_ev.copy(),
            temperatures(batch, state, self._settings),
            np.full(len(hidden), np.nan) if spread is None else spread.copy(),
        )
        for array in row:
            array[hidden] = np.nan
        self._rows.append(row)

    def frames(self) -> Frames:
        n = len(self._batch.header.replicas)
        if not self._rows:
            none = np.empty((0, n))
            stored = np.empty((0, n, len(self._batch.header.stored), 3), dtype=np.float32)
            return Frames(0, stored, np.empty((0, n, 3)), none, none, none)
        places, shift, energies, temperatures, spread = (np.stack(column) for column in zip(*self._rows, strict=True))
        return Frames(self._first or 0, places.astype(np.float32), shift, energies, temperatures, spread)

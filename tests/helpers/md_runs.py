"""The settings of a very short stage md, and the command line as a test calls it."""

import yaml

from mlip import cli

MD = {
    "systems": [{"host": "001", "ions": ["Li"]}, {"host": "bulk", "ions": ["Li"]}],
    "temperatures_kelvin": [300, 600],
    "replicas": 1,
    "time_step_fs": 0.05,
    "frame_steps": 1,
    "chunk_frames": 8,
    "equilibrate_ps": 0.0001,
    "target_ps": 0.001,
    "max_force_ev_per_angstrom": 1e9,
    "max_force_std_ev_per_angstrom": 1e9,
    "max_temperature_ratio": 1e9,
    "desorbed_angstrom": 1e3,
}


def configured(finished, path, **changes):
    settings = yaml.safe_load(finished.config.read_text()) | {"md": {**MD, **changes}}
    path.write_text(yaml.safe_dump(settings))
    return path


def command(*words):
    return cli.main([str(w) for w in words])

"""What W&B wrote into a folder in offline mode."""

import struct
import time

BLOCK = 32768


def records(path):
    """Every record of an offline W&B file: the log format of LevelDB behind seven bytes of its own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, part = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        if place + 7 + length > len(data):
            return
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or last part
            yield Record.FromString(part)
            part = b""


def whole(folder):
    """The records of every offline run in a folder; W&B's service may write the last ones after `finish` returns."""
    for path in sorted(folder.rglob("*.wandb")):
        until = time.monotonic() + 20
        found = list(records(path))
        while not any(r.HasField("exit") for r in found):
            assert time.monotonic() < until, f"{path} was not finished"
            time.sleep(0.05)
            found = list(records(path))
        yield found


def stored(folder):
    """Run ids, and the logged history in order, of all offline runs in a folder."""
    ids, history = [], []
    for found in whole(folder):
        for record in found:
            if record.HasField("run"):
                ids.append(record.run.run_id)
            if record.HasField("history"):
                history.append({i.key or ".".join(i.nested_key): i.value_json for i in record.history.item})
    return set(ids), history

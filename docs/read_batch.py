import json, sys
from zstandard import ZstdDecompressor  # pip install zstandard

def rows(message):  # of a telemetry batch, in the order of their seq
    if message[:4] == b"\x28\xb5\x2f\xfd":  # RFC 8878: a zstd frame
        message = ZstdDecompressor().decompress(message, max_output_size=1048576)
    batch = json.loads(message)
    assets = [iter(own) for group in batch.get("groups", []) for own in rows_by_asset(group)]  # none beside a gap
    order = batch.get("order") or [0] * sum(len(group["dt"]) + 1 for group in batch.get("groups", []))
    return [(batch["fromSeq"] + n, next(assets[asset])) for n, asset in enumerate(order)]

def rows_by_asset(group):
    times = [group["t0"]]
    for step in group["dt"]:
        times.append(times[-1] + step)
    assets, counts = group.get("assets") or [group["asset"]], group.get("rows") or [len(times)]
    found = [{"asset": asset, "values": {}} for asset, count in zip(assets, counts) for _ in range(count)]
    for row, at in zip(found, times):
        row["observedAtMs"] = at
    for column in group["channels"]:
        values = column["values"] if "values" in column else values_of_steps(column["steps"], column["resolution"])
        for at, value in zip(column.get("at", range(len(found))), values):
            found[at]["values"][column["channel"]] = value
        for mark in ("uncertain", "bad"):
            for at in column.get(mark, []):
                found[at].setdefault("quality", {})[column["channel"]] = mark
    starts = [sum(counts[:n]) for n in range(len(counts))]
    return [found[start : start + count] for start, count in zip(starts, counts)]

def values_of_steps(steps, resolution):
    inverse, total = round(1 / resolution), 0
    exact = resolution < 1 and 1 / inverse == resolution
    for step in steps:  # a failed read is null and moves nothing
        total += step or 0
        yield None if step is None else total / inverse if exact else total * resolution

for seq, row in rows(sys.stdin.buffer.read()):
    print(json.dumps({"seq": seq, **row}))

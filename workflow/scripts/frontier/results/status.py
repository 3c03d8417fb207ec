"""Print what is known of each run while a sweep goes on: `python -m frontier.results.status`, in the study's folder."""

from pathlib import Path

from frontier import records

# Letters that the names take at the least, so that the lines of two short studies stand alike.
_NARROWEST = 16


def lines(results: Path) -> list[str]:
    """Return one line for each run that has a record, with what is known of it so far."""
    found = []
    paths = sorted(results.glob("runs/*/training.json"))
    width = max([_NARROWEST, *(len(path.parent.name) for path in paths)])
    for path in paths:
        cost = records.read_json(path)["outcome"]
        evaluation = path.with_name("evaluation.json")
        quality = records.read_json(evaluation)["outcome"] if evaluation.exists() else {}
        ended = quality if cost["status"] == "ok" and quality else cost
        cells = [path.parent.name.ljust(width), ended["status"].ljust(10)]
        for value, form in (
            (quality.get("perplexity"), "perplexity {:8.3f}"),
            (cost.get("train_seconds"), "train {:8.0f} s"),
            (cost.get("peak_memory_gib"), "peak {:6.2f} GiB"),
        ):
            cells.append("" if value is None else form.format(value))
        found.append("  ".join(cells).rstrip())
    return found


if __name__ == "__main__":
    print("\n".join(lines(Path("results"))) or "no run has finished yet")

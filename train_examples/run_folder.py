"""What a training run leaves behind: settings, a CSV log, a loss curve, a contact sheet, a checkpoint."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import torch

from fdsl_gpu.files import replacing

FILES = ["settings.json", "contact_sheet.png", "log.csv", "checkpoint.pth", "loss_curve.png"]
# Temporary names, as tempfile.mkstemp makes them for ``replacing``.
LEFT_BY_A_KILLED_RUN = re.compile(rf"\.({'|'.join(map(re.escape, FILES))})\.[a-z0-9_]{{8}}\.[a-z]+")
COLUMNS = ["step", "samples", "loss", "learning_rate", "images_per_second", "data_share", "accuracy"]


class RunFolder:
    """A folder of one run. Files are written under a temporary name, then renamed: a killed run leaves them whole.

    Only ``FILES``, and their temporary names, are written or removed; whatever else the folder holds is left alone.

    Args:
        path: made if need be.
        resume: whether to go on with a run that the folder may hold; else it must hold none of ``FILES``.

    Raises:
        FileExistsError, OSError: the folder holds a run, or cannot be written.
    """

    def __init__(self, path: str, resume: bool = False) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise type(error)(
                f"output: cannot write to {path!r} ({error.strerror}). Choose a folder that you may write to."
            ) from error
        present = [name for name in FILES if (self.path / name).exists()]
        if present and not resume:
            raise FileExistsError(
                f"output: {path!r} already holds a run ({', '.join(present)}). Continue it by --resume, or choose "
                "another folder."
            )
        for file in self.path.iterdir():
            if LEFT_BY_A_KILLED_RUN.fullmatch(file.name):
                file.unlink()
        checkpoint = load_checkpoint(path)
        self.rows = self._read_log(checkpoint["step"] if checkpoint else 0)
        self._rewrite_log()

    def _read_log(self, last_step: int) -> list[dict[str, Any]]:
        """Rows up to a step; later ones are those of steps that will be done again."""
        if not (self.path / "log.csv").exists():
            return []
        with open(self.path / "log.csv", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames not in (None, COLUMNS):
                raise FileExistsError(f"output: 'log.csv' in {str(self.path)!r} is of no run. Choose another folder.")
            # Of a row that was cut short, columns are missing.
            rows = [row for row in reader if None not in row.values() and int(row["step"]) <= last_step]
        integers = ("step", "samples")
        return [
            {name: int(value) if name in integers else float(value) for name, value in row.items() if value}
            for row in rows
        ]

    def _rewrite_log(self) -> None:
        if not self.rows:
            (self.path / "log.csv").unlink(missing_ok=True)
            return
        with replacing(self.path / "log.csv") as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(map(_printed, self.rows))

    def log(self, **row: Any) -> None:
        """Append a row of ``COLUMNS`` to log.csv."""
        self.rows.append(row)
        with open(self.path / "log.csv", "a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if len(self.rows) == 1:
                writer.writeheader()
            writer.writerow(_printed(row))

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Write settings.json."""
        with replacing(self.path / "settings.json") as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n")

    def write_checkpoint(self, model: torch.nn.Module, **more: Any) -> None:
        """Write checkpoint.pth, which ``timm.create_model(..., checkpoint_path=...)`` loads."""
        with replacing(self.path / "checkpoint.pth") as temporary:
            torch.save({"state_dict": model.state_dict(), **more}, temporary)

    def write_contact_sheet(self, dataset: str, num_classes: int, **options: Any) -> None:
        """Write contact_sheet.png: some classes of the run, eight instances each."""
        from fdsl_gpu.preview import contact_sheet

        sheet = contact_sheet(dataset, rows=min(8, num_classes), columns=8, num_classes=num_classes, **options)
        with replacing(self.path / "contact_sheet.png") as temporary:
            sheet.save(temporary, format="PNG")

    def write_curve(self, chance: float) -> None:
        """Write loss_curve.png: loss, and accuracy on instances never trained on, against samples seen."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, loss_axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        loss_axis.plot([row["samples"] for row in self.rows], [row["loss"] for row in self.rows], label="training loss")
        loss_axis.set(xlabel="images seen", ylabel="loss")
        accuracy_axis = loss_axis.twinx()
        points = [(row["samples"], row["accuracy"]) for row in self.rows if "accuracy" in row]
        accuracy_axis.plot(*zip(*points, strict=True), "C1o-", label="accuracy, unseen instances")
        accuracy_axis.axhline(chance, color="C1", linestyle=":", label="chance")
        accuracy_axis.set(ylabel="accuracy", ylim=(0, None))
        figure.legend(loc="outside upper center", ncols=3)
        with replacing(self.path / "loss_curve.png") as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        pyplot.close(figure)


def load_checkpoint(path: str, recipe: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """What ``write_checkpoint`` wrote last into a folder, on the CPU; None if there is none yet.

    Raises:
        ValueError: it is of a run with another recipe than the one given.
    """
    file = Path(path) / "checkpoint.pth"
    if not file.exists():
        return None
    content = torch.load(file, map_location="cpu", weights_only=True)
    saved = content["recipe"]
    if recipe is not None and saved != recipe:
        names = [name for name in {**saved, **recipe} if saved.get(name) != recipe.get(name)]
        shown = "; ".join(f"{name}: saved {saved.get(name)!r}, here {recipe.get(name)!r}" for name in names)
        raise ValueError(f"resume: the run in {path!r} has another recipe: {shown}. Resume with the saved settings.")
    return content


def _printed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}

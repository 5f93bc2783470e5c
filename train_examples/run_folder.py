"""What a training run leaves behind: settings, a CSV log, a loss curve, a contact sheet, a checkpoint."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

COLUMNS = ["step", "samples", "loss", "learning_rate", "images_per_second", "data_share", "accuracy"]


class RunFolder:
    """A folder of one run. Every file is whole or not there: written under a temporary name, then renamed.

    Args:
        path: made if need be; must not hold a run already.

    Raises:
        FileExistsError, OSError: the folder holds a run, or cannot be written.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._replace("log.csv.test", lambda temporary: temporary.write_text(""))
            (self.path / "log.csv.test").unlink()
        except OSError as error:
            raise type(error)(
                f"output: cannot write to {path!r} ({error.strerror}). Choose a folder that you may write to."
            ) from error
        if (self.path / "log.csv").exists():
            raise FileExistsError(f"output: {path!r} already holds a run. Choose another folder, or remove that one.")

    def log(self, **row: Any) -> None:
        """Append a row of ``COLUMNS`` to log.csv."""
        self.rows.append(row)
        with open(self.path / "log.csv", "a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if len(self.rows) == 1:
                writer.writeheader()
            writer.writerow(
                {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
            )

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Write settings.json."""
        text = json.dumps(settings, indent=2) + "\n"
        self._replace("settings.json", lambda temporary: temporary.write_text(text))

    def write_checkpoint(self, model: torch.nn.Module, **more: Any) -> Path:
        """Write checkpoint.pth, which ``timm.create_model(..., checkpoint_path=...)`` loads."""
        content = {"state_dict": model.state_dict(), **more}
        return self._replace("checkpoint.pth", lambda temporary: torch.save(content, temporary))

    def write_contact_sheet(self, dataset: str, num_classes: int, **options: Any) -> None:
        """Write contact_sheet.png: some classes of the run, eight instances each."""
        from fdsl_gpu.preview import contact_sheet

        sheet = contact_sheet(dataset, rows=min(8, num_classes), columns=8, num_classes=num_classes, **options)
        self._replace("contact_sheet.png", lambda temporary: sheet.save(temporary, format="PNG"))

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
        self._replace("loss_curve.png", lambda temporary: figure.savefig(temporary, format="png", dpi=120))
        pyplot.close(figure)

    def _replace(self, name: str, write: Callable[[Path], Any]) -> Path:
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            write(temporary)
            os.replace(temporary, self.path / name)
        finally:
            temporary.unlink(missing_ok=True)
        return self.path / name

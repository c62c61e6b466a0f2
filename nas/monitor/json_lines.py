"""Events of a running search as JSON, one object per line, for programs (docs/reference/json_output.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from nas.loop.search import Search
from nas.monitor.progress import Pace, Progress
from nas.monitor.unbreakable_stream import UnbreakableStream
from nas.record.events import Completed, Event, Failed, Note, Stopped, to_dict

SCHEMA = "movinet-nas/progress/1"
IN_THE_LEDGER = ("architecture", "genotype", "seed", "correct")  # left out here, because they are long


class JsonLines:
    """Watches a search as `nas.monitor.display.Display` does. A stream that fails ends the lines, not the run.

    Args:
      search: to be watched.
      stream: where to write.
    """

    def __init__(self, search: Search, stream: TextIO) -> None:
        self.search, self.stream = search, UnbreakableStream(stream)
        self.progress = Progress(search)
        self.pace = Pace(self.progress.snapshot().done)

    def __enter__(self) -> JsonLines:
        self.search.watchers.append(self._event)
        run = str(self.search.ledger.path.parent)
        self._write({"event": "started", "schema": SCHEMA, "run": run, "progress": self._progress()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.search.watchers.remove(self._event)

    def _event(self, event: Event | Note) -> None:
        said = {name: value for name, value in to_dict(event).items() if name not in IN_THE_LEDGER}
        if isinstance(event, Completed | Stopped | Failed):
            self.progress.take(event)
            self.pace.take(self.search.room or 1)
            said["progress"] = self._progress()
        self._write(said)

    def _progress(self) -> dict[str, Any]:
        now = self.progress.snapshot()
        counts = {name: getattr(now, name) for name in ("planned", "done", "stopped", "failed", "retried")}
        pace = {"seconds": self.pace.elapsed(), "seconds_left": self.pace.time_left(now)}
        pace["trials_per_hour"] = self.pace.an_hour(now)
        rounded = {name: value if value is None else round(value, 3) for name, value in pace.items()}
        running = {"running": len(self.search.running), "workers": self.search.room}
        return {**counts, **running, "hypervolume": now.hypervolume, **rounded}

    def _write(self, line: Mapping[str, Any]) -> None:
        print(text(line), file=self.stream, flush=True)


def text(line: Mapping[str, Any]) -> str:
    """Return any object as one line."""
    return json.dumps(line, allow_nan=False)

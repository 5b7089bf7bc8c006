"""A span for each batch that the model is at, to which the answers it makes are linked."""

from engine.generating import Generating
from engine.settings import Settings
from engine.telemetry import Span, generating, telemetry


class BatchSpans:
    """Those that run; `batches` is told where each belongs, by its id, for as long as it does."""

    def __init__(self, settings: Settings, batches: dict[int, str]) -> None:
        self._model = settings.model
        self._telemetry = telemetry(settings)
        self._batches = batches
        self._spans: dict[int, Span] = {}

    def started(self, batch: Generating) -> None:
        """The model got a batch."""
        if self._telemetry.on:
            span = self._spans[batch.id] = generating(self._telemetry, model=self._model, size=len(batch.batch))
            self._batches[batch.id] = span.traceparent

    def ended(self, batch: Generating, error: BaseException | None) -> None:
        """It came back."""
        self._batches.pop(batch.id, None)
        if span := self._spans.pop(batch.id, None):
            span.note({"gen_ai.usage.output_tokens": batch.tokens})
            span.end(error=type(error).__name__ if error else "")

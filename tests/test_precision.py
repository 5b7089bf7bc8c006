"""INT8 weights that every processor multiplies rightly."""

from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from ctranslate2.specs import common_spec
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.model import Model
from engine.precision import STEPS, quantize
from engine.settings import Settings

rows = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 16)), elements=st.floats(-100, 100, width=32))


def quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weight of a linear layer as INT8, and its scales."""
    spec = common_spec.LinearSpec()
    spec.weight = weight
    spec.validate()
    quantize(spec)
    return spec.weight.numpy(), spec.weight_scale.numpy()


@given(rows)
@example(np.array([[2.2178e-41]], np.float32))
def test_every_weight_is_kept_to_half_a_step_of_its_row(weight: np.ndarray) -> None:
    kept, scale = quantized(weight)

    assert kept.dtype == np.int8
    assert np.abs(kept.astype(int)).max() <= STEPS
    assert np.isfinite(scale).all()
    # No scale is larger than a float32, and so no step smaller than this: a row of less is a row of zeros.
    step = np.maximum(np.abs(weight).max(axis=1, keepdims=True) / STEPS, 1 / float(np.finfo(np.float32).max))
    assert (np.abs(kept / scale[:, None].astype(np.float64) - weight) <= step * 0.501).all()


@pytest.mark.slow
def test_the_default_model_in_int8_stays_close_to_float32_on_this_processor(default_model: Callable[[str], Path]) -> None:
    exact = Model.load(default_model("float32"), Settings(compute_type="float32"))
    small = ctranslate2.Generator(str(default_model("int8")), compute_type="int8")
    questions = ("What is the capital of France?", "How do I reset my password?", "Where is my order?", "Can I get a refund?")
    prompts = [list(exact.prompter.build(question).tokens) for question in questions]
    results = exact._engine.generate_batch(prompts, max_length=80, include_prompt_in_result=True)
    divergence = []
    for prompt, result in zip(prompts, results, strict=True):
        said = result.sequences[0]
        expected, found = (
            np.array(engine.forward_batch([said], return_log_probs=True))[0, len(prompt) :] for engine in (exact._engine, small)
        )
        divergence.append((np.exp(expected) * (expected - found)).sum(-1).mean())

    assert np.mean(divergence) < 0.075, "0.1 where weights of 127 steps saturate on AVX2"
    exact.close()

"""Helpers that move from module to module, and what that changes."""

import pytest

from daskperiment.fingerprint.code import fingerprint

SCALE = "RATE = 2\n\ndef scale(x):\n    return RATE * x\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from helpers import scale", "from other import scale"),
        ("import helpers as h; scale = h.scale", "import other; scale = other.scale"),
        ("import helpers as h", "import other as h"),
    ],
)
def test_a_helper_in_another_module_is_the_same_helper(load, before, after):
    call = "h.scale" if before.endswith(" h") else "scale"
    text = f"{{}}\n\ndef f(x):\n    return {call}(x)\n"
    one = fingerprint(load(pipeline=text.format(before), helpers=SCALE).f)
    two = fingerprint(load(pipeline=text.format(after), other=SCALE).f)
    assert one.digest == two.digest
    assert one.functions["helpers.scale"] == two.functions["other.scale"]


def test_a_constant_that_differs_where_the_helper_has_moved_to_counts(load):
    text = "from {} import scale\n\ndef f(x):\n    return scale(x)\n"
    one = fingerprint(load(pipeline=text.format("helpers"), helpers=SCALE).f)
    moved = SCALE.replace("RATE = 2", "RATE = 3")
    assert fingerprint(load(pipeline=text.format("other"), other=moved).f).digest != one.digest


def test_a_step_whose_own_text_names_the_module_changes_and_its_caller_does_not(load):
    steps = """
        import helpers

        def clean(x):
            return helpers.scale(x)

        def f(x):
            return clean(x)
    """
    one = load(pipeline=steps, helpers=SCALE)
    two = load(pipeline=steps.replace("helpers", "other"), other=SCALE)
    before, after = fingerprint(one.f), fingerprint(two.f)
    assert before.functions["pipeline.clean"] != after.functions["pipeline.clean"]
    assert before.functions["pipeline.f"] == after.functions["pipeline.f"]
    assert before.functions["helpers.scale"] == after.functions["other.scale"]

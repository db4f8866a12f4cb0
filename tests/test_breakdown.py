"""Where a step's time goes: what is compared is what is said."""

import breakdown
import pytest

from patchwork_tf.errors import UsageError

SMALL = ["--image_size=128", "--depth=0.35", "--steps=3"]


@pytest.mark.slow
def test_four_files_take_turns(small_networks, capsys):
    breakdown.main(["--systems=small", *SMALL])
    title, *rows = capsys.readouterr().out.strip().splitlines()
    assert title.startswith("small,")
    assert [row[:36].strip() for row in rows] == [
        "single-frame network",
        "the same on 64 x 64 pixels",
        "step without memory",
        "step",
    ]
    milliseconds, parts = zip(*(map(float, row[36:].split()) for row in rows), strict=True)
    assert parts[0] == 1.0
    assert all(ms > 0 for ms in milliseconds)


def test_a_step_without_memory_has_none(small):
    step = breakdown.WithoutMemory(small("davis-pw-m4n2"), suppression=False)
    assert step.state_shapes == {}


@pytest.mark.parametrize("name", ["vid-sf", "vid-pw-m4n2-d1.4-flip"])
def test_only_patchwork_systems_have_a_breakdown(name):
    with pytest.raises(UsageError, match=f"{name} is no Patchwork system of one stream"):
        breakdown.main([f"--systems={name}", *SMALL])

"""What is told where Ray does not come up."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from pipeline.workdir.cluster import connect
from pipeline.workdir.errors import UserError


def test_a_ray_that_does_not_start_on_this_machine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where one of its processes is killed while they start: Ray raises its words as a plain `Exception`."""

    def fails(**settings: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because some of the raylet failed to startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(UserError) as caught:
        connect(None, 1)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("Ray could not be started on this machine (The current node timed out during startup. This could")
    assert "run the same command again" in said

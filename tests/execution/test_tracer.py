"""Tracer pods: with which rights they are made."""

from __future__ import annotations

import pytest

from podtracer_nb.execution import tracer
from podtracer_nb.tools.inside import hold
from tests.deploy.manifests import FIVE


@pytest.mark.parametrize(("changes", "more"), [(False, []), (True, ["NET_ADMIN"])], ids=["looks", "changes"])
def test_a_tracer_has_the_five_capabilities_and_one_more_only_where_it_may_alter_a_target(
    changes: bool, more: list[str]
) -> None:
    job = tracer.node_job("node-a", "podtracer", "podtracer-nb:1", tracer.Placement(changes=changes))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert sorted(container["securityContext"]["capabilities"]["add"]) == sorted([*FIVE, *more])


def test_a_tracer_that_is_deleted_has_the_time_to_take_back_what_it_holds() -> None:
    job = tracer.node_job("node-a", "podtracer", "podtracer-nb:1", tracer.Placement())
    assert job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > hold.PATIENCE

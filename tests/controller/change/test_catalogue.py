"""What the desk says of an action is what the agent's own file says."""

import pytest

from agent import actions
from controller.change.catalogue import ACTIONS
from controller.render.plan_text import RISKS


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_has_the_risk_and_the_cures_that_the_agent_gives_it(name: str) -> None:
    found = {item.name: item for item in actions.every()}[name]
    assert (ACTIONS[name].risk, ACTIONS[name].cures, found.askable) == (RISKS[found.risk], found.cures, True)

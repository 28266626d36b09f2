"""From a request to what is generated: the one way that `route` and the server go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qwen_lightning.errors import RequestError
from qwen_lightning.serving.databases import Databases
from qwen_lightning.serving.requests import ChatRequest
from qwen_lightning.serving.routing.completion import Completion, complete
from qwen_lightning.serving.routing.router import Decision, Router, RuleRouter
from qwen_lightning.tasks.registry import TaskRegistry


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a request goes, and the prompt it gets there.

    Args:
        decision: Adapter, task and reason, what was done to the prompt included.
        completion: The prompt.
    """

    decision: Decision
    completion: Completion


class Planner:
    """Routes requests and completes their prompts.

    Args:
        tasks: The tasks that there are.
        router: Decides.
        systems: Task to a system message for requests that have none, such as the persona's description.
    """

    def __init__(
        self, tasks: TaskRegistry, router: Router | None = None, systems: Mapping[str, str] | None = None
    ) -> None:
        self.tasks, self.router, self.systems = tasks, router or RuleRouter(), dict(systems or {})
        self.databases = Databases(tasks)

    def plan(self, request: ChatRequest) -> Plan:
        """`decide`, then `check_database`; raises as they do."""
        plan = self.decide(request)
        self.check_database(request, plan)
        return plan

    def decide(self, request: ChatRequest) -> Plan:
        """Decide and complete, without asking a database.

        Raises:
            RequestError: The request names what there is not, or its tools or slots cannot be used.
        """
        signals = self.router.signals(request)
        decision = self.router.route(request, signals, tuple(self.tasks))
        if decision.task not in self.tasks:
            raise RequestError("model", f"it is routed to the task {decision.task!r}, which is not registered")
        completion = complete(request, signals, self.tasks, decision.task, self.systems)
        return Plan(Decision(decision.adapter, decision.task, f"{decision.reason}; {completion.note}"), completion)

    def check_database(self, request: ChatRequest, plan: Plan) -> None:
        """See that there is the database that a request names, if it names one; may wait for its server.

        Raises:
            RequestError: There is none of that name.
            ExecutionError: The server that would have it cannot be reached.
        """
        if request.database is not None:
            self.databases.check(request.database, plan.decision.task)

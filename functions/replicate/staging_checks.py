"""The doctor's checks for large objects: the state machine, and the bucket that holds their parts.

Each check returns what it found, or raises ReplicationError with what to do. A text that begins
with "Warning" is no failure.
"""

import uuid

from replicate.errors import DestinationForbiddenError, SettingsError
from replicate.protocol.model import MIN_DURATION_DAYS
from replicate.protocol.plan import Overwrite
from replicate.stepfunctions import StateMachine
from replicate.wiring import Environment

MIN_AGE_DAYS = 2
"""Least age of an object that the lifecycle rule deletes. No execution lasts longer than a day."""


def state_machine(executions: StateMachine) -> str:
    """Ask for the machine, and for an execution that does not exist."""
    status = executions.check_machine()
    executions.describe(f"doctor-{uuid.uuid4()}", bool)
    return f"{status}, and states:DescribeExecution is granted"


def event_queue(executions: StateMachine) -> str:
    """Send a test event, as S3 does when notifications are set up."""
    executions.send_test_event()
    return "sqs:SendMessage granted: a test event was sent, for which the function does nothing"


def staging(environment: Environment) -> str:
    """Check that parts can be deleted after they have been joined."""
    obstacle = environment.destination.staging_obstacle()
    if obstacle is None:
        return "parts of large objects can be deleted"
    if environment.settings.policy.overwrite is Overwrite.NEVER:
        size = environment.settings.sizes.large_from
        return f"Warning: objects of {size} bytes and more are not replicated: {obstacle}"
    raise DestinationForbiddenError(
        f"Large objects are not replicated: {obstacle}. docs/DEPLOY.md says what the bucket needs"
        " for them."
    )


def lifecycle_rule(environment: Environment) -> str:
    """Check that a lifecycle rule deletes the parts that a killed run or execution has left."""
    bucket, prefix = environment.settings.naming.bucket, environment.settings.naming.staging
    found = environment.destination.bucket_settings()
    if found is None:
        return (
            "Warning: not checked, and neither are retention policy, holds and storage class. Grant"
            f" the credentials storage.buckets.get on gs://{bucket}"
        )
    if not found.deletes_after_days(prefix, MIN_AGE_DAYS):
        raise SettingsError(
            f"No lifecycle rule of gs://{bucket} deletes all objects below {prefix} after"
            f" {MIN_AGE_DAYS} days or more. Parts that a stopped run or execution leaves would stay"
            " for ever. docs/DEPLOY.md has the command that adds the rule."
        )
    return f"deletes objects below {prefix}"


def storage_costs(environment: Environment) -> str:
    """Say which settings of the bucket make parts expensive. None of them is an error.

    Soft delete and versioning are no warning: the hop for the bucket's settings asks for them.
    """
    found = environment.destination.bucket_settings()
    if found is None:
        return "not checked"
    classes = {found.storage_class, *environment.settings.storage_classes.values()}
    warnings = [
        f"parts in {name} are billed for at least {days} days"
        for name, days in MIN_DURATION_DAYS.items()
        if name in classes
    ]
    notes = []
    if found.soft_delete_days:
        days = f"{found.soft_delete_days:g}"
        notes.append(f"soft delete keeps parts of failed executions for {days} days more")
    if found.versioning:
        notes.append("versioning keeps deleted parts until the lifecycle rule deletes them")
    described = "; ".join([*warnings, *notes]) or "parts cost nothing when deleted"
    return f"Warning: {described}" if warnings else described

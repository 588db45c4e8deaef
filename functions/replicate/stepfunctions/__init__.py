"""Executions of the state machine that copies large objects, through boto3."""

from replicate.stepfunctions.executions import StateMachine

__all__ = ["StateMachine"]

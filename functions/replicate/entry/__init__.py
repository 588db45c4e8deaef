"""The invokers: what each one sends to the function, and the response that it gets.

`dispatch.parse` finds the invoker. Each invoker that gets a response of its own has a module with
`parse_invocation`, which returns its subclass of `Invocation`: sqs, batch_operations, http_api, and
asynchronous for all that read none.

A message of SQS is an event in any envelope, and so is an asynchronous event. Each kind of event
has a module with `read_message`, which returns a `Message`: s3_notification, eventbridge, and from
the function itself execution_watch and nomination. `envelopes.read_message` opens the envelopes,
also those of SNS, and finds the kind.

`invocation` has the types that they share, `reading` how they read names, sizes and times.
"""

from replicate.entry.dispatch import parse

__all__ = ["parse"]

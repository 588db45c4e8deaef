"""Everything that lets the function run on one machine, without any cloud account.

demo, up                the commands of make (demo_context, demo_steps, demo_reconcile, output)
cloud                   the whole: both clouds, and the function between them
deployment              template.yaml, deployed onto them (template, large_objects)
aws                     moto's server: S3, SQS, Secrets Manager, Step Functions (moto_server)
google_cloud, gcs       our own GCS server
runtime                 the function in Lambda's own runtime
lambda_service          invocations, retries and failures, as Lambda does them; callers of it:
                        bucket_notifications, event_source_mapping, api_gateway, lambda_api,
                        state_machines
outages                 services that fail
audit                   compares both sides without the function's code
"""
